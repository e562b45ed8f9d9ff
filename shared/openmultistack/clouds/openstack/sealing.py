"""Sealing: what is left on the shelf can be read only by who has the same clouds.yaml."""

import hashlib
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress

from cryptography.fernet import Fernet, InvalidToken

from openmultistack.clouds.port import Shelf
from openmultistack.domain.errors import LedgerUnavailable

# Of scrypt (RFC 7914): 16 MiB and some 40 ms, once a login and process; and for each guess at a
# password of somebody who has read the ledger.
COST = {"n": 2**14, "r": 8, "p": 1}
KEY_BYTES, NAME_BYTES = 32, 8


class OwnShelf:
    """A shelf of this process alone, for who shares none."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[str, float]] = {}
        self._turns: dict[str, float] = {}
        self._lock = threading.Lock()

    def recall(self, name: str) -> tuple[str, int] | None:
        """Return what was left under a name, and for how many ms it stays."""
        text, until = self._texts.get(name, ("", 0.0))
        left_ms = round((until - time.monotonic()) * 1000)
        return (text, left_ms) if left_ms > 0 else None

    def leave(self, name: str, text: str, *, for_ms: int) -> None:
        """Leave a text under a name, in place of what was there."""
        self._texts[name] = (text, time.monotonic() + for_ms / 1000)

    def take_back(self, name: str) -> None:
        """Leave nothing under a name."""
        self._texts.pop(name, None)

    def turn(self, name: str, *, for_ms: int) -> bool:
        """Return whether it is the caller's turn to do something, and nobody else's for a while."""
        with self._lock:
            free = self._turns.get(name, 0.0) <= time.monotonic()
            if free:
                self._turns[name] = time.monotonic() + for_ms / 1000
            return free

    def end_turn(self, name: str) -> None:
        """Let it be somebody else's turn."""
        self._turns.pop(name, None)


class SealedShelf:
    """A shelf for one way to log in; its key, and the names there, are made of the credentials.

    Whatever is wrong with the shelf or with what lies there: then there is nothing.
    """

    def __init__(self, shelf: Shelf | None, salt: str, credentials: Mapping[str, object]) -> None:
        self.is_shared = shelf is not None
        self._shelf = shelf or OwnShelf()
        self._salt = salt
        self._credentials = credentials
        self._making = threading.Lock()
        self._kept: tuple[Fernet, str] | None = None

    @property
    def _made(self) -> tuple[Fernet, str]:
        # It takes some 40 ms: many logins make theirs side by side, each once.
        with self._making:
            self._kept = self._kept or self._make()
            return self._kept

    def _make(self) -> tuple[Fernet, str]:
        secret = json.dumps(self._credentials, sort_keys=True, default=str).encode()
        made = hashlib.scrypt(
            secret, salt=self._salt.encode(), dklen=KEY_BYTES + NAME_BYTES, **COST
        )
        return Fernet(urlsafe_b64encode(made[:KEY_BYTES])), made[KEY_BYTES:].hex()

    def _name(self, what: str) -> str:
        # Others with other credentials do not overwrite what is ours.
        return f"{self._made[1]}:{what}"

    def recall(self, what: str) -> tuple[str, int] | None:
        """Return what was left, and for how many ms it stays."""
        try:
            found = self._shelf.recall(self._name(what))
            return found and (self._made[0].decrypt(found[0]).decode(), found[1])
        except (LedgerUnavailable, InvalidToken):
            return None

    def leave(self, what: str, text: str, *, for_ms: int) -> None:
        """Leave a text, sealed."""
        sealed = self._made[0].encrypt(text.encode()).decode()
        with suppress(LedgerUnavailable):
            self._shelf.leave(self._name(what), sealed, for_ms=for_ms)

    def take_back(self, what: str) -> None:
        """Leave nothing."""
        with suppress(LedgerUnavailable):
            self._shelf.take_back(self._name(what))

    def turn(self, what: str, *, for_ms: int) -> bool:
        """Return whether it is the caller's turn to do something, and nobody else's for a while.

        Without a ledger it is everybody's.
        """
        try:
            return self._shelf.turn(self._name(what), for_ms=for_ms)
        except LedgerUnavailable:
            return True

    def end_turn(self, what: str) -> None:
        """Let it be somebody else's turn."""
        with suppress(LedgerUnavailable):
            self._shelf.end_turn(self._name(what))
