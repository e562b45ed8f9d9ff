"""A token's form and its claims (RFC 7515, 7519, 8725), each checked once; the signature is not.

The form is strict: what this and another reader could understand in two ways is no token.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from openmultistack.domain.strict import decode_base64url, read_json

# Servers take no longer header line (gunicorn 8190 bytes, Envoy here 8 KiB).
TOKEN_CHARS = 8192
# Times are seconds since 1970, and RFC 3339 ends with the year 9999. An issuer that counts in
# milliseconds would else have tokens that never end.
TIME_MAX = 253_402_300_799
# So many tokens can be taken back at a time; what owners take back leaves room for operators.
REVOKED_MAX, REVOKED_MAX_OF_OWNERS = 10_000, 5_000
# What a token may say it is (RFC 7519, 5.1; RFC 9068, 2.1): one that was made for something else,
# as a logout, proves nothing here.
TYPES = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")


class Token(NamedTuple):
    """A token that was read and nothing more: anybody could have written it."""

    algorithm: str
    kid: str
    issuer: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


class KnownToken(NamedTuple):
    """A token that was proven, without what would let anybody use it."""

    # A digest of issuer and `jti`; of a token without `jti`, of all of it.
    id: str
    jti: str | None
    issuer: str
    owner: str
    scopes: Sequence[str]
    ends_at_ms: int


def token_id(issuer: str, jti: str | None, token: str = "") -> str:
    """Return what a token is known by; RFC 7519, 4.1.7: no two of an issuer have one `jti`."""
    return sha256(f"{issuer}\n{jti or token}".encode()).hexdigest()[:32]


def read_token(text: str) -> Token:
    """Return a token of the strict form; keys and addresses of keys in it are not looked at.

    Raises:
        ValueError: it has another form.
    """
    if len(text) > TOKEN_CHARS:
        raise ValueError("too long")
    head, body, signature = text.split(".")
    header, claims = _object(head), _object(body)
    if "crit" in header:
        raise ValueError("no extension is known here")
    if str(header.get("typ", TYPES[0])).lower() not in TYPES:
        raise ValueError("made for something else")
    return Token(
        algorithm=_text(header, "alg"),
        kid=_text(header, "kid"),
        issuer=_text(claims, "iss"),
        claims=claims,
        signed=f"{head}.{body}".encode(),
        signature=decode_base64url(signature),
    )


def check_claims(claims: Mapping[str, Any], audience: str, now: float) -> None:
    """Check whom and when a token is for; `now` is in seconds since 1970.

    There is no leeway: `exp` is the first moment at which a token is not good any more, and `nbf`
    the first at which it is.

    Raises:
        ValueError: it is not for this service, or not for now.
    """
    if not now < _time(claims, "exp"):
        raise ValueError("it is over")
    if "nbf" in claims and now < _time(claims, "nbf"):
        raise ValueError("it is for later")
    if "iat" in claims:
        _time(claims, "iat")
    _text(claims, "sub")
    if "jti" in claims:
        _text(claims, "jti")
    if audience not in _audiences(claims.get("aud")):
        raise ValueError("it is for another service")


def _object(part: str) -> Mapping[str, Any]:
    value = read_json(decode_base64url(part))
    if not isinstance(value, dict):
        raise ValueError("expected an object")  # noqa: TRY004  one kind for the caller
    return value


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: expected a text")
    return value


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # True is a number to Python, not to RFC 7519.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: expected a number")  # noqa: TRY004  one kind for the caller
    if not 0 <= value <= TIME_MAX:
        raise ValueError(f"{name}: expected seconds since 1970")
    return value


def _audiences(value: object) -> list[Any]:
    named = value if isinstance(value, list) else [value]
    if not all(isinstance(it, str) for it in named):
        raise ValueError("aud: expected a text, or a list of them")
    return named
