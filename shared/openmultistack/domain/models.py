"""The nouns: values that never change, made by our own code of what was checked before.

What comes from outside is checked by `commands`. These are no pydantic models: a function that
only reads the ledger starts without it.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from operator import add
from typing import Literal, NamedTuple

from openmultistack.domain.bounds import UNLIMITED
from openmultistack.domain.identity import Identity


class Status(StrEnum):
    """Where an instance is in its life."""

    QUEUED = "QUEUED"
    BUILD = "BUILD"
    ACTIVE = "ACTIVE"
    DELETING = "DELETING"
    DELETED = "DELETED"
    ERROR = "ERROR"


# Nova's word for a server that was deleted and can be brought back for a while.
SOFT_DELETED = "SOFT_DELETED"


class Quota(NamedTuple):
    """What an owner may hold at once, and how fast they may create; None: no bound."""

    instances: int | None = None
    vcpus: int | None = None
    ram_mb: int | None = None
    creates_per_minute: int | None = None

    def within(self, other: "Quota") -> "Quota":
        """Return what both allow."""
        both = zip(self, other, strict=True)
        return Quota(*(min((it for it in of if it is not None), default=None) for of in both))

    def bounds(self) -> dict[str, int]:
        """Return what is bounded, by name."""
        return {what: bound for what, bound in self._asdict().items() if bound is not None}

    def allows(self, need: "Resources") -> bool:
        """Return whether an owner who holds nothing may have this."""
        bounds = self.bounds()
        return all(one <= bounds.get(what, one) for what, one in need._asdict().items())


AddressKind = Literal["fixed", "floating"]


class Principal(NamedTuple):
    """Whom a verified token names, and what they may do."""

    owner: str
    scopes: frozenset[str]
    # What the token says they may have; fleet.yaml may say less.
    quota: Quota = Quota()


class Address(NamedTuple):
    """One address of a server."""

    address: str
    version: int
    network: str
    kind: AddressKind = "fixed"


class Resources(NamedTuple):
    """What a quota counts; added up, not put together like other tuples."""

    instances: int = 0
    vcpus: int = 0
    ram_mb: int = 0

    def __add__(self, other: "Resources") -> "Resources":  # type: ignore[override]
        return Resources(*map(add, self, other))

    def fits(self, need: "Resources") -> int:
        """Return how many of a need there is room for; what it takes nothing of does not bind."""
        both = zip(self, need, strict=True)
        return min((have // one for have, one in both if one), default=UNLIMITED)


class Flavor(NamedTuple):
    """A flavor of one region."""

    id: str
    name: str
    vcpus: int
    ram_mb: int
    disk_gb: int

    @property
    def need(self) -> Resources:
        """What one server of it takes."""
        return Resources(instances=1, vcpus=self.vcpus, ram_mb=self.ram_mb)


class Image(NamedTuple):
    """An image of one region."""

    id: str
    name: str
    created_at: str = ""
    min_ram_mb: int = 0
    min_disk_gb: int = 0
    properties: Mapping[str, str] = {}


class Network(NamedTuple):
    """A network of one region that servers can be put on."""

    id: str
    name: str
    shared: bool = False
    # Leads out of the cloud: servers can be put on it where it is shared as well, or by leave.
    external: bool = False


# Of a region that has no networks to choose from: its Nova is told of none.
NO_NETWORK = Network(id="", name="")


class Catalogue(NamedTuple):
    """What one region offers."""

    flavors: tuple[Flavor, ...] = ()
    images: tuple[Image, ...] = ()
    networks: tuple[Network, ...] = ()


class Offer(NamedTuple):
    """What a request means in one region: its own flavor, image and network."""

    region: str
    flavor: Flavor
    image: Image
    network: Network
    security_groups: tuple[str, ...] = ()

    @property
    def need(self) -> Resources:
        """What one server of it takes of the region."""
        return self.flavor.need

    @property
    def footprint(self) -> tuple[object, ...]:
        """What one server of it takes of the region, and what its instance's record says of it."""
        return *self.need, self.flavor.name, self.image.name


# What of an order a refusal is about: `flavor`, `image`, `network`, `groups` (security groups);
# `metadata` (how many items), `keyed` (that it has a key), `key` (this one), `content` (all that
# the client wrote, and who it is).
About = tuple[str, ...]
ALL_OF_IT: About = ("flavor", "image", "network", "groups", "content")


# These ends justify deleting a server; what merely vanished gives way to one that lives.
ENDED_FOR_GOOD = ("destroyed", "expired", "refused")


class Instance(NamedTuple):
    """An instance as the ledger has it."""

    id: str
    identity: Identity
    status: Status
    region: str
    image: str
    flavor: str
    attempt: int
    server_id: str | None = None
    addresses: tuple[Address, ...] = ()
    # Nova's own word for the server, where it says more than ours; else ''.
    cloud_status: str = ""
    error: str | None = None
    # What is needed to try again elsewhere; dropped once the instance was ACTIVE.
    order: str | None = None
    # Regions that failed it and what each said.
    tried: Mapping[str, str] = {}
    # The client has been told of it: an attempt that came to nothing is followed up.
    promised: bool = False
    # What its owner was allowed when it was asked for.
    quota: Quota = Quota()
    # Its cloud cannot be reached, as its provider is not in clouds.yaml any more.
    stranded: bool = False
    # Why it ended: `destroyed`, `expired`, `refused` (its client was told that nothing was made),
    # or for reasons that do not justify deleting a server: `vanished`, `failed`.
    ended: str | None = None
    # When it was due, before its owner renewed it: what its servers' marks may still say.
    was_due_ms: tuple[int, ...] = ()
    # Which server an attempt, a number and a region, was first known to have; it may be gone.
    had: Mapping[tuple[int, str], str] = {}

    @property
    def is_over(self) -> bool:
        """Whether its servers may be deleted, as nobody wants them any more."""
        return self.status == Status.DELETING or (
            self.status == Status.DELETED and self.ended in ENDED_FOR_GOOD
        )

    @property
    def shown_status(self) -> Status:
        """The status as people see it: what its cloud keeps only to bring it back is leaving."""
        living = self.status in (Status.BUILD, Status.ACTIVE)
        return Status.DELETING if living and self.cloud_status == SOFT_DELETED else self.status

    def document(self) -> dict[str, object]:
        """Return the instance as the API shows it."""
        status = self.shown_status
        return {
            "id": self.id,
            **self.identity.document(),
            "status": status,
            "cloud_status": None if self.cloud_status in ("", status) else self.cloud_status,
            "region": self.region or None,
            "provider": self.region.partition("/")[0] or None,
            "server_id": self.server_id,
            "image": self.image,
            "flavor": self.flavor,
            "addresses": [it._asdict() for it in self.addresses],
            "address": address_of(self.addresses),
            "attempt": self.attempt,
            "error": self.error,
        }


def address_of(addresses: Sequence[Address]) -> str | None:
    """Return the address that a client would use, of several the one most likely to be reached.

    A floating one before a public one before a private one, and IPv4 before IPv6.
    """
    if len(addresses) > 1:
        addresses = sorted(addresses, key=_reach)
    return addresses[0].address if addresses else None


def _reach(it: Address) -> tuple[bool, bool, int]:
    return it.kind != "floating", not is_public(it.address), it.version


@lru_cache(maxsize=10_000)
def is_public(address: str) -> bool:
    """Return whether an address can be reached from everywhere (RFC 6890); no address cannot."""
    try:
        return ip_address(address).is_global
    except ValueError:
        return False
