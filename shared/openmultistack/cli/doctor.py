"""`oms doctor`: reads the operator's files, logs in everywhere, and says what to mend."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from openmultistack.cli import show
from openmultistack.cli.client import EXIT_FAILED
from openmultistack.clouds import Cloud
from openmultistack.errors import CloudError, ConfigurationError
from openmultistack.fleet import Fleet, Region, load_fleet
from openmultistack.fleet.offers import CannotServe, find_flavor, find_image, find_network
from openmultistack.models import Catalogue, Image

REGIONS_AT_ONCE = 16
# Any image fits on it: a size is checked by itself.
NO_IMAGE = Image(id="", name="any image")


class Finding(NamedTuple):
    """One thing that was looked at; `mend` is empty when it is well."""

    where: str
    what: str
    mend: str = ""


def examine(*, as_json: bool) -> int:
    """Check everything, show the findings, and return the exit code."""
    findings = list(_findings())
    wrong = [it for it in findings if it.mend]
    if as_json:
        show.as_json({"findings": [it._asdict() for it in findings], "wrong": len(wrong)})
    else:
        _show(findings)
    return EXIT_FAILED if wrong else 0


def _show(findings: list[Finding]) -> None:
    out = show.console()
    for it in findings:
        line = Text("mend  " if it.mend else "well  ", style="red" if it.mend else "green")
        line.append(f"{it.where}: ", style="bold").append(it.what, style="")
        out.print(line)
        if it.mend:
            out.print(Text(f"      -> {it.mend}"))
    wrong = sum(1 for it in findings if it.mend)
    out.print("all is well" if not wrong else f"{wrong} to mend")


def _findings() -> Iterator[Finding]:
    clouds_file = os.environ.get("OS_CLIENT_CONFIG_FILE")
    fleet_file = os.environ.get("OMS_FLEET_FILE")
    if not clouds_file:
        yield Finding(
            "clouds.yaml",
            "no file is named",
            "set OS_CLIENT_CONFIG_FILE to the path of clouds.yaml",
        )
        return
    try:
        fleet = load_fleet(Path(clouds_file), Path(fleet_file) if fleet_file else None)
    except ConfigurationError as error:
        yield Finding("configuration", "refused", str(error))
        return
    yield Finding("clouds.yaml", f"{len(fleet.regions)} regions: {', '.join(fleet.regions)}")
    if fleet_file:
        yield Finding(
            "fleet.yaml", f"{len(fleet.file.images)} images, {len(fleet.file.sizes)} sizes"
        )
    clouds = _clouds(Path(clouds_file), fleet)
    with ThreadPoolExecutor(REGIONS_AT_ONCE) as pool:
        for found in pool.map(
            lambda it: list(_region(fleet, it, clouds(it.name))), fleet.regions.values()
        ):
            yield from found


def _clouds(clouds_file: Path, fleet: Fleet) -> Callable[[str], Cloud]:
    import logging  # noqa: PLC0415  only here

    from openmultistack.clouds.openstack import OpenStackClouds  # noqa: PLC0415  costs 0.7 s

    for name in ("openstack", "keystoneauth"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    regions = {it.name: (it.provider, it.region) for it in fleet.regions.values()}
    return OpenStackClouds(clouds_file, regions, fleet="doctor").region


def _region(fleet: Fleet, region: Region, cloud: Cloud) -> Iterator[Finding]:
    try:
        survey = cloud.survey()
        catalogue = cloud.catalogue()
    except CloudError as error:
        yield Finding(
            region.name, str(error), "check its auth, region name and endpoints in clouds.yaml"
        )
        return
    quota = survey.quota
    yield Finding(
        region.name,
        f"login works; {len(survey.servers)} servers of {quota.instances} instances,"
        f" {quota.vcpus} vCPUs and {quota.ram_mb} MB allowed",
    )
    yield from _names(fleet, region, catalogue)


def _names(fleet: Fleet, region: Region, catalogue: Catalogue) -> Iterator[Finding]:
    """Resolve the network, and every image and size of fleet.yaml."""

    def resolve(what: str, find: Callable[[], str], mend: str) -> Finding:
        try:
            return Finding(region.name, f"{what} is {find()}")
        except CannotServe as reason:
            return Finding(region.name, f"{what}: {reason}", mend)

    offered = ", ".join(sorted(it.name for it in catalogue.networks)) or "none"
    yield resolve(
        "network", lambda: find_network(region, catalogue).name,
        f"set regions.{region.name}.network in fleet.yaml to one of: {offered}",
    )  # fmt: skip
    images = ", ".join(sorted(it.name for it in catalogue.images)) or "none"
    for image in fleet.file.images:
        yield resolve(
            f"image {image}",
            partial(_image_name, fleet, region, catalogue, image),
            f"mend images.{image} in fleet.yaml; the region has: {images}",
        )
    flavors = ", ".join(sorted(it.name for it in catalogue.flavors)) or "none"
    for size in fleet.file.sizes:
        yield resolve(
            f"size {size}",
            partial(_flavor_name, fleet, region, catalogue, size),
            f"mend sizes.{size} in fleet.yaml; the region has: {flavors}",
        )


def _image_name(fleet: Fleet, region: Region, catalogue: Catalogue, image: str) -> str:
    return find_image(fleet, region, catalogue, image).name


def _flavor_name(fleet: Fleet, region: Region, catalogue: Catalogue, size: str) -> str:
    return find_flavor(fleet, region, catalogue, size, NO_IMAGE).name
