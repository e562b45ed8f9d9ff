"""Whom verified claims name, and what they may do: rules without I/O."""

from openmultistack.auth.issuers import Issuer
from openmultistack.auth.verify import SignedClaims
from openmultistack.domain.bounds import CHAR_LAST, OWNER_CHARS
from openmultistack.domain.errors import InsufficientScope, Unauthenticated
from openmultistack.domain.models import Principal, Quota

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
        or max(owner) > CHAR_LAST
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
