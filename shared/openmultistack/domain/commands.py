"""What comes from outside: commands and the operator's own values, checked once, at the edge."""

import base64
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from openmultistack.domain.bounds import CHAR_LAST, LABEL_CHARS, NAME_PATTERN, VALUE_PATTERN
from openmultistack.domain.identity import NOTE_CHARS, Identity
from openmultistack.domain.models import Quota

# Nova takes user_data as base64 of at most this many characters (API schema, `maxLength`).
USER_DATA_MAX_BASE64_CHARS = 65535
# Metadata values are bounded by Nova to 255 characters; keys of ours take a prefix off that.
# With our own marks this stays far below Nova's default of 128 metadata items.
LABELS_MAX = 16
INSTANCES_MAX = 100

_SSH_KEY = re.compile(r"^(?P<type>[a-z0-9@.-]+) (?P<blob>[A-Za-z0-9+/]+={0,2})(?: [^\r\n]*)?$")


class Frozen(BaseModel):
    """A value: unknown fields are refused, nothing changes later.

    Its validator is built when it is first used: a process uses few of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Cap(Frozen):
    """The operator's own bounds in one region; the cloud's quota bounds as well."""

    instances: int | None = Field(default=None, ge=0)
    vcpus: int | None = Field(default=None, ge=0)
    ram_mb: int | None = Field(default=None, ge=0)


class OwnerQuota(Cap):
    """What an owner may hold at once, and how fast they may create; None: no bound."""

    creates_per_minute: int | None = Field(default=None, ge=1)

    def quota(self) -> Quota:
        """Return it as the ledger takes it."""
        return Quota(**dict(self))


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
    return _keepable(value.strip())


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


def _note(value: str) -> str:
    if not value.isprintable():
        raise ValueError(
            "has a character that cannot be printed, expected one line of printable text"
        )
    return _keepable(value)


def _keepable(value: str) -> str:
    """Accept text that clouds can keep, whatever their databases are."""
    odd = next((it for it in value if it > CHAR_LAST), None)
    if odd:
        raise ValueError(f"has U+{ord(odd):X}, expected characters up to U+FFFF (no emoji)")
    return value


Name = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$", max_length=LABEL_CHARS)]
LabelKey = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$", max_length=LABEL_CHARS)]
LabelValue = Annotated[str, StringConstraints(pattern=f"^{VALUE_PATTERN}$", max_length=LABEL_CHARS)]
Labels = Annotated[dict[LabelKey, LabelValue], AfterValidator(_labels)]
Note = Annotated[str, StringConstraints(max_length=NOTE_CHARS), AfterValidator(_note)]


class SizeWanted(Frozen):
    """The least that a flavor must have."""

    vcpus: int = Field(default=1, ge=1, le=4096)
    ram_mb: int = Field(default=1, ge=1, le=2**24)
    disk_gb: int = Field(default=0, ge=0, le=2**20)

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("is an empty mapping, expected one of vcpus, ram_mb, disk_gb in it")
        return self


def _size_form(value: object) -> str | None:
    if isinstance(value, Mapping | SizeWanted):
        return "size-least"
    return "size-name" if isinstance(value, str) else None


# Told apart before they are checked, so that a fault is reported for the form that was meant.
Size = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=255), Tag("size-name")]
    | Annotated[SizeWanted, Tag("size-least")],
    Discriminator(
        _size_form,
        custom_error_type="size_form",
        custom_error_message="the name of a size, or a mapping with vcpus, ram_mb, disk_gb",
    ),
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
    note: Note = Field(default="", description="free text, one line, shown with each of them")
    ssh_public_key: Annotated[str, AfterValidator(_ssh_public_key)] | None = Field(
        default=None, max_length=16384
    )
    user_data: Annotated[str, AfterValidator(_user_data)] | None = None
    regions: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = Field(
        default=("*",), min_length=1, max_length=64
    )
    strategy: str = Field(default="spread", max_length=LABEL_CHARS)
    on_full: Literal["reject", "queue"] = Field(
        default="reject",
        description="`queue`: what finds no room, in the regions or in the owner's quota, waits",
    )
    partial: bool = False

    def identity(self, owner: str) -> Identity:
        """Return who its instances are, as far as that is known before they are admitted."""
        return Identity(
            owner=owner,
            name=self.name,
            labels=self.labels,
            has_keypair=self.ssh_public_key is not None,
            note=self.note,
        )


class RenewInstance(Frozen):
    """The command of `PATCH /instances/{id}`."""

    ttl: int = Field(ge=1, description="seconds from now")


class Reap(Frozen):
    """The command of `POST /reap`."""

    now: bool = Field(
        default=False, description="try logins at once that were refused, whatever pause they have"
    )


class DrainRegions(Frozen):
    """The command of `POST /regions/drain`."""

    regions: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = Field(
        min_length=1, max_length=64
    )
    why: Annotated[str, StringConstraints(max_length=200)] = "drained by its operator"


class ForgetRegions(Frozen):
    """The command of `POST /regions/forget`."""

    regions: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = Field(
        min_length=1, max_length=64
    )


class AdoptUnverified(Frozen):
    """The command of `POST /regions/adopt`."""

    regions: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = Field(
        min_length=1, max_length=64
    )


class DestroyCopies(Frozen):
    """The command of `POST /copies/destroy`."""

    servers: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = Field(
        min_length=1, max_length=64
    )


class OpenRegions(Frozen):
    """The command of `POST /regions/open`."""

    regions: tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...] = Field(
        min_length=1, max_length=64
    )
