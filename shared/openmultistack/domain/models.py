"""The nouns: values that never change, made by our own code of what was checked before.

What comes from outside is checked by `commands`. These are no pydantic models: a function that
only reads the ledger starts without it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from operator import add
from typing import Literal, NamedTuple


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


class Flavor(NamedTuple):
    """A flavor of one region."""

    id: str
    name: str
    vcpus: int
    ram_mb: int
    disk_gb: int


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


class Place(NamedTuple):
    """What a region is by itself, whatever its name: where its Nova is, and for which project.

    The region's name at the cloud says nothing more: one endpoint serves one region.
    """

    # Host, port and path, without scheme, version and project.
    endpoint: str
    project: str
    region: str = ""

    @property
    def id(self) -> str:
        """The key of its state in the ledger; the same for every fleet and process."""
        return "p-" + sha256(f"{self.endpoint}\n{self.project}".encode()).hexdigest()[:16]


# What a server of ours carries of metadata beside its labels.
MARKS_ITEMS = 3

# What of an order a refusal is about: `flavor`, `image`, `network`, `groups` (security groups);
# `metadata` (how many items), `keyed` (that it has a key), `key` (this one), `content` (all that
# the client wrote, and who it is).
About = tuple[str, ...]
ALL_OF_IT: About = ("flavor", "image", "network", "groups", "content")

# `down`: its account or its listing does not work, until a sweep proves it well. `resting`: creates
# failed there, or it asked for a pause; it is tried again by itself. `drained`: by its operator.
# `retiring`: disabled, and swept until it is empty; then `retired`. `removed`: no entry of
# clouds.yaml leads there any more. `duplicate`: its place has another name in clouds.yaml, too.
RegionHealth = Literal[
    "unknown", "up", "down", "resting", "drained", "retiring", "retired", "removed", "duplicate"
]


def repeating(name: str) -> str:
    """Say of a name that it is another one for a region that takes part already."""
    return f"repeats {name}: the same project at the same endpoint"


class RegionState(NamedTuple):
    """What the ledger knows of a region; counts are of now."""

    region: str
    state: RegionHealth = "unknown"
    cap: Resources = Resources()
    held: Resources = Resources()
    foreign: Resources = Resources()
    building: int = 0
    max_building: int | None = None
    starts_per_minute: int | None = None
    full: bool = False
    # Why an operator drained it.
    drained: str | None = None
    # For how long the breaker lets nothing through.
    resting_ms: int = 0
    last_error: str | None = None
    last_error_at_ms: int | None = None
    swept_at_ms: int | None = None
    # Of the foreign servers how many say that they are the fleet's, by kind.
    strangers: Mapping[str, int] = {}

    @property
    def provider(self) -> str:
        """The entry of clouds.yaml that the region belongs to."""
        return self.region.partition("/")[0]

    def free(self) -> Resources:
        """Return cap - held - foreign, never below zero; nothing while nothing is let in."""
        if self.full or self.state != "up":
            return Resources()
        both = zip(self.cap, self.held + self.foreign, strict=True)
        return Resources(*(max(0, cap - taken) for cap, taken in both))


# These ends justify deleting a server; what merely vanished gives way to one that lives.
ENDED_FOR_GOOD = ("destroyed", "expired", "refused")


class Instance(NamedTuple):
    """An instance as the ledger has it; times are epoch milliseconds of Redis' clock."""

    id: str
    name: str
    status: Status
    owner: str
    region: str
    image: str
    flavor: str
    attempt: int
    created_at_ms: int
    expires_at_ms: int
    server_id: str | None = None
    addresses: tuple[Address, ...] = ()
    # Nova's own word for the server, where it says more than ours; else ''.
    cloud_status: str = ""
    labels: Mapping[str, str] = {}
    error: str | None = None
    # What is needed to try again elsewhere; dropped once the instance was ACTIVE.
    order: str | None = None
    # Its servers have a keypair each, named like the server.
    has_keypair: bool = False
    # Regions that failed it and what each said.
    tried: Mapping[str, str] = {}
    # The client has been told of it: an attempt that came to nothing is followed up.
    promised: bool = False
    # What its owner was allowed when it was asked for.
    quota: Quota = Quota()
    # Its cloud cannot be reached, as its provider is not in clouds.yaml any more.
    stranded: bool = False
    # `<digest of the key>:<digest of the command>:<position>`, if it was made under such a key.
    idempotency: str = ""
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
            "name": self.name,
            "status": status,
            "cloud_status": None if self.cloud_status in ("", status) else self.cloud_status,
            "owner": self.owner,
            "region": self.region or None,
            "provider": self.region.partition("/")[0] or None,
            "server_id": self.server_id,
            "image": self.image,
            "flavor": self.flavor,
            "addresses": [it._asdict() for it in self.addresses],
            "address": address_of(self.addresses),
            "labels": dict(self.labels),
            "attempt": self.attempt,
            "created_at": rfc3339(self.created_at_ms),
            "expires_at": rfc3339(self.expires_at_ms),
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


def rfc3339(at_ms: int) -> str:
    """Return epoch milliseconds as RFC 3339 UTC."""
    return (
        datetime.fromtimestamp(at_ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
