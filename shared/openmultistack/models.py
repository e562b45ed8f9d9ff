"""The nouns: frozen values that are checked once, at the edge."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)

# Nova takes user_data as base64 of at most this many characters (API schema, `maxLength`).
USER_DATA_MAX_BASE64_CHARS = 65535
# Metadata values are bounded by Nova to 255 characters; keys of ours take a prefix off that.
LABEL_CHARS = 63
# With our own marks this stays far below Nova's default of 128 metadata items.
LABELS_MAX = 16
INSTANCES_MAX = 100

_SSH_KEY = re.compile(r"^(?P<type>[a-z0-9@.-]+) (?P<blob>[A-Za-z0-9+/]+={0,2})(?: [^\r\n]*)?$")


class Frozen(BaseModel):
    """A value: unknown fields are refused, nothing changes later.

    Its validator is built when it is first used: a process uses few of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Status(StrEnum):
    """Where an instance is in its life."""

    QUEUED = "QUEUED"
    BUILD = "BUILD"
    ACTIVE = "ACTIVE"
    DELETING = "DELETING"
    DELETED = "DELETED"
    ERROR = "ERROR"


class Quota(Frozen):
    """What an owner may hold at once, and how fast they may create; None: no bound."""

    instances: int | None = Field(default=None, ge=0)
    vcpus: int | None = Field(default=None, ge=0)
    ram_mb: int | None = Field(default=None, ge=0)
    creates_per_minute: int | None = Field(default=None, ge=1)

    def within(self, other: "Quota") -> "Quota":
        """Return what both allow."""
        bounds = {}
        for what in Quota.model_fields:
            given = [it for it in (getattr(self, what), getattr(other, what)) if it is not None]
            bounds[what] = min(given, default=None)
        return Quota(**bounds)


class Principal(Frozen):
    """Whom a verified token names, and what they may do."""

    owner: str
    scopes: frozenset[str]
    # What the token says they may have; fleet.yaml may say less.
    quota: Quota = Quota()


def _ssh_public_key(value: str) -> str:
    """Accept one OpenSSH public key line whose blob names the type it claims."""
    match = _SSH_KEY.match(value.strip())
    expected = "expected one line `TYPE BASE64 [COMMENT]` as in an OpenSSH .pub file"
    if match is None:
        raise ValueError(expected)
    try:
        blob = base64.b64decode(match["blob"], validate=True)
    except ValueError:
        raise ValueError(expected) from None
    name = match["type"].encode()
    if blob[:4] != len(name).to_bytes(4, "big") or blob[4 : 4 + len(name)] != name:
        raise ValueError(f"{expected}; the key's body is not of type {match['type']}")
    if not _is_whole(blob):
        raise ValueError(f"{expected}; the key's body is cut short")
    return value.strip()


def _is_whole(blob: bytes) -> bool:
    """Whether fields (RFC 4253, 6.6: a length of 4 bytes, then the field) fill a key's body."""
    at = fields = 0
    while at + 4 <= len(blob):
        at += 4 + int.from_bytes(blob[at : at + 4], "big")
        fields += 1
    return at == len(blob) and fields > 1


def _user_data(value: str) -> str:
    chars = 4 * ((len(value.encode()) + 2) // 3)
    if chars > USER_DATA_MAX_BASE64_CHARS:
        raise ValueError(
            f"takes {chars} characters in base64, and Nova allows {USER_DATA_MAX_BASE64_CHARS}"
            " (64 KiB)"
        )
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    if len(value) > LABELS_MAX:
        raise ValueError(f"has {len(value)} labels, expected at most {LABELS_MAX}")
    return value


Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LABEL_CHARS)
]
LabelKey = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LABEL_CHARS)
]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._:/@+ -]*$", max_length=LABEL_CHARS)
]
Labels = Annotated[dict[LabelKey, LabelValue], AfterValidator(_labels)]


class SizeWanted(Frozen):
    """The least that a flavor must have."""

    vcpus: int = Field(default=1, ge=1, le=4096)
    ram_mb: int = Field(default=1, ge=1, le=2**24)
    disk_gb: int = Field(default=0, ge=0, le=2**20)


def _size_form(value: object) -> str:
    return "size-least" if isinstance(value, Mapping | SizeWanted) else "size-name"


# Told apart before they are checked, so that a fault is reported for the form that was meant.
Size = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=255), Tag("size-name")]
    | Annotated[SizeWanted, Tag("size-least")],
    Discriminator(_size_form),
]


class CreateInstances(Frozen):
    """The command of `POST /instances`."""

    image: str = Field(min_length=1, max_length=255)
    size: Size
    count: int = Field(default=1, ge=1, le=INSTANCES_MAX)
    ttl: int | None = Field(
        default=None, ge=1, description="seconds; the fleet's default if absent"
    )
    name: Name = "oms"
    labels: Labels = Field(default_factory=dict)
    ssh_public_key: Annotated[str, AfterValidator(_ssh_public_key)] | None = Field(
        default=None, max_length=16384
    )
    user_data: Annotated[str, AfterValidator(_user_data)] | None = None
    regions: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = Field(
        default=("*",), min_length=1, max_length=64
    )
    strategy: str = "spread"
    on_full: Literal["reject", "queue"] = "reject"
    partial: bool = False


class RenewInstance(Frozen):
    """The command of `PATCH /instances/{id}`."""

    ttl: int = Field(ge=1, description="seconds from now")


class DrainRegions(Frozen):
    """The command of `POST /regions/drain`."""

    regions: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = Field(
        min_length=1, max_length=64
    )
    why: Annotated[str, StringConstraints(max_length=200)] = "drained by its operator"


class OpenRegions(Frozen):
    """The command of `POST /regions/open`."""

    regions: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = Field(
        min_length=1, max_length=64
    )


class Address(Frozen):
    """One address of a server."""

    address: str
    version: int
    network: str


class Resources(Frozen):
    """What a quota counts."""

    instances: int = 0
    vcpus: int = 0
    ram_mb: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            instances=self.instances + other.instances,
            vcpus=self.vcpus + other.vcpus,
            ram_mb=self.ram_mb + other.ram_mb,
        )


class Flavor(Frozen):
    """A flavor of one region."""

    id: str
    name: str
    vcpus: int
    ram_mb: int
    disk_gb: int


class Image(Frozen):
    """An image of one region."""

    id: str
    name: str
    created_at: str = ""
    min_ram_mb: int = 0
    min_disk_gb: int = 0
    properties: Mapping[str, str] = Field(default_factory=dict)


class Network(Frozen):
    """A network of one region that servers can be put on."""

    id: str
    name: str
    shared: bool = False


class Catalogue(Frozen):
    """What one region offers."""

    flavors: tuple[Flavor, ...] = ()
    images: tuple[Image, ...] = ()
    networks: tuple[Network, ...] = ()


class Offer(Frozen):
    """What a request means in one region: its own flavor, image and network."""

    region: str
    flavor: Flavor
    image: Image
    network: Network
    security_groups: tuple[str, ...] = ()


# `down`: its account or its listing does not work, until a sweep proves it well. `resting`: creates
# failed there, or it asked for a pause; it is tried again by itself. `drained`: by its operator.
RegionHealth = Literal["unknown", "up", "down", "resting", "drained"]


class RegionState(Frozen):
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

    @property
    def provider(self) -> str:
        """The entry of clouds.yaml that the region belongs to."""
        return self.region.partition("/")[0]

    def free(self) -> Resources:
        """Return cap - held - foreign, never below zero; nothing while nothing is let in."""
        return Resources(
            **{
                what: 0
                if self.full or self.state != "up"
                else max(
                    0,
                    getattr(self.cap, what)
                    - getattr(self.held, what)
                    - getattr(self.foreign, what),
                )
                for what in Resources.model_fields
            }
        )


class Instance(Frozen):
    """An instance as the ledger has it; times are epoch milliseconds of Redis' clock."""

    id: str
    name: str
    status: Status
    owner: str
    region: str
    server_id: str | None = None
    image: str
    flavor: str
    addresses: tuple[Address, ...] = ()
    labels: Mapping[str, str] = Field(default_factory=dict)
    attempt: int
    created_at_ms: int
    expires_at_ms: int
    error: str | None = None
    # What is needed to try again elsewhere; dropped once the instance was ACTIVE.
    order: str | None = None
    # Its servers have a keypair each, named like the server.
    has_keypair: bool = False
    # Regions that failed it and what each said.
    tried: Mapping[str, str] = Field(default_factory=dict)
    # The client has been told of it: an attempt that came to nothing is followed up.
    promised: bool = False
    # What its owner was allowed when it was asked for.
    quota: Quota = Quota()
    # `<digest of the key>:<digest of the command>:<position>`, if it was made under such a key.
    idempotency: str = ""

    def document(self) -> dict[str, object]:
        """Return the instance as the API shows it."""
        shown = self.model_dump(mode="json", exclude=_INNER)
        return shown | {
            "region": self.region or None,
            "provider": self.region.partition("/")[0] or None,
            "created_at": rfc3339(self.created_at_ms),
            "expires_at": rfc3339(self.expires_at_ms),
        }


_INNER = {
    "order", "has_keypair", "tried", "promised", "quota", "idempotency",
    "created_at_ms", "expires_at_ms",
}  # fmt: skip


def rfc3339(at_ms: int) -> str:
    """Return epoch milliseconds as RFC 3339 UTC."""
    return (
        datetime.fromtimestamp(at_ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
