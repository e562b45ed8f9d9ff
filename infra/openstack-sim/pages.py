"""Lists by pages, as Nova's `limit` and `marker` make them."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlencode

from calls import Call
from faults import Fault

MAX_LIMIT = 1000  # Nova's own default for `max_limit`

Thing = TypeVar("Thing")


def page(
    call: Call, path: str, things: Sequence[Thing], name: Callable[[Thing], str]
) -> tuple[Sequence[Thing], dict[str, str] | None]:
    """Return the things after the marker, and the link to the next page where this one is full."""
    limit = min(_limit(call.query.get("limit", str(MAX_LIMIT))), MAX_LIMIT)
    start = 0
    if marker := call.query.get("marker"):
        start = _place(marker, [name(it) for it in things]) + 1
    some = things[start : start + limit]
    if not some or len(some) < limit:
        return some, None
    query = urlencode({**call.query, "marker": name(some[-1])})
    return some, {"rel": "next", "href": f"{call.url}/{path}?{query}"}


def _limit(text: str) -> int:
    if not text.isdecimal():
        message = f"Invalid input for query parameters limit. Value: {text}. "
        raise Fault(HTTPStatus.BAD_REQUEST, f"{message}'{text}' does not match '^[0-9]*$'")
    return int(text)


def _place(marker: str, names: Sequence[str]) -> int:
    if marker not in names:
        raise Fault(HTTPStatus.BAD_REQUEST, f"marker [{marker}] not found")
    return names.index(marker)
