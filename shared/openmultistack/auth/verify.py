"""What a token proves: read strictly, its signature verified, its claims checked, once.

The signature is verified (python-jose) by the one key that the token names, with the one algorithm
of that key.
"""

import time
from collections.abc import Mapping
from typing import Any, NewType

from openmultistack.auth.issuers import Issuer
from openmultistack.auth.keys import PublicKey
from openmultistack.domain.errors import Unauthenticated
from openmultistack.domain.tokens import Token, check_claims, read_token

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
