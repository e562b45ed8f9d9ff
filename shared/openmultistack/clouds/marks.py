"""Marks as Nova metadata and as names, both ways: a server tells by itself whose it is.

Whoever has a server in the same project can write both, so both are signed (HMAC-SHA256) with the
fleet's key, for one place: what is copied into another region, or changed, does not verify. Which
field is in which item docs/marks.md says.
"""

import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from openmultistack.clouds.keyring import Keyring, MarksKey
from openmultistack.clouds.port import Attempted, Claim, Keypair, Marks, Server, Survey
from openmultistack.domain.bounds import LABEL_CHARS, NAME_PATTERN, OWNER_CHARS, VALUE_PATTERN
from openmultistack.domain.models import Resources
from openmultistack.domain.strict import encode_base64url

VERSION = "1"
FIELDS, OWNER, SEAL = "oms_marks", "oms_owner", "oms_seal"
LABEL = "oms_label:"
# What servers carry of before marks were signed; `oms_owner` is in both forms.
UNSIGNED = (
    "oms_fleet", "oms_instance", "oms_attempt", OWNER, "oms_name", "oms_created_at_ms",
    "oms_expires_at_ms", "oms_keypair", "oms_idempotency",
)  # fmt: skip
# More attempts than are ever made, and the last moment that can be shown.
ATTEMPT_MOST, LAST_MS = 10_000, 253_402_300_799_999
# What is signed, in this order.
SIGNED = (
    "fleet", "instance_id", "attempt", "owner", "name", "created_at_ms", "expires_at_ms",
    "has_keypair", "idempotency", "labels",
)  # fmt: skip
# Marks that name no server are signed moments before theirs is made, which has no id yet: those
# of a server that was made at another time were copied. Clocks differ by less.
MADE_WITHIN_MS = 3600 * 1000 + 1
# Of a name's signature: 72 bits, as much as base64url has in so many characters.
NAME_SEAL_CHARS = 12
# The alphabet of a ULID: no other fleet's name can be read as ours.
_INSTANCE = r"(?P<id>i-[0-9A-HJKMNP-TV-Z]{26})-(?P<attempt>[0-9]{1,5})"


class Signing(NamedTuple):
    """What marks are signed with, and for."""

    keyring: Keyring
    fleet: str
    # `Place.id`
    place: str


class Identity(NamedTuple):
    """What a server tells of itself."""

    # Signed for this place with one of the fleet's keys.
    marks: Marks | None = None
    signed_by: str = ""
    # Not signed, or not so.
    claim: Claim | None = None
    # Whose attempt's the name is, if that verifies, and by which key.
    named: Attempted | None = None
    named_by: str = ""
    # How far the time at which the marks were signed is from when the server was made; 0: they
    # name the server.
    off_ms: int = 0


# ---------------------------------------------------------------- names


def _stem(fleet: str, attempted: Attempted) -> str:
    """Return a name without its signature; some clouds allow these characters only."""
    of_fleet = re.sub(r"[^A-Za-z0-9_-]", "_", fleet)
    return f"oms-{of_fleet}-{attempted.instance_id}-{attempted.attempt}"


def _name(key: MarksKey, fleet: str, place: str, attempted: Attempted) -> str:
    told = ["oms-name", VERSION, place, fleet, attempted.instance_id, attempted.attempt]
    seal = encode_base64url(key.sign(_canonical(told)))[:NAME_SEAL_CHARS]
    return f"{_stem(fleet, attempted)}-{seal}"


def name_of(signing: Signing, attempted: Attempted) -> str:
    """Return the name of an attempt's server, and of all that is made for it."""
    return _name(signing.keyring.signer, signing.fleet, signing.place, attempted)


def names_of(signing: Signing, attempted: Attempted) -> list[str]:
    """Return the names that an attempt's things may have, by each of the keys."""
    keys = signing.keyring.keys
    return [_name(it, signing.fleet, signing.place, attempted) for it in keys]


def pattern_of(fleet: str, attempted: Attempted) -> str:
    """Return a regular expression for the names of an attempt's server, those unsigned as well."""
    of_fleet = _stem(fleet, attempted)
    plain = f"oms-{attempted.instance_id}-{attempted.attempt}"
    return f"^({re.escape(of_fleet)}-.{{{NAME_SEAL_CHARS}}}|{re.escape(plain)})$"


def named(name: str, signing: Signing) -> Attempted | None:
    """Return whose attempt's a name is; None if it is not this fleet's, or does not verify."""
    return _named(name, signing)[0]


def _named(name: str, signing: Signing) -> tuple[Attempted | None, str]:
    """Return whose attempt's a name is, and the id of the key by which it verifies."""
    attempted = _attempted(name)
    if attempted is None:
        return None, ""
    names = zip(signing.keyring.keys, names_of(signing, attempted), strict=True)
    same = [key.id for key, it in names if hmac.compare_digest(it.encode(), name.encode())]
    return (attempted, same[0]) if same else (None, "")


def _attempted(name: str) -> Attempted | None:
    """Return whose attempt's a name of the signed form says that it is, of whichever fleet."""
    stem = re.fullmatch(rf"oms-.+-{_INSTANCE}-[A-Za-z0-9_-]{{{NAME_SEAL_CHARS}}}", name)
    return Attempted(stem["id"], int(stem["attempt"])) if stem else None


def survey_of(
    servers: Iterable[Server], quota: Resources, keypairs: Iterable[str], signing: Signing
) -> Survey:
    """Return a survey, with those of a project's keypairs that are named as this fleet's are."""
    ours, unproven = [], []
    for name in keypairs:
        if attempted := named(name, signing):
            ours.append(Keypair(name, attempted, verified=True))
        elif attempted := unsigned_keypair(name, signing.fleet):
            ours.append(Keypair(name, attempted, verified=False))
        elif attempted := _unproven(name, signing.fleet):
            unproven.append(Keypair(name, attempted, verified=False))
    return Survey(tuple(servers), quota, tuple(ours), tuple(unproven))


def _unproven(name: str, fleet: str) -> Attempted | None:
    """Return whose attempt's a name says that it is, in its signed form."""
    attempted = _attempted(name)
    stem = name[: -NAME_SEAL_CHARS - 1]
    return attempted if attempted and stem == _stem(fleet, attempted) else None


def unsigned_keypair(name: str, fleet: str) -> Attempted | None:
    """Return whose attempt's a keypair says that it is, as those of before were named."""
    found = re.fullmatch(f"oms-{re.escape(fleet)}-{_INSTANCE}", name)
    return Attempted(found["id"], int(found["attempt"])) if found else None


# ---------------------------------------------------------------- metadata


def metadata_of(
    marks: Marks, signing: Signing, server_id: str = "", at_ms: int | None = None
) -> dict[str, str]:
    """Return the metadata of a server, signed now; each value is within Nova's 255 characters.

    `server_id`: whose they are, if it is there already.
    """
    key = signing.keyring.signer
    at_ms = int(time.time() * 1000) if at_ms is None else at_ms
    fields = [
        VERSION,
        marks.fleet,
        marks.instance_id,
        str(marks.attempt),
        str(marks.created_at_ms),
        str(marks.expires_at_ms),
        "k" if marks.has_keypair else "-",
        marks.idempotency or "-",
        str(at_ms),
        server_id or "-",
    ]
    seal = _seal(key, marks, signing.place, at_ms, server_id)
    return {
        FIELDS: " ".join(fields),
        OWNER: marks.owner,
        SEAL: f"{key.id} {seal} {marks.name}",
        **{LABEL + name: value for name, value in marks.labels.items()},
    }


def _seal(key: MarksKey, marks: Marks, place: str, at_ms: int, server_id: str) -> str:
    """Return the signature of all of the marks, for a place and a server, as of a time."""
    fields = marks._asdict() | {"labels": sorted(marks.labels.items())}
    told = ["oms-marks", VERSION, place, server_id, at_ms, *(fields[it] for it in SIGNED)]
    return encode_base64url(key.sign(_canonical(told)))


def _canonical(told: Sequence[object]) -> bytes:
    """Return values as one text that no other values have."""
    return json.dumps(told, separators=(",", ":")).encode()


def identity_of(
    metadata: Mapping[str, str],
    name: str,
    signing: Signing,
    *,
    server_id: str = "",
    made_at: str = "",
) -> Identity:
    """Return what a server tells of itself, whatever anybody has written there.

    `server_id`, `made_at` (ISO 8601): what its cloud says of it, which nobody can write.
    """
    its, by = _named(name, signing)
    claim = claim_of(metadata, signing.fleet)
    proven = claim and claim.seal and verifies(claim, signing, signing.place)
    off_ms = _off_ms(claim, server_id, made_at) if claim and proven else LAST_MS
    if claim and off_ms <= MADE_WITHIN_MS:
        return Identity(claim.marks, claim.key_id, None, its, by, off_ms)
    return Identity(claim=claim, named=its, named_by=by)


def _off_ms(claim: Claim, server_id: str, made_at: str) -> int:
    """Return how far marks are from being signed for this very server; 0: they name it."""
    if claim.signed_for:
        return 0 if claim.signed_for == server_id else LAST_MS
    try:
        made = datetime.fromisoformat(made_at)
    except (ValueError, TypeError):
        return 1  # Nova always says when
    if made.tzinfo is None:
        return 1  # whose hour that is nobody knows
    return 1 + abs(int(made.timestamp() * 1000) - claim.signed_at_ms)


def claim_of(metadata: Mapping[str, str], fleet: str) -> Claim | None:
    """Return what a server's metadata says of it, be it so or not; None if not of this fleet."""
    return _signed_claim(metadata, fleet) or _unsigned_claim(metadata, fleet)


def verifies(claim: Claim, signing: Signing, place: str) -> bool:
    """Whether a claim is signed with one of the fleet's keys, for a place and whatever server."""
    key = signing.keyring.find(claim.key_id)
    if key is None:
        return False
    own = _seal(key, claim.marks, place, claim.signed_at_ms, claim.signed_for)
    return hmac.compare_digest(own, claim.seal)


def _signed_claim(metadata: Mapping[str, str], fleet: str) -> Claim | None:
    """Return marks as they say that they are signed; None if they are not whole and our fleet's."""
    try:
        (
            version, its_fleet, instance_id, attempt, created, expires, keypair, idempotency, at,
            server_id,
        ) = metadata[FIELDS].split(" ")  # fmt: skip
        key_id, seal, name = metadata[SEAL].split(" ", 2)
        if (version, its_fleet) != (VERSION, fleet) or not seal.isascii():
            return None
        marks = Marks(
            fleet=fleet,
            instance_id=_id(instance_id),
            attempt=_number(attempt, most=ATTEMPT_MOST),
            owner=metadata[OWNER],
            name=name,
            created_at_ms=_number(created, most=LAST_MS),
            expires_at_ms=_number(expires, most=LAST_MS),
            has_keypair=keypair == "k",
            idempotency="" if idempotency == "-" else idempotency,
            labels=_labels(metadata),
        )
        _check(marks)
        at_ms = _number(at, most=LAST_MS)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return Claim(marks, "unverified", key_id, seal, at_ms, "" if server_id == "-" else server_id)


def _unsigned_claim(metadata: Mapping[str, str], fleet: str) -> Claim | None:
    """Return the marks of a server of before; None if they are not whole and our fleet's."""
    if metadata.get("oms_fleet") != fleet:
        return None
    try:
        instance_id = _id(metadata["oms_instance"])
        attempt = _number(metadata["oms_attempt"], most=ATTEMPT_MOST)
        marks = Marks(
            fleet=fleet,
            instance_id=instance_id,
            attempt=attempt,
            owner=metadata["oms_owner"],
            name=metadata["oms_name"],
            created_at_ms=_number(metadata["oms_created_at_ms"], most=LAST_MS),
            expires_at_ms=_number(metadata["oms_expires_at_ms"], most=LAST_MS),
            # What else is named there is somebody else's.
            has_keypair=metadata.get("oms_keypair") == f"oms-{fleet}-{instance_id}-{attempt}",
            idempotency=metadata.get("oms_idempotency", ""),
            labels=_labels(metadata),
        )
        _check(marks)
    except (KeyError, ValueError, TypeError):
        return None
    return Claim(marks, "unsigned")


def _check(marks: Marks) -> None:
    """Pass what a token or a command may say (see `principal` and `commands`).

    Raises:
        ValueError: it is not what we write.
    """
    texts = [marks.name, *marks.labels]
    if not all(len(it) <= LABEL_CHARS and re.fullmatch(NAME_PATTERN, it) for it in texts):
        raise ValueError("expected a name")
    values = marks.labels.values()
    if not all(len(it) <= LABEL_CHARS and re.fullmatch(VALUE_PATTERN, it) for it in values):
        raise ValueError("expected a label's value")
    if not 0 < len(marks.owner) <= OWNER_CHARS or not marks.owner.isprintable():
        raise ValueError("expected an owner")
    if not re.fullmatch(r"([0-9a-f]{32}:[0-9a-f]{32}:[0-9]{1,4})?", marks.idempotency):
        raise ValueError("expected a place under an idempotency key")


def is_ours(key: str) -> bool:
    """Whether an item of a server's metadata is of marks, in either form."""
    return key in (FIELDS, SEAL, *UNSIGNED) or key.startswith(LABEL)


def _labels(metadata: Mapping[str, str]) -> dict[str, str]:
    return {k.removeprefix(LABEL): v for k, v in metadata.items() if k.startswith(LABEL)}


def _id(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}", text):
        raise ValueError("expected an instance's id")
    return text


def _number(text: str, *, most: int) -> int:
    """Return a number of ASCII digits: what anybody in a project may have written."""
    if not re.fullmatch(r"[0-9]{1,15}", text) or not 0 <= int(text) <= most:
        raise ValueError(f"expected a number up to {most}")
    return int(text)


def tag_of(fleet: str) -> str:
    """Return the tag that all servers of a fleet have; Nova allows 60 characters, no comma."""
    return f"oms-{fleet}"[:60]
