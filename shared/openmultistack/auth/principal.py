"""Token to principal: who may call, as rules without I/O.

A token is read strictly, its signature verified (python-jose) by the one key that it names with
the one algorithm of that key, and then its claims are checked, once.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NewType

from openmultistack.auth.issuers import Issuer, load_issuers
from openmultistack.auth.keys import PublicKey
from openmultistack.auth.signing import LOCAL_AUDIENCE, LOCAL_ISSUER, issue_token, make_signing_key
from openmultistack.domain.bounds import OWNER_CHARS
from openmultistack.domain.errors import InsufficientScope, Unauthenticated
from openmultistack.domain.models import Principal, Quota
from openmultistack.domain.tokens import KnownToken, Token, check_claims, read_token, token_id

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
    "tokens:own",
    "fleet:tokens",
)
# Of a token's `jti` so much is shown.
JTI_CHARS = 255
# Tokens that a process remembers as proven.
TOKENS_KEPT = 1000

SignedClaims = NewType("SignedClaims", Mapping[str, Any])
"""Claims whose signature, issuer, audience and time were verified: only `verify` makes them."""


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
        _refuse_taken_back(read.claims, issuer)
    except (ValueError, KeyError) as error:
        raise Unauthenticated(
            "the token is not valid here: expected one of a known issuer,"
            " signed, unexpired and made for this service"
        ) from error
    return SignedClaims(read.claims), issuer


def _refuse_taken_back(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Refuse what the issuers file takes back; the claims were checked."""
    if time.time() < issuer.revoked.get(claims.get("jti", ""), 0):
        raise ValueError("it was revoked")
    if issuer.not_before and claims.get("iat", -1) < issuer.not_before:
        raise ValueError("it was issued before those that count")


def _refuse_unsigned(token: Token, key: PublicKey) -> None:
    if token.algorithm != key.algorithm:
        raise ValueError("the key is for another algorithm")
    if not key.verifies(token.signed, token.signature):
        raise ValueError("the key did not sign this")


def _known(token: str, claims: SignedClaims, named: Principal) -> KnownToken:
    jti, issuer = claims.get("jti"), str(claims["iss"])
    return KnownToken(
        id=token_id(issuer, jti, token),
        jti=jti[:JTI_CHARS] if jti else None,
        issuer=issuer,
        owner=named.owner,
        scopes=[it for it in SCOPES if it in named.scopes],
        ends_at_ms=math.ceil(claims["exp"] * 1000),
    )


class _Proven(NamedTuple):
    """Tokens that were proven, and by which issuers."""

    issuers: Mapping[str, Issuer]
    # By a token's digest: whom it names, until when (seconds since 1970), and what it is known by.
    tokens: dict[bytes, tuple[Principal, float, KnownToken]]


class Callers:
    """Names callers by their tokens; one that was proven is not proven again while it lasts.

    Keeps digests of tokens, and a bounded number. What was proven by issuers that are believed no
    more, or believed otherwise, is forgotten as a whole. Safe to share between threads.
    """

    def __init__(
        self,
        issuers: Callable[[], Mapping[str, Issuer]],
        register: Callable[[KnownToken], None] = lambda _: None,
    ) -> None:
        """`issuers`: those believed now; another mapping whenever anything of them changes.

        `register` is told of each use of a proven token, and raises Unauthenticated if it was
        taken back.
        """
        self._issuers = issuers
        self._register = register
        self._proven = _Proven({}, {})

    def named_by(self, token: str) -> Principal:
        """Return whom a token names.

        Raises:
            Unauthenticated: it is not valid now, or names nobody.
        """
        proven = self._proven_now()
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        found = proven.tokens.get(digest)
        if not found or time.time() >= found[1]:
            claims, issuer = verify(token, proven.issuers)
            named = principal(claims, issuer)
            if len(proven.tokens) >= TOKENS_KEPT:
                proven.tokens.clear()
            found = named, float(claims["exp"]), _known(token, claims, named)
            proven.tokens[digest] = found
        self._register(found[2])
        return found[0]

    def _proven_now(self) -> "_Proven":
        """Return what was proven by those believed now.

        What another thread still proves by those of before goes where nobody looks any more.
        """
        issuers, proven = self._issuers(), self._proven
        if proven.issuers is not issuers:
            self._proven = proven = _Proven(issuers, {})
        return proven


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

    from openmultistack.domain.commands import OwnerQuota  # noqa: PLC0415

    try:
        return OwnerQuota.model_validate(claims[claim]).quota()
    except ValidationError:
        raise Unauthenticated(f"the token's {claim} is no quota") from None


def demand(caller: Principal, scope: str) -> None:
    """Raise InsufficientScope unless the caller may do this."""
    if scope not in caller.scopes:
        raise InsufficientScope(f"this needs a token with the scope {scope}")
