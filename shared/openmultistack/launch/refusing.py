"""What the server itself refuses, as problem documents (RFC 9457), before a function has it."""

import json
import secrets
from typing import Any, NamedTuple

from gunicorn.http import errors


class Refusal(NamedTuple):
    """An answer in the gateway's words; never in the request's own."""

    status: int
    slug: str
    title: str
    detail: str


HEADERS_TOO_LARGE = Refusal(
    431, "headers-too-large", "Headers too large", "over 8190 bytes of a line, 100 or 16 KiB of all"
)
ENCODING = Refusal(501, "malformed", "Malformed request", "this encoding of a body is not spoken")
MALFORMED = Refusal(
    400, "malformed", "Malformed request", "this is not a request that HTTP allows here"
)
INTERNAL = Refusal(500, "internal", "Internal error", "something went wrong here; the log has it")


def refusal_of(error: Exception) -> Refusal:
    """Return what is answered to a request that the server failed to read or to answer."""
    if isinstance(error, (errors.LimitRequestLine, errors.LimitRequestHeaders)):
        return HEADERS_TOO_LARGE
    if isinstance(error, errors.UnsupportedTransferCoding):
        return ENCODING
    # The second are headers that a function would have sent.
    own = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
    if isinstance(error, errors.ParseException) and not isinstance(error, own):
        return MALFORMED
    return INTERNAL


def demand_one_reading(request: Any) -> None:  # noqa: ANN401  gunicorn has no types
    """Refuse what gunicorn takes, and what somebody else may read in another way.

    Raises:
        errors.ParseException: another version than HTTP/1.0 and 1.1, a tunnel, no `Host`, or a
            coding of the body that is not `chunked` alone.
    """
    if request.version not in ((1, 0), (1, 1)):
        raise errors.InvalidHTTPVersion(request.version)
    if request.method == "CONNECT":
        raise errors.InvalidRequestMethod(request.method)
    names = [name for name, _ in request.headers]
    if "HOST" not in names and request.version == (1, 1):
        raise errors.InvalidHeader("HOST", req=request)
    codings = [value for name, value in request.headers if name == "TRANSFER-ENCODING"]
    if codings and [it.lower() for it in codings] != ["chunked"]:
        raise errors.UnsupportedTransferCoding(", ".join(codings))


def answer(refusal: Refusal) -> bytes:
    """Return the whole answer, after which the connection ends."""
    request_id = secrets.token_hex(13)
    document = {
        "type": f"urn:openmultistack:problem:{refusal.slug}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "request_id": request_id,
    }
    body = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    head = (
        f"HTTP/1.1 {refusal.status} {refusal.title}\r\nConnection: close\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
        f"X-Request-Id: {request_id}\r\nCache-Control: no-store\r\n\r\n"
    )
    return head.encode() + body
