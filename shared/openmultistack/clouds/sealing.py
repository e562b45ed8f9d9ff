"""Sealing: what is left on the shelf can be read only by who has the same clouds.yaml."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property

from cryptography.fernet import Fernet, InvalidToken

from openmultistack.clouds.port import Shelf
from openmultistack.errors import LedgerUnavailable

# Of scrypt (RFC 7914): 16 MiB and some 40 ms, once a provider and process; and for each guess at a
# password of somebody who has read the ledger.
COST = {"n": 2**14, "r": 8, "p": 1}
KEY_BYTES, NAME_BYTES = 32, 8


class SealedShelf:
    """A shelf for one provider; its key is made of the provider's credentials.

    Whatever is wrong with the shelf or with what lies there: then there is nothing. There may be no
    shelf at all.
    """

    def __init__(
        self, shelf: Shelf | None, provider: str, credentials: Mapping[str, object]
    ) -> None:
        self._shelf = shelf
        self._provider = provider
        self._credentials = credentials

    @cached_property
    def _made(self) -> tuple[Fernet, str]:
        secret = json.dumps(self._credentials, sort_keys=True, default=str).encode()
        made = hashlib.scrypt(
            secret, salt=self._provider.encode(), dklen=KEY_BYTES + NAME_BYTES, **COST
        )
        return Fernet(urlsafe_b64encode(made[:KEY_BYTES])), made[KEY_BYTES:].hex()

    def _name(self, what: str) -> str:
        # Others with other credentials do not overwrite what is ours.
        return f"{self._provider}:{self._made[1]}:{what}"

    def recall(self, what: str) -> tuple[str, int] | None:
        """Return what was left, and for how many ms it stays."""
        try:
            found = self._shelf.recall(self._name(what)) if self._shelf else None
            return found and (self._made[0].decrypt(found[0]).decode(), found[1])
        except (LedgerUnavailable, InvalidToken):
            return None

    def leave(self, what: str, text: str, *, for_ms: int) -> None:
        """Leave a text, sealed."""
        if self._shelf is None:
            return
        sealed = self._made[0].encrypt(text.encode()).decode()
        with suppress(LedgerUnavailable):
            self._shelf.leave(self._name(what), sealed, for_ms=for_ms)

    def turn(self, what: str, *, for_ms: int) -> bool:
        """Return whether it is the caller's turn to do something, and nobody else's for a while."""
        try:
            return self._shelf is None or self._shelf.turn(self._name(what), for_ms=for_ms)
        except LedgerUnavailable:
            return False
