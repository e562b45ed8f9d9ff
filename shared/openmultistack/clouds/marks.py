"""Marks as Nova metadata, both ways: a server tells by itself whose it is."""

from collections.abc import Mapping

from openmultistack.clouds.port import Marks

_LABEL = "oms_label:"


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
        **{_LABEL + key: value for key, value in marks.labels.items()},
    }


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
            instance_id=metadata["oms_instance"],
            attempt=int(metadata["oms_attempt"]),
            owner=metadata["oms_owner"],
            name=metadata["oms_name"],
            labels={
                key.removeprefix(_LABEL): value
                for key, value in metadata.items()
                if key.startswith(_LABEL)
            },
            created_at_ms=int(metadata["oms_created_at_ms"]),
            expires_at_ms=int(metadata["oms_expires_at_ms"]),
            keypair=metadata.get("oms_keypair") or None,
        )
    except (KeyError, ValueError):
        return None
