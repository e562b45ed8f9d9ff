"""Token to principal: who may call, as rules without I/O but for the operator's key files.

A token is read strictly, its signature verified (python-jose) by the one key that it names with
the one algorithm of that key, and then its claims are checked, once.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NewType

import yaml

from openmultistack.errors import ConfigurationError, InsufficientScope, Unauthenticated
from openmultistack.keys import ASYMMETRIC, PublicKey, read_keys
from openmultistack.models import Principal, Quota
from openmultistack.signing import LOCAL_AUDIENCE, LOCAL_ISSUER, issue_token, make_signing_key
from openmultistack.tokens import Token, check_claims, read_token

__all__ = [
    "LOCAL_AUDIENCE",
    "LOCAL_ISSUER",
    "SCOPES",
    "Callers",
    "Issuer",
    "SignedClaims",
    "demand",
    "issue_token",
    "load_issuers",
    "make_signing_key",
    "principal",
    "verify",
]

SCOPES = (
    "instances:create",
    "instances:read",
    "instances:destroy",
    "fleet:read",
    "fleet:reap",
    "fleet:drain",
)
# An owner is written into Nova metadata, whose values end at 255 characters.
OWNER_CHARS = 200
# Tokens that a process remembers as proven.
TOKENS_KEPT = 1000

SignedClaims = NewType("SignedClaims", Mapping[str, Any])
"""Claims whose signature, issuer, audience and time were verified: only `verify` makes them."""

# What reading a file of another kind, or of another form, raises.
_UNREADABLE = (
    yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError,
)  # fmt: skip


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
    def keys(self) -> Mapping[str, PublicKey]:
        """The issuer's public keys by `kid`.

        Two issuers may have a kid or a key in common, as tenants of one provider have: a key
        counts only for the issuer whose file it is in.
        """
        return read_keys(self.jwks_file, self.algorithms)


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
    except _UNREADABLE as error:
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
        read = read_token(token)
        issuer = issuers[read.issuer]
        key = issuer.keys[read.kid]
        _refuse_unsigned(read, key)
        check_claims(read.claims, issuer.audience, time.time())
    except (ValueError, KeyError) as error:
        raise Unauthenticated(
            "the token is not valid here: expected one of a known issuer,"
            " signed, unexpired and made for this service"
        ) from error
    return SignedClaims(read.claims), issuer


def _refuse_unsigned(token: Token, key: PublicKey) -> None:
    if token.algorithm != key.algorithm:
        raise ValueError("the key is for another algorithm")
    if not key.verifies(token.signed, token.signature):
        raise ValueError("the key did not sign this")


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
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
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
