"""The gateway's own refusals as problem documents (RFC 9457); functions' answers pass untouched."""

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
    Refusal(
        502, "unavailable", "Unavailable", "the function gave no answer; it may have acted", _RETRY
    ),
    Refusal(503, "unavailable", "Unavailable", "no function takes this request now", _RETRY),
    Refusal(504, "timeout", "Timeout", "the function did not answer in time; it may have acted"),
)


def local_replies() -> Json:
    """Return Envoy's mapping of its own answers; the first that fits counts."""
    return {
        "mappers": [_mapper(UNAUTHENTICATED, _jwt_refused()), *map(_by_status, REFUSALS)],
        "body_format": _body(
            Refusal(500, "internal", "Internal error", "the gateway could not answer this")
        ),
    }


def _jwt_refused() -> Json:
    """Match the gateway's 401 and 403; only the JWT filter makes these, 403 for an audience."""
    return {"or_filter": {"filters": [_status(401), _status(403)]}}


def _by_status(refusal: Refusal) -> Json:
    return _mapper(refusal, _status(refusal.status))


def _status(status: int) -> Json:
    value = {"default_value": status, "runtime_key": f"gateway.status.{status}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _mapper(refusal: Refusal, when: Json) -> Json:
    headers = [("content-type", "application/problem+json"), *refusal.headers]
    return {
        "filter": when,
        "status_code": refusal.status,
        "body_format_override": _body(refusal),
        "headers_to_add": [
            {
                "header": {"key": key, "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
            for key, value in headers
        ],
    }


def _body(refusal: Refusal) -> Json:
    return {
        "json_format": {
            "type": f"urn:openmultistack:problem:{refusal.slug}",
            "title": refusal.title,
            "status": "%RESPONSE_CODE%",
            "detail": refusal.detail,
            "request_id": "%REQ(X-REQUEST-ID)%",
        },
        "content_type": "application/problem+json",
    }
