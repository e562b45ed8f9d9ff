"""A token of the stack's own key for whoever calls again and again: one for most of its life."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from openmultistack.auth.own_issuer import issue_token

# What is left of its life when it is signed anew; a call that has begun is not affected.
LEFT = 1 / 4


class Bearer:
    """Keeps one token; safe to share between threads."""

    def __init__(
        self,
        key: Path,
        *,
        owner: str,
        scopes: Sequence[str],
        ttl_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key, self._owner, self._scopes, self._ttl_s = key, owner, scopes, ttl_s
        self._clock, self._lock = clock, threading.Lock()
        self._token, self._until = "", 0.0

    def headers(self) -> dict[str, str]:
        """Return what a call is authorized by."""
        with self._lock:
            now = self._clock()
            # A clock that was put back makes none last longer.
            if not self._until - self._ttl_s <= now < self._until:
                self._token = issue_token(
                    self._key, owner=self._owner, scopes=self._scopes, ttl_s=self._ttl_s
                )
                self._until = now + self._ttl_s * (1 - LEFT)
            return {"Authorization": f"Bearer {self._token}"}

    def refused(self) -> None:
        """Sign anew for the next call: the token was taken back, or the key is another one."""
        with self._lock:
            self._until = 0.0
