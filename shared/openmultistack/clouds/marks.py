"""Marks as Nova metadata, both ways: a server tells by itself whose it is.

Whoever has a server in the same project can write them, so they are signed (HMAC-SHA256) with the
fleet's key, for one place: what is copied into another region, or changed, does not verify. Which
field is in which item docs/marks.md says.
"""

import hmac
import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from openmultistack.clouds.keyring import MarksKey
from openmultistack.clouds.names import named_by
from openmultistack.clouds.port import Attempted, Claim, Marks
from openmultistack.clouds.signing import Signing, canonical
from openmultistack.domain.bounds import LABEL_CHARS, NAME_PATTERN, OWNER_CHARS, VALUE_PATTERN
from openmultistack.domain.identity import NOTE_CHARS, Identity
from openmultistack.domain.strict import encode_base64url

FIELDS, OWNER, SEAL, NOTE = "oms_marks", "oms_owner", "oms_seal", "oms_note"
LABEL = "oms_label:"
# What servers carry of before marks were signed; `oms_owner` is in both forms.
UNSIGNED = (
    "oms_fleet", "oms_instance", "oms_attempt", OWNER, "oms_name", "oms_created_at_ms",
    "oms_expires_at_ms", "oms_keypair", "oms_idempotency",
)  # fmt: skip
# More attempts than are ever made, and the last moment that can be shown.
ATTEMPT_MOST, LAST_MS = 10_000, 253_402_300_799_999
# What is signed, in this order, by the version of marks. Of those that tell all the first is
# written: functions that know no other verify it.
_FIRST = (
    "fleet", "instance_id", "attempt", "owner", "name", "created_at_ms", "expires_at_ms",
    "has_keypair", "idempotency", "labels",
)  # fmt: skip
SIGNED = {"1": _FIRST, "2": (*_FIRST, "note")}
# Marks that name no server are signed moments before theirs is made, which has no id yet: those
# of a server that was made at another time were copied. Clocks differ by less.
MADE_WITHIN_MS = 3600 * 1000 + 1


class Evidence(NamedTuple):
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


def metadata_of(
    marks: Marks, signing: Signing, server_id: str = "", at_ms: int | None = None
) -> dict[str, str]:
    """Return the metadata of a server, signed now; each value is within Nova's 255 characters.

    `server_id`: whose they are, if it is there already.
    """
    key = signing.keyring.signer
    at_ms = int(time.time() * 1000) if at_ms is None else at_ms
    identity = marks.identity
    fields = [
        _version(identity),
        marks.fleet,
        marks.instance_id,
        str(marks.attempt),
        str(identity.created_at_ms),
        str(identity.expires_at_ms),
        "k" if identity.has_keypair else "-",
        identity.idempotency or "-",
        str(at_ms),
        server_id or "-",
    ]
    seal = _seal(key, marks, signing.place, at_ms, server_id)
    return {
        FIELDS: " ".join(fields),
        OWNER: identity.owner,
        SEAL: f"{key.id} {seal} {identity.name}",
        **({NOTE: identity.note} if identity.note else {}),
        **{LABEL + name: value for name, value in identity.labels.items()},
    }


def _version(identity: Identity) -> str:
    return "2" if identity.note else "1"


def _seal(key: MarksKey, marks: Marks, place: str, at_ms: int, server_id: str) -> str:
    """Return the signature of all of the marks, for a place and a server, as of a time."""
    identity = marks.identity
    fields = {**marks._asdict(), **identity._asdict(), "labels": sorted(identity.labels.items())}
    version = _version(identity)
    told = ["oms-marks", version, place, server_id, at_ms, *(fields[it] for it in SIGNED[version])]
    return encode_base64url(key.sign(canonical(told)))


def evidence_of(
    metadata: Mapping[str, str],
    name: str,
    signing: Signing,
    *,
    server_id: str = "",
    made_at: str = "",
) -> Evidence:
    """Return what a server tells of itself, whatever anybody has written there.

    `server_id`, `made_at` (ISO 8601): what its cloud says of it, which nobody can write.
    """
    its, by = named_by(name, signing)
    claim = claim_of(metadata, signing.fleet)
    proven = claim and claim.seal and verifies(claim, signing, signing.place)
    off_ms = _off_ms(claim, server_id, made_at) if claim and proven else LAST_MS
    if claim and off_ms <= MADE_WITHIN_MS:
        return Evidence(claim.marks, claim.key_id, None, its, by, off_ms)
    if claim and off_ms < LAST_MS:
        claim = claim._replace(off_ms=off_ms)
    return Evidence(claim=claim, named=its, named_by=by)


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
        # Beside marks of the first version a note is anybody's.
        note = metadata[NOTE] if "note" in SIGNED[version] else ""
        if its_fleet != fleet or not seal.isascii():
            return None
        identity = Identity(
            owner=metadata[OWNER],
            name=name,
            created_at_ms=_number(created, most=LAST_MS),
            expires_at_ms=_number(expires, most=LAST_MS),
            has_keypair=keypair == "k",
            idempotency="" if idempotency == "-" else idempotency,
            labels=_labels(metadata),
            note=note,
        )
        _check(identity)
        if _version(identity) != version:
            return None
        marks = Marks(fleet, _id(instance_id), _number(attempt, most=ATTEMPT_MOST), identity)
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
        identity = Identity(
            owner=metadata["oms_owner"],
            name=metadata["oms_name"],
            created_at_ms=_number(metadata["oms_created_at_ms"], most=LAST_MS),
            expires_at_ms=_number(metadata["oms_expires_at_ms"], most=LAST_MS),
            # What else is named there is somebody else's.
            has_keypair=metadata.get("oms_keypair") == f"oms-{fleet}-{instance_id}-{attempt}",
            idempotency=metadata.get("oms_idempotency", ""),
            labels=_labels(metadata),
        )
        _check(identity)
    except (KeyError, ValueError, TypeError):
        return None
    return Claim(Marks(fleet, instance_id, attempt, identity), "unsigned")


def _check(identity: Identity) -> None:
    """Pass what a token or a command may say (see `principal` and `commands`).

    Raises:
        ValueError: it is not what we write.
    """
    texts = [identity.name, *identity.labels]
    if not all(len(it) <= LABEL_CHARS and re.fullmatch(NAME_PATTERN, it) for it in texts):
        raise ValueError("expected a name")
    values = identity.labels.values()
    if not all(len(it) <= LABEL_CHARS and re.fullmatch(VALUE_PATTERN, it) for it in values):
        raise ValueError("expected a label's value")
    if not 0 < len(identity.owner) <= OWNER_CHARS or not identity.owner.isprintable():
        raise ValueError("expected an owner")
    if not re.fullmatch(r"([0-9a-f]{32}:[0-9a-f]{32}:[0-9]{1,4})?", identity.idempotency):
        raise ValueError("expected a place under an idempotency key")
    if not len(identity.note) <= NOTE_CHARS or not identity.note.isprintable():
        raise ValueError("expected a note")


def is_ours(key: str) -> bool:
    """Whether an item of a server's metadata is of marks, in either form."""
    return key in (FIELDS, SEAL, NOTE, *UNSIGNED) or key.startswith(LABEL)


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
