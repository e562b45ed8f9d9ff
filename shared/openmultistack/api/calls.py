"""What endpoints are made of: a call, a reply, and the endpoint itself."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from openmultistack.api.operations import Operation
from openmultistack.auth.guards import Guard
from openmultistack.domain.models import Principal

# What most answers take at most, in front of the function; those who may take longer say so.
TIMEOUT_S = 15


class Html(str):
    """A document that is a page."""

    __slots__ = ()


class Reply(NamedTuple):
    """What a use case answers.

    A str is sent as plain text, `Html` as a page, bytes and an iterator's pieces as they are, and
    anything else as JSON; a Content-Type among the headers says otherwise.
    """

    status: int
    document: object
    headers: Mapping[str, str] = {}
    # What the log's line has of it, beside what every line has.
    told: Mapping[str, object] = {}


def content_of(document: object) -> tuple[str, bool]:
    """Return the media type of a document by itself, and whether it is sent as it is."""
    match document:
        case Html():
            return "text/html; charset=utf-8", True
        case str():
            return "text/plain; charset=utf-8", True
        case bytes() | Iterator():
            return "application/octet-stream", True
    return "application/json", False


class Call(NamedTuple):
    """A request whose caller is known."""

    caller: Principal
    path: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes


class Endpoint(NamedTuple):
    """One method on one path: who may, what it does, and what the description says of it."""

    method: str
    path: str
    guard: Guard
    run: Callable[[Call], Reply]
    # None: it is nothing that clients are told of.
    operation: Operation | None = None
    timeout_s: int = TIMEOUT_S
    # Whether the gateway leads here; else it is for those who reach the function itself.
    is_routed: bool = True
    # Whether each request has its line in the log; probes come every second or two.
    is_logged: bool = True

    def match(self, path: str) -> Mapping[str, str] | None:
        """Return the parameters of a path that is this endpoint's."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[A-Za-z0-9_.-]{1,64})", self.path)
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None
