"""Token to principal: who may call, as rules without I/O but for the operator's key files.

python-jose takes a token without `aud`, `exp`, `iss` or `sub` for a good one unless told
otherwise, so all four are required here and the algorithms of each issuer are fixed.
"""

import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NewType

import yaml
from jose import jwk, jwt
from jose.exceptions import JOSEError

from openmultistack.errors import ConfigurationError, InsufficientScope, Unauthenticated
from openmultistack.models import Principal, Quota

SCOPES = (
    "instances:create",
    "instances:read",
    "instances:destroy",
    "fleet:read",
    "fleet:reap",
    "fleet:drain",
)
LOCAL_ISSUER = "urn:openmultistack:local"
LOCAL_AUDIENCE = "openmultistack"
# Signatures that prove who signed; a shared secret (HS*) proves only that somebody had it.
# Those that python-jose can verify: it knows no PS*.
ASYMMETRIC = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
# An owner is written into Nova metadata, whose values end at 255 characters.
OWNER_CHARS = 200
# Tokens that a process remembers as proven.
TOKENS_KEPT = 1000

SignedClaims = NewType("SignedClaims", Mapping[str, Any])
"""Claims whose signature, issuer, audience and time were verified: only `verify` makes them."""

_REQUIRED = {f"require_{claim}": True for claim in ("aud", "exp", "iss", "sub")}


@dataclass(frozen=True)
class Issuer:
    """One party whose tokens are believed, and what its claims mean."""

    issuer: str
    audience: str
    algorithms: Sequence[str]
    jwks_file: Path
    owner_claim: str = "sub"
    # Keeps the owners of two issuers apart: each issuer needs its own.
    owner_prefix: str = ""
    scope_claim: str = "scope"
    # The claim that may narrow the owner's quota, as {"instances": 5, ...}; none by default.
    quota_claim: str | None = None

    @cached_property
    def keys(self) -> dict[str, Any]:
        """The issuer's public keys by `kid`."""
        source = str(self.jwks_file)
        try:
            document = json.loads(self.jwks_file.read_text())
            # RFC 7517 lets a key be silent about its algorithm.
            return {
                key["kid"]: jwk.construct(key, key.get("alg", self.algorithms[0]))
                for key in document["keys"]
            }
        except OSError as error:
            raise ConfigurationError(source, "", f"cannot be read ({error.strerror})") from error
        except (ValueError, TypeError, KeyError, AttributeError, JOSEError) as error:
            raise ConfigurationError(
                source, "keys", "expected a JWKS of public keys that each have a kid"
            ) from error


def load_issuers(path: Path) -> dict[str, Issuer]:
    """Return the believed issuers by name; an empty list believes nobody.

    Raises:
        ConfigurationError: the file is missing or wrong.
    """
    try:
        raw = yaml.safe_load(path.read_text()) or {}
        issuers = [_issuer(path, **entry) for entry in raw["issuers"] or []]
    except OSError as error:
        raise ConfigurationError(str(path), "", f"cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ConfigurationError(
            str(path), "issuers", "expected a list of {issuer, audience, algorithms, jwks_file}"
        ) from error
    _refuse_confusable(path, issuers)
    return {issuer.issuer: issuer for issuer in issuers}


def _issuer(path: Path, **entry: object) -> Issuer:
    for key, expected in _faults(entry):
        raise ConfigurationError(str(path), f"issuers.{key}", expected)
    given: dict[str, Any] = {**entry, "jwks_file": path.parent / str(entry["jwks_file"])}
    return Issuer(**given)


def _faults(entry: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Give what is wrong with an entry: the key, and what was expected."""
    known = [it.name for it in fields(Issuer)]
    for key in entry:
        if key not in known:
            yield key, f"is not permitted here, expected some of {', '.join(known)}"
    for key in known[:4]:  # the others have defaults
        if key not in entry:
            yield key, "is required"
    for key, value in entry.items():
        if key == "algorithms":
            if not isinstance(value, list) or not value:
                yield key, f"expected a list of at least 1 of {', '.join(ASYMMETRIC)}"
        elif not isinstance(value, str) and not (key == "quota_claim" and value is None):
            yield key, "expected a string"
        elif not value and key in known[:4]:
            yield key, "expected at least 1 character"


def _refuse_confusable(path: Path, issuers: Sequence[Issuer]) -> None:
    weak = [a for issuer in issuers for a in issuer.algorithms if a not in ASYMMETRIC]
    if weak:
        raise ConfigurationError(
            str(path),
            "issuers.algorithms",
            f"{weak[0]!r}: expected some of {', '.join(ASYMMETRIC)}",
        )
    if len({issuer.issuer for issuer in issuers}) < len(issuers):
        raise ConfigurationError(
            str(path), "issuers.issuer", "expected a different one for each issuer"
        )
    for one, other in itertools.permutations(issuers, 2):
        # Else a subject of the one could be written so as to pose as an owner of the other.
        if other.owner_prefix.startswith(one.owner_prefix):
            raise ConfigurationError(
                str(path),
                "issuers.owner_prefix",
                f"{one.owner_prefix!r} begins {other.owner_prefix!r}: expected, with several"
                " issuers, prefixes none of which begins another",
            )


def verify(token: str, issuers: Mapping[str, Issuer]) -> tuple[SignedClaims, Issuer]:
    """Return a token's claims and who signed them.

    Raises:
        Unauthenticated: whatever is wrong; the reason never holds the token.
    """
    try:
        header = jwt.get_unverified_header(token)
        issuer = issuers[jwt.get_unverified_claims(token)["iss"]]
        claims = jwt.decode(
            token,
            issuer.keys[header["kid"]],
            algorithms=list(issuer.algorithms),
            audience=issuer.audience,
            issuer=issuer.issuer,
            options=_REQUIRED,
        )
    except (JOSEError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Unauthenticated(
            "the token is not valid here: expected one of a known issuer,"
            " signed, unexpired and made for this service"
        ) from error
    return SignedClaims(claims), issuer


class Callers:
    """Names callers by their tokens; one that was proven is not proven again while it lasts.

    Keeps digests of tokens, and a bounded number. Safe to share between threads.
    """

    def __init__(self, issuers: Callable[[], Mapping[str, Issuer]]) -> None:
        self._issuers = issuers
        # By a token's digest: whom it names, and until when (seconds since 1970).
        self._proven: dict[bytes, tuple[Principal, float]] = {}

    def named_by(self, token: str) -> Principal:
        """Return whom a token names.

        Raises:
            Unauthenticated: it is not valid now, or names nobody.
        """
        digest = hashlib.sha256(token.encode()).digest()
        known, until = self._proven.get(digest, (None, 0.0))
        if known and time.time() < until:
            return known
        claims, issuer = verify(token, self._issuers())
        named = principal(claims, issuer)
        if len(self._proven) >= TOKENS_KEPT:
            self._proven.clear()
        self._proven[digest] = (named, float(claims["exp"]))
        return named


def principal(claims: SignedClaims, issuer: Issuer) -> Principal:
    """Return whom verified claims name and what they may do.

    Raises:
        Unauthenticated: the owner's claim is missing or not a usable name.
    """
    subject = claims.get(issuer.owner_claim)
    owner = f"{issuer.owner_prefix}{subject}"
    if (
        not isinstance(subject, str)
        or not subject
        or len(owner) > OWNER_CHARS
        or not owner.isprintable()
    ):
        raise Unauthenticated(f"the token's {issuer.owner_claim} names no owner")
    granted = claims.get(issuer.scope_claim, "")
    scopes = granted.split() if isinstance(granted, str) else granted
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise Unauthenticated(f"the token's {issuer.scope_claim} is no list of scopes")
    return Principal(owner=owner, scopes=frozenset(scopes), quota=_quota(claims, issuer))


def _quota(claims: SignedClaims, issuer: Issuer) -> Quota:
    claim = issuer.quota_claim
    if claim is None or claim not in claims:
        return Quota()
    # Few have such a claim, and the others start faster without.
    from pydantic import ValidationError  # noqa: PLC0415

    from openmultistack.commands import OwnerQuota  # noqa: PLC0415

    try:
        return OwnerQuota.model_validate(claims[claim]).quota()
    except ValidationError:
        raise Unauthenticated(f"the token's {claim} is no quota") from None


def demand(caller: Principal, scope: str) -> None:
    """Raise InsufficientScope unless the caller may do this."""
    if scope not in caller.scopes:
        raise InsufficientScope(f"this needs a token with the scope {scope}")


def make_signing_key(directory: Path) -> None:
    """Make an own issuer's ES256 key: signing.pem (0600) and jwks.json; safe to repeat."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  costs the doors 40 ms
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415  same

    private, public = directory / "signing.pem", directory / "jwks.json"
    if private.exists() and public.exists():
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    private.unlink(missing_ok=True)
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    public.write_text(json.dumps({"keys": [_public_jwk(pem)]}, indent=1) + "\n")


def _public_jwk(pem: bytes) -> dict[str, str]:
    public = jwk.construct(pem.decode(), "ES256").public_key().to_dict()
    named = {k: v.decode() if isinstance(v, bytes) else v for k, v in public.items()}
    # RFC 7638: the thumbprint over the required members, in this order, without white space.
    members = json.dumps({k: named[k] for k in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    kid = hashlib.sha256(members.encode()).hexdigest()[:16]
    return named | {"kid": kid, "use": "sig", "alg": "ES256"}


def issue_token(
    key_file: Path,
    *,
    owner: str,
    scopes: Sequence[str],
    ttl_s: int,
    issuer: str = LOCAL_ISSUER,
    audience: str = LOCAL_AUDIENCE,
) -> str:
    """Return a token of the own issuer, signed with the key that `make_signing_key` made.

    Raises:
        ConfigurationError: the key cannot be read.
    """
    try:
        pem = key_file.read_text()
        kid = _public_jwk(pem.encode())["kid"]
    except OSError as error:
        raise ConfigurationError(str(key_file), "", f"cannot be read ({error.strerror})") from error
    except JOSEError as error:
        raise ConfigurationError(
            str(key_file), "", "expected an ES256 private key in PEM"
        ) from error
    now = int(time.time())
    claims = {
        "iss": issuer, "aud": audience, "sub": owner, "scope": " ".join(scopes),
        "iat": now, "exp": now + ttl_s,
    }  # fmt: skip
    return jwt.encode(claims, pem, algorithm="ES256", headers={"kid": kid})
