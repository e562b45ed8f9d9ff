"""What a region offers to servers: flavors, images, networks. The same names everywhere."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid4, uuid5


@dataclass(frozen=True, slots=True)
class Flavor:
    """A size."""

    id: str
    name: str
    vcpus: int
    ram_mb: int
    disk_gb: int
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """An image, with the properties that a client may match on."""

    id: str
    name: str
    os_distro: str
    os_version: str
    min_disk_gb: int = 0
    # Disks beside the first that it defines itself; this cloud's hosts have room for none.
    local_disks: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """A network; a server can be put on an external one only if it is shared."""

    id: str
    name: str
    cidr: IPv4Network
    external: bool
    shared: bool = False


FLAVORS = (
    ("m1.tiny", 1, 512, 1),
    ("m1.small", 1, 2048, 20),
    ("m1.medium", 2, 4096, 40),
    ("too.big", 2000, 1024, 1),  # beyond the usual quota of cores
)
IMAGES = (("debian-12", "debian", "12"), ("ubuntu-24.04", "ubuntu", "24.04"))
NETWORKS = (("ci-net", "10.0.0.0/16", False), ("public", "192.0.2.0/24", True))
SECURITY_GROUPS = ("default", "ssh")

Thing = TypeVar("Thing", Flavor, Image, Network)


class Offered:
    """What one region has, by id; ids are made of names, so that they outlive the process."""

    def __init__(self, label: str) -> None:
        self.flavors = _by_id(
            Flavor(_id(label, "flavor", name), name, vcpus, ram_mb, disk_gb)
            for name, vcpus, ram_mb, disk_gb in FLAVORS
        )
        self.images = _by_id(
            Image(_id(label, "image", name), name, distro, version)
            for name, distro, version in IMAGES
        )
        self.networks = _by_id(
            Network(_id(label, "network", name), name, IPv4Network(cidr), external)
            for name, cidr, external in NETWORKS
        )

    @property
    def usual_network(self) -> Network:
        """The one for who names none."""
        return next(it for it in self.networks.values() if not it.external or it.shared)

    def change(self, kind: str, name: str, more: Mapping[str, Any]) -> None:
        """Have a thing be otherwise; with `{"replaced": true}` another one has its name.

        Raises:
            KeyError, TypeError: there is no such thing, or it has no such property.
        """
        things = {it.name: it for it in getattr(self, kind).values()}
        asked = dict(more)
        if asked.pop("replaced", False):
            asked["id"] = str(uuid4())
        things[name] = replace(things[name], **asked)
        setattr(self, kind, _by_id(things.values()))


def _id(label: str, kind: str, name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"{label}/{kind}/{name}"))


def _by_id(things: Iterable[Thing]) -> Mapping[str, Thing]:
    return {it.id: it for it in things}
