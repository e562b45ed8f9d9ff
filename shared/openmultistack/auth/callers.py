"""Callers, named by their tokens: a token that was proven is not proven again while it lasts."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from openmultistack.auth.issuers import Issuer
from openmultistack.auth.principal import SCOPES, principal
from openmultistack.auth.verify import SignedClaims, verify
from openmultistack.domain.models import Principal
from openmultistack.domain.tokens import KnownToken, token_id

# Of a token's `jti` so much is shown.
JTI_CHARS = 255
# Tokens that a process remembers as proven.
TOKENS_KEPT = 1000


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
