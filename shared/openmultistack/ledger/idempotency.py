"""The acts on a client's idempotency keys: what one stands for, and whether that is kept."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from openmultistack.ledger.acts import Acting

# How long an idempotency key stands for what it made.
KEEP_KEY_MS = 24 * 3600 * 1000
# None of them is forgotten before that; of one owner's so many at once are remembered, where one
# counts once for every ten of its instances.
KEYS_MAX = 100_000


class Key(NamedTuple):
    """A client's idempotency key: digests of it, and of the command that came with it."""

    digest: str
    body: str


class Idempotency(Acting):
    """The acts on idempotency keys."""

    def made_under(self, owner: str, key: Key) -> list[str]:
        """Return the ids that a key stands for, in the order of the command; none if unknown."""
        with self._pipeline() as pipe:
            pipe.hgetall(self._keys.idempotency(owner, key.digest))
            fields = pipe.execute()[0]
        return [fields[it] for it in sorted((it for it in fields if it.isdecimal()), key=int)]

    def promise(self, owner: str, key: Key, ids: Sequence[str]) -> bool:
        """Have a key's instances kept, whoever makes them; False if any was given up meanwhile."""
        return bool(self._scripts.run("promise", self._keyed(owner, key, ids), *ids))

    def leave_out(self, owner: str, key: Key, ids: Sequence[str]) -> list[str]:
        """Have a key stand for others of its instances only; return those nobody was told of."""
        left_out = self._scripts.run("leave_out", self._keyed(owner, key, ids), *ids)
        return list(json.loads(str(left_out)))

    def give_key_back(
        self, owner: str, key: Key, ids: Sequence[str], *, even_promised: bool = False
    ) -> None:
        """Let a key be used anew, if it still stands for this command and nobody was told."""
        keys = [self._keys.keyed(owner), *self._keyed(owner, key, ids)]
        self._scripts.run("unkey", keys, key.digest, ids[0], "even" if even_promised else "")

    def _keyed(self, owner: str, key: Key, ids: Sequence[str]) -> list[str]:
        return [self._keys.idempotency(owner, key.digest), *map(self._keys.record, ids)]
