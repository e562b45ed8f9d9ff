"""Marks as Nova metadata, both ways: a server tells by itself whose it is.

A keypair has no metadata: its name is its mark.
"""

import re
from collections.abc import Mapping

from openmultistack.clouds.port import Marks

_LABEL = "oms_label:"
# More attempts than are ever made, and the last moment that can be shown.
ATTEMPT_MOST, LAST_MS = 10_000, 253_402_300_799_999
# The alphabet of a ULID: no other fleet's name can be read as ours.
_INSTANCE = r"(?P<id>i-[0-9A-HJKMNP-TV-Z]{26})-(?P<attempt>[0-9]+)"


def keypair_name(fleet: str, instance_id: str, attempt: int) -> str:
    """Return the name of the keypair that is made for one attempt's server."""
    return f"oms-{fleet}-{instance_id}-{attempt}"


def keypair_attempt(name: str, fleet: str) -> tuple[str, int] | None:
    """Return whose instance and attempt a keypair is; None if it is not this fleet's."""
    found = re.fullmatch(f"oms-{re.escape(fleet)}-{_INSTANCE}", name)
    return (found["id"], int(found["attempt"])) if found else None


def metadata_of(marks: Marks) -> dict[str, str]:
    """Return the metadata of a server; each value is within Nova's 255 characters."""
    return {
        "oms_fleet": marks.fleet,
        "oms_instance": marks.instance_id,
        "oms_attempt": str(marks.attempt),
        "oms_owner": marks.owner,
        "oms_name": marks.name,
        "oms_created_at_ms": str(marks.created_at_ms),
        "oms_expires_at_ms": str(marks.expires_at_ms),
        "oms_keypair": marks.keypair or "",
        "oms_idempotency": marks.idempotency,
        **{_LABEL + key: value for key, value in marks.labels.items()},
    }


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


def marks_of(metadata: Mapping[str, str], fleet: str) -> Marks | None:
    """Return the marks in a server's metadata; None if it is not (whole and) this fleet's."""
    if metadata.get("oms_fleet") != fleet:
        return None
    try:
        return Marks(
            fleet=fleet,
            instance_id=_id(metadata["oms_instance"]),
            attempt=_number(metadata["oms_attempt"], most=ATTEMPT_MOST),
            owner=metadata["oms_owner"],
            name=metadata["oms_name"],
            labels={
                key.removeprefix(_LABEL): value
                for key, value in metadata.items()
                if key.startswith(_LABEL)
            },
            created_at_ms=_number(metadata["oms_created_at_ms"], most=LAST_MS),
            expires_at_ms=_number(metadata["oms_expires_at_ms"], most=LAST_MS),
            keypair=metadata.get("oms_keypair") or None,
            idempotency=metadata.get("oms_idempotency", ""),
        )
    except (KeyError, ValueError):
        return None
