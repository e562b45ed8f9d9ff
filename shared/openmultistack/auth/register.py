"""The register of tokens as one process keeps it: which are taken back, and whose use was noted.

What the ledger has of revocations is read again every few seconds, in a call that is made anyway.
"""

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from openmultistack.domain.errors import LedgerUnavailable, Unauthenticated
from openmultistack.domain.tokens import KnownToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from openmultistack.ledger import Ledger
    from openmultistack.ledger.tokens import Revoked

LOOK_EVERY_S = 5.0
NOTE_EVERY_S = 60.0
# So long after it was due to be read again what is known of revocations counts at the most.
KNOWN_FOR_S = 20.0
# Longer than a ledger that does not answer is waited for.
LOOK_WITHIN_S = 8.0
# Tokens of which a process remembers when it noted them.
NOTED_MAX = 1000


class Register:
    """Is told of each use of a token; safe to share between threads."""

    def __init__(self, ledger: "Callable[[], Ledger]") -> None:
        self._ledger = ledger
        self._looking = threading.Lock()
        self._look_at = 0.0
        self._revoked: Revoked | None = None
        self._note_at: dict[str, float] = {}

    def use(self, token: KnownToken) -> None:
        """Take note of a token's use.

        Raises:
            Unauthenticated: it was taken back.
            LedgerUnavailable: nobody can tell.
        """
        if token.id in self._revoked_now().ids:
            raise Unauthenticated("the token was revoked: take a new one")
        now = time.monotonic()
        if now < self._note_at.get(token.id, 0.0):
            return
        if len(self._note_at) >= NOTED_MAX:
            self._note_at = {}
        self._note_at[token.id] = now + NOTE_EVERY_S
        with suppress(LedgerUnavailable):  # the call goes on; what it needs of the ledger it asks
            self._ledger().see(token)

    def _revoked_now(self) -> "Revoked":
        known = self._revoked
        if known and time.monotonic() < self._look_at:
            return known
        # One looks, the others go by what was known lately; if that is too long ago, as at the very
        # first, they wait for it.
        if known and time.monotonic() < self._look_at + KNOWN_FOR_S:
            if not self._looking.acquire(blocking=False):
                return known
        elif not self._looking.acquire(timeout=LOOK_WITHIN_S):
            raise LedgerUnavailable("it does not say which tokens are revoked")
        try:
            if self._revoked is None or time.monotonic() >= self._look_at:
                self._revoked = self._ledger().revoked(self._revoked)
                self._look_at = time.monotonic() + LOOK_EVERY_S
            return self._revoked
        finally:
            self._looking.release()
