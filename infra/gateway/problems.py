"""The gateway's own refusals as problem documents (RFC 9457); functions' answers pass untouched."""

import json
from typing import Any, NamedTuple

Json = dict[str, Any]

BODY_MAX_BYTES = 256 * 1024


class Refusal(NamedTuple):
    """What Envoy answers with a status, in our words."""

    status: int
    slug: str
    title: str
    detail: str
    headers: tuple[tuple[str, str], ...] = ()


# A request that Envoy could not read was given no id; the nanosecond of its beginning then is one.
# The same in the answer's header, in its document and in the access log.
REQUEST_ID = "%COALESCE({})%".format(
    json.dumps(
        {
            "operators": [
                {"command": "REQ", "param": "X-REQUEST-ID"},
                {"command": "START_TIME", "param": "%s.%9f"},
            ]
        }
    )
)
_RETRY = (("retry-after", "5"),)
_CHALLENGE = (("www-authenticate", 'Bearer realm="openmultistack", error="invalid_token"'),)
UNAUTHENTICATED = Refusal(
    401,
    "unauthenticated",
    "Unauthenticated",
    "expected `Authorization: Bearer TOKEN` with a token of a known issuer, signed, unexpired and"
    " made for this service",
    _CHALLENGE,
)
LOST = Refusal(
    502, "unavailable", "Unavailable", "the function gave no answer; it may have acted", _RETRY
)
REFUSALS = (
    Refusal(400, "malformed", "Malformed request", "this is not a request that HTTP allows here"),
    Refusal(404, "not-found", "Not found", "there is nothing at this path"),
    Refusal(
        405,
        "method-not-allowed",
        "Method not allowed",
        "the method is not possible here; the header Allow says which are",
    ),
    Refusal(408, "timeout", "Timeout", "the request did not arrive in time"),
    Refusal(413, "too-large", "Request too large", f"the body is over {BODY_MAX_BYTES} bytes"),
    Refusal(426, "malformed", "Malformed request", "this version of HTTP is not spoken here"),
    Refusal(431, "headers-too-large", "Headers too large", "over 8 KiB, or 80, of headers"),
    Refusal(501, "malformed", "Malformed request", "this encoding of a body is not spoken here"),
    LOST,
    Refusal(503, "unavailable", "Unavailable", "no function takes this request now", _RETRY),
    Refusal(504, "timeout", "Timeout", "the function did not answer in time; it may have acted"),
)
_INTERNAL = Refusal(500, "internal", "Internal error", "the gateway could not answer this")


def local_replies() -> Json:
    """Return Envoy's mapping of its own answers; the first that fits counts."""
    return {
        "mappers": [
            _mapper(UNAUTHENTICATED, _jwt_refused()),
            _mapper(LOST, _lost()),
            *(_mapper(it, _status(it.status)) for it in REFUSALS),
        ],
        "body_format": _body(_INTERNAL),
    }


def _jwt_refused() -> Json:
    """Match the gateway's 401 and 403: only who lets in says these, 403 for a wrong audience."""
    return {"or_filter": {"filters": [_status(401), _status(403)]}}


def _lost() -> Json:
    """Match a connection that ended after the request was sent, for which Envoy says 503.

    A client must be able to tell it from the 503 of a request that nobody got.
    """
    return {"response_flag_filter": {"flags": ["UC", "UR"]}}


def _status(status: int) -> Json:
    value = {"default_value": status, "runtime_key": f"gateway.status.{status}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _mapper(refusal: Refusal, when: Json) -> Json:
    added = [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in (*refusal.headers, ("x-request-id", REQUEST_ID))
    ]
    return {
        "filter": when,
        "status_code": refusal.status,
        "body_format_override": _body(refusal),
        "headers_to_add": added,
    }


def _body(refusal: Refusal) -> Json:
    """Return the document."""
    return {
        "json_format": {
            "type": f"urn:openmultistack:problem:{refusal.slug}",
            "title": refusal.title,
            "status": "%RESPONSE_CODE%",
            "detail": refusal.detail,
            "request_id": REQUEST_ID,
        },
        "content_type": "application/problem+json",
    }
