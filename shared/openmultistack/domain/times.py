"""Times as people read them."""

from datetime import UTC, datetime


def rfc3339(at_ms: int) -> str:
    """Return epoch milliseconds as RFC 3339 UTC."""
    return (
        datetime.fromtimestamp(at_ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
