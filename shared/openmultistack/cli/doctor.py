"""`oms doctor`: reads the operator's files, logs in everywhere, and says what to mend."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path

from rich.text import Text

from openmultistack.cli import screen
from openmultistack.cli.clouds_entries import faults
from openmultistack.cli.failures import Exit
from openmultistack.cli.findings import Finding
from openmultistack.cli.marks import carried, left_keypairs, strangers
from openmultistack.clouds import Cloud, Survey
from openmultistack.clouds.keyring import Keyring, read_keyring
from openmultistack.domain.bounds import UNLIMITED
from openmultistack.domain.cloud_errors import AccountBroken, CloudError, NoSuchRegion, Unreachable
from openmultistack.domain.errors import FAULTS_SHOWN, ConfigurationError
from openmultistack.domain.models import Catalogue, Image, is_public
from openmultistack.domain.regions import Place, repeating
from openmultistack.domain.resources import AMOUNTS, say
from openmultistack.fleet.config import Fleet, Region, load_fleet
from openmultistack.fleet.offers import CannotServe, find_flavor, find_image, find_network

REGIONS_AT_ONCE = 16
# Any flavor has room for it: a size is checked by itself.
NO_IMAGE = Image(id="", name="any image")


def examine(clouds_file: Path | None, fleet_file: Path | None, *, as_json: bool) -> int:
    """Check everything, show the findings, and return the exit code."""
    clouds_file = clouds_file or _named("OS_CLIENT_CONFIG_FILE")
    findings = list(_findings(clouds_file, fleet_file or _named("OMS_FLEET_FILE")))
    wrong = sum(bool(it.mend) for it in findings)
    if as_json:
        screen.as_json({"findings": [it._asdict() for it in findings], "wrong": wrong})
    else:
        _show(findings, wrong)
    return Exit.FAILED if wrong else Exit.OK


def _named(variable: str) -> Path | None:
    return Path(os.environ[variable]) if os.environ.get(variable) else None


def _show(findings: Sequence[Finding], wrong: int) -> None:
    out = screen.console()
    table = screen.table("", "WHERE", "WHAT")
    table.columns[1].no_wrap = True
    where = ""
    for it in findings:
        mark = screen.text("mend", "bold red") if it.mend else screen.text("well", "green")
        mark = screen.text("note", "yellow") if it.note else mark
        # On a screen each region is named once; in a pipe, which may be filtered, in every line.
        repeated = it.where == where and out.is_terminal
        table.add_row(mark, screen.text(" " if repeated else it.where), _said(it))
        where = it.where
    out.print(table)
    out.print(f"{wrong} to mend" if wrong else "all is well", style="red" if wrong else "green")


def _said(finding: Finding) -> Text:
    said = screen.text(finding.what)
    if finding.mend:
        said.append_text(screen.text(f"\n-> {finding.mend}", "yellow"))
    return said


def _findings(clouds_file: Path | None, fleet_file: Path | None) -> Iterator[Finding]:
    if clouds_file is None:
        mend = "set OS_CLIENT_CONFIG_FILE to the path of clouds.yaml, or give --clouds"
        yield Finding("clouds.yaml", "no file is named", mend)
        return
    fleet, found = _files(clouds_file, fleet_file)
    yield from found
    if fleet is None:
        return
    if not fleet.regions:
        mend = "name regions in clouds.yaml, and have one enabled in fleet.yaml"
        yield Finding("configuration", "no region is left", mend)
    yield Finding("clouds.yaml", f"{len(fleet.regions)} regions: {', '.join(fleet.regions)}")
    yield Finding(
        "fleet.yaml", _names_known(fleet) if fleet_file else "none: names are as they are"
    )
    keyring, said = _keyring()
    yield said
    clouds = _clouds(clouds_file, fleet, keyring)
    names = list(fleet.regions)
    surveys: dict[str, Survey] = {}
    with ThreadPoolExecutor(REGIONS_AT_ONCE) as pool:
        places = dict(zip(names, pool.map(lambda it: _place(clouds(it)), names), strict=True))
        looks = pool.map(
            lambda it: list(_region(fleet, fleet.regions[it], clouds(it), surveys)), names
        )
        for name, found in zip(names, looks, strict=True):
            yield from found
            yield from _repeated(name, places)
            if name in surveys and keyring.keys:
                yield from strangers(name, surveys[name])
                yield from left_keypairs(name, surveys[name])
    if keyring.keys:
        yield from carried(keyring, surveys.values(), whole=len(surveys) == len(fleet.configured))


def _keyring() -> tuple[Keyring, Finding]:
    """Return the keys that marks are signed with, and what is to be said of them."""
    path = _named("OMS_MARKS_KEYS_FILE")
    if path is None:
        said = "OMS_MARKS_KEYS_FILE is not set: whose the servers are is not looked at"
        return Keyring(), Finding("marks", said, note=True)
    try:
        keyring = read_keyring(path)
    except ConfigurationError as error:
        return Keyring(), Finding("marks", "the keys are no good", str(error))
    return keyring, Finding("marks", f"keys: {', '.join(it.id for it in keyring.keys)}")


def _files(clouds_file: Path, fleet_file: Path | None) -> tuple[Fleet | None, Sequence[Finding]]:
    """Return the fleet if both files are good, and what is wrong or risky in them."""
    found: list[Finding] = []
    fleet, more = None, 0
    try:
        fleet = load_fleet(clouds_file, fleet_file)
    except ConfigurationError as error:
        found = [Finding("configuration", "refused", str(it)) for it in (error, *error.others)]
        more = error.more
    with suppress(ConfigurationError):  # it was told just now
        found += [
            Finding("clouds.yaml", f"{where}: {what}", mend, note=not mend)
            for where, what, mend in faults(clouds_file)
        ]
    more += len(found[FAULTS_SHOWN:])
    told = [Finding("configuration", f"{more} more", "mend the others first")] if more else []
    return fleet, found[:FAULTS_SHOWN] + told


def _place(cloud: Cloud) -> Place | None:
    """Return what a region is by itself; None if that cannot be learnt, as the look at it says."""
    try:
        return cloud.place()
    except CloudError:
        return None


def _repeated(name: str, places: Mapping[str, Place | None]) -> Iterator[Finding]:
    """Say of which earlier name a name is another one; see bind.lua for which of them stays."""
    place = places[name]
    first = next(it for it, its in places.items() if its == place)
    if place and first != name:
        mend = "take one of the two out of clouds.yaml: they are one region, and count once"
        yield Finding(name, repeating(first), mend)


def _names_known(fleet: Fleet) -> str:
    return f"names of images: {len(fleet.file.images)}, of sizes: {len(fleet.file.sizes)}"


def _clouds(clouds_file: Path, fleet: Fleet, keyring: Keyring) -> Callable[[str], Cloud]:
    import logging  # noqa: PLC0415  only here

    from openmultistack.clouds.openstack.clouds import OpenStackClouds  # noqa: PLC0415  costs 0.7 s

    for name in ("openstack", "keystoneauth"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    regions = {it.name: (it.provider, it.region) for it in fleet.regions.values()}
    name = os.environ.get("OMS_FLEET") or "default"
    return OpenStackClouds(clouds_file, regions, fleet=name, keys=lambda: keyring).region


def _region(
    fleet: Fleet, region: Region, cloud: Cloud, surveys: dict[str, Survey]
) -> Iterator[Finding]:
    try:
        survey = surveys[region.name] = cloud.survey()
        catalogue = cloud.catalogue()
    except CloudError as error:
        yield Finding(region.name, str(error), _mend(error))
        return
    quota = survey.quota
    yield Finding(
        region.name,
        f"login works: {len(survey.servers)} of {_limit(quota.instances)} instances there,"
        f" {say(quota, AMOUNTS, _limit)} allowed",
    )
    if not fleet.file.images and not fleet.file.sizes:
        offers = f"images: {len(catalogue.images)}, flavors: {len(catalogue.flavors)}"
        yield Finding(region.name, offers)
    yield from _reach(region, survey)
    yield from _names(fleet, region, catalogue)
    yield from _groups(region, cloud)
    yield from _roomless(fleet, region, catalogue)


def _reach(region: Region, survey: Survey) -> Iterator[Finding]:
    """Tell where servers get only addresses that nobody outside can reach."""
    having = [it.addresses for it in survey.servers if it.addresses]
    reached = any(it.kind == "floating" or is_public(it.address) for them in having for it in them)
    if having and not reached:
        said = "servers there have private addresses only: are you in their network?"
        yield Finding(region.name, said, note=True)


def _groups(region: Region, cloud: Cloud) -> Iterator[Finding]:
    """Tell which security groups of fleet.yaml a region has not; by name or id, as Nova has it."""
    wanted = region.rule.security_groups
    if not wanted:
        return
    try:
        known = cloud.security_groups()
    except CloudError as error:
        mend = f"see yourself that there are: {', '.join(wanted)}"
        yield Finding(region.name, f"security groups cannot be listed: {error}", mend)
        return
    missing = [it for it in wanted if it not in known and it not in known.values()]
    has = ", ".join(sorted(set(known.values()))) or "none"
    for group in missing:
        mend = f"make it in that project, or mend security_groups in fleet.yaml; there are: {has}"
        yield Finding(region.name, f"security group {group}: there is none of this name", mend)
    if not missing:
        yield Finding(region.name, f"security groups are there: {', '.join(wanted)}")


def _roomless(fleet: Fleet, region: Region, catalogue: Catalogue) -> Iterator[Finding]:
    """Tell which images fit on no flavor of a size, though both are there by themselves."""
    for size, image in product(fleet.file.sizes, fleet.file.images):
        try:
            find_flavor(fleet, region, catalogue, size, NO_IMAGE)
            found = find_image(fleet, region, catalogue, image)
        except CannotServe:
            continue
        try:
            find_flavor(fleet, region, catalogue, size, found)
        except CannotServe as reason:
            least = f"it needs {found.min_disk_gb} GB of disk and {found.min_ram_mb} MB of RAM"
            mend = f"name a larger flavor for sizes.{size} in fleet.yaml: {least}"
            yield Finding(region.name, f"size {size}: {reason}", mend)


def _mend(error: CloudError) -> str:
    if isinstance(error, NoSuchRegion) and error.offered:
        return "mend the region's name in clouds.yaml: it is one of these, as they are written"
    if isinstance(error, NoSuchRegion):
        return "check its project in clouds.yaml: its catalogue may be another one's"
    if isinstance(error, AccountBroken):
        return "check its user, password, project and domains in clouds.yaml"
    if isinstance(error, Unreachable):
        return "check its auth_url and region name in clouds.yaml, and whether the cloud is up"
    return "check its entry in clouds.yaml, and try again"


def _limit(count: int) -> str:
    return "any number of" if count >= UNLIMITED else f"{count:,}"


def _names(fleet: Fleet, region: Region, catalogue: Catalogue) -> Iterator[Finding]:
    """Resolve the network, and every image and size of fleet.yaml."""

    def resolve(what: str, find: Callable[[], str], mend: str) -> Finding:
        try:
            return Finding(region.name, f"{what} is {find()}")
        except CannotServe as reason:
            return Finding(region.name, f"{what}: {reason}", mend)

    networks = ", ".join(sorted(it.name for it in catalogue.networks))
    name_one = f"set regions.{region.name}.network in fleet.yaml to one of: {networks}"
    yield resolve(
        "network", lambda: find_network(region, catalogue).name,
        name_one if networks else "make a network for servers in that project",
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
