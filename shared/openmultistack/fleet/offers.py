"""What a request means in each region: its own flavor, image and network, or why it has none."""

import difflib
import heapq
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase, translate
from typing import NamedTuple

from openmultistack.domain.commands import SizeWanted
from openmultistack.domain.errors import Invalid, NoRegionReady
from openmultistack.domain.models import Catalogue, Flavor, Image, Network, Offer
from openmultistack.fleet.config import Fleet, ImageRule, Region, first_match

# Of how many names, those that have most letters and pairs of letters in common with what was
# asked for, the likeness is worked out, and from how much of each: the work for one grows with
# the square of its length, and large clouds have thousands of images.
LIKELY, LIKENESS_CHARS = 40, 64


# What is told of a region whose catalogue nobody knows.
NOT_LOOKED_AT = "has not been looked at yet"


class Offers(NamedTuple):
    """The regions that can serve a request, and why the others cannot."""

    able: tuple[Offer, ...]
    unable: Mapping[str, str]
    # Of the unable ones those that refused orders of this kind, until they are asked anew.
    unsuited: tuple[Offer, ...] = ()
    # And those that nobody has looked at yet.
    unseen: frozenset[str] = frozenset()


class CannotServe(Exception):
    """Why a region is no candidate; the field is `image`, `size` or `network`."""

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        super().__init__(why)


def regions_matching(fleet: Fleet, patterns: Sequence[str]) -> list[Region]:
    """Return the regions that some pattern matches; a provider's name stands for all of its own.

    Raises:
        Invalid: a pattern matches none.
    """
    matched: set[str] = set()
    for position, pattern in enumerate(patterns):
        names = _matching(pattern, fleet.regions)
        if not names:
            fault = f"/regions/{position}", _unmatched(pattern, fleet)
            raise Invalid([fault], nearest=nearest(pattern, fleet.regions))
        matched.update(names)
    return [region for name, region in fleet.regions.items() if name in matched]


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    # Not fnmatchcase, which would keep each of the many thousands that clients make up.
    match = re.compile(translate(pattern)).match
    return [it for it in names if match(it) or it.startswith(f"{pattern}/")]


def _unmatched(pattern: str, fleet: Fleet) -> str:
    disabled = _matching(pattern, fleet.disabled)
    if disabled:
        return f"{pattern!r} takes nothing new: disabled in fleet.yaml"
    return f"{pattern!r} matches no region of the fleet"


def offers(
    fleet: Fleet,
    regions: Iterable[Region],
    catalogues: Mapping[str, Catalogue],
    image: str,
    size: str | SizeWanted,
) -> Offers:
    """Return what each region has for an image and a size.

    Raises:
        Invalid: none that was looked at can serve; says why, and names near to an unknown one.
        NoRegionReady: none was looked at yet.
    """
    able, refused, unseen = [], {}, {}
    for region in regions:
        catalogue = catalogues.get(region.name)
        if catalogue is None:
            unseen[region.name] = NOT_LOOKED_AT
            continue
        try:
            able.append(offer_of(fleet, region, catalogue, image, size))
        except CannotServe as reason:
            refused[region.name] = reason
    if not able and refused:
        raise _refuse(fleet, catalogues, image, size, refused, unseen)
    if not able:
        raise NoRegionReady("no region has been looked at yet", unseen)
    unable = unseen | {name: str(why) for name, why in refused.items()}
    return Offers(tuple(able), unable, unseen=frozenset(unseen))


def offer_of(
    fleet: Fleet, region: Region, catalogue: Catalogue, image: str, size: str | SizeWanted
) -> Offer:
    """Return what a request means in a region that offers this.

    Raises:
        CannotServe: nothing; says why.
    """
    found = find_image(fleet, region, catalogue, image)
    return Offer(
        region=region.name,
        image=found,
        flavor=find_flavor(fleet, region, catalogue, size, found),
        network=find_network(region, catalogue),
        security_groups=region.rule.security_groups,
    )


def find_image(fleet: Fleet, region: Region, catalogue: Catalogue, image: str) -> Image:
    """Return the newest image that the name stands for in a region."""
    if image in fleet.file.images:
        rule = first_match(fleet.file.images[image], region.name)
        if rule is None:
            raise CannotServe("image", f"fleet.yaml says nothing of image {image} here")
        rule = ImageRule(name=rule) if isinstance(rule, str) else rule
        fitting = [it for it in catalogue.images if _fits(it, rule)]
    else:
        fitting = [it for it in catalogue.images if image in (it.name, it.id)]
    if not fitting:
        raise CannotServe("image", f"has no image {image}")
    return max(fitting, key=lambda it: (it.created_at, it.id))


def _fits(image: Image, rule: ImageRule) -> bool:
    wanted = rule.wanted()
    return (rule.name is None or fnmatchcase(image.name, rule.name)) and all(
        image.properties.get(key) == value for key, value in wanted.items()
    )


def find_flavor(
    fleet: Fleet, region: Region, catalogue: Catalogue, size: str | SizeWanted, image: Image
) -> Flavor:
    """Return the smallest flavor that the size stands for in a region and the image fits on."""
    wanted = fleet.file.sizes.get(size, size) if isinstance(size, str) else size
    if isinstance(wanted, SizeWanted):
        fitting = [it for it in catalogue.flavors if _satisfies(it, wanted)]
    elif isinstance(wanted, str):
        fitting = [it for it in catalogue.flavors if wanted in (it.name, it.id)]
    else:
        pattern = first_match(wanted, region.name)
        fitting = [it for it in catalogue.flavors if pattern and fnmatchcase(it.name, pattern)]
    if not fitting:
        raise CannotServe("size", f"has no flavor for size {_said(size)}")
    roomy = [
        it for it in fitting if it.ram_mb >= image.min_ram_mb and it.disk_gb >= image.min_disk_gb
    ]
    if not roomy:
        raise CannotServe("size", f"has no flavor for size {_said(size)} that {image.name} fits on")
    return min(roomy, key=lambda it: (it.vcpus, it.ram_mb, it.disk_gb, it.name))


def _satisfies(flavor: Flavor, wanted: SizeWanted) -> bool:
    return (
        flavor.vcpus >= wanted.vcpus
        and flavor.ram_mb >= wanted.ram_mb
        and flavor.disk_gb >= wanted.disk_gb
    )


def find_network(region: Region, catalogue: Catalogue) -> Network:
    """Return the network that fleet.yaml names, or the only one there is to choose."""
    name = region.rule.network
    if name is not None:
        named = [it for it in catalogue.networks if name in (it.name, it.id)]
        if len(named) != 1:
            raise CannotServe("network", f"has {len(named) or 'no'} networks named {name}")
        return named[0]
    inner = [it for it in catalogue.networks if not it.external]
    own = [it for it in inner if not it.shared]
    # One that leads out of the cloud takes servers by themselves only if it is shared as well.
    choice = own or inner or [it for it in catalogue.networks if it.shared]
    if len(choice) != 1:
        names = ", ".join(it.name for it in choice) or "none"
        raise CannotServe(
            "network", f"has several networks or none ({names}): name one in fleet.yaml"
        )
    return choice[0]


def _said(size: str | SizeWanted) -> str:
    if isinstance(size, str):
        return size
    return f"of at least {size.vcpus} vCPUs, {size.ram_mb} MB RAM and {size.disk_gb} GB disk"


def _refuse(
    fleet: Fleet,
    catalogues: Mapping[str, Catalogue],
    image: str,
    size: str | SizeWanted,
    refused: Mapping[str, CannotServe],
    unseen: Mapping[str, str],
) -> Invalid:
    """Return why no region that was looked at can serve: an unknown name, or a mixture."""
    reasons = dict(unseen) | {name: str(reason) for name, reason in refused.items()}
    fields = {reason.field for reason in refused.values()}
    if fields == {"image"}:
        known = set(fleet.file.images) | {it.name for c in catalogues.values() for it in c.images}
        fault = ("/image", f"no region has an image {image!r}")
        return Invalid([fault], nearest=nearest(image, known), regions=reasons)
    if fields == {"size"}:
        known = set(fleet.file.sizes) | {it.name for c in catalogues.values() for it in c.flavors}
        fault = ("/size", f"no region has a flavor for size {_said(size)}")
        close = nearest(size, known) if isinstance(size, str) else ()
        return Invalid([fault], nearest=close, regions=reasons)
    return Invalid([("", "no region has all that this asks for")], regions=reasons)


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to five known names, the most alike first."""
    wanted = name.lower()[:LIKENESS_CHARS]
    parts = _parts(wanted)
    folded = {it.lower()[:LIKENESS_CHARS]: it for it in sorted(known)}
    likely = heapq.nlargest(LIKELY, folded, key=lambda it: len(parts & _parts(it)))
    close = difflib.get_close_matches(wanted, likely, n=5, cutoff=0.4)
    return [folded[it] for it in close]


def _parts(name: str) -> set[str]:
    """Return the letters and the pairs of letters of a name."""
    return {*name, *map("".join, itertools.pairwise(name))}
