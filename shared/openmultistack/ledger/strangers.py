"""What the ledger remembers of servers that say they are the fleet's, and are let alone."""

import json
from collections.abc import Mapping

from openmultistack.ledger.decode import Stranger, decode_stranger, read_all
from openmultistack.ledger.reading import Readings


class Strangers(Readings):
    """By place; written by its sweeps alone, which have its lock."""

    def strangers(self, region: str) -> Mapping[str, Stranger]:
        """Return a region's strangers by server id."""
        with self._pipeline() as pipe:
            pipe.hgetall(self._keys.strangers(region))
            (told,) = pipe.execute()
        there = [(server, (server, text)) for server, text in told.items()]
        found, _ = read_all("stranger", there, lambda it: (it[0], decode_stranger(it[1])))
        return dict(found)

    def note_strangers(self, region: str, found: Mapping[str, Stranger]) -> None:
        """Write down which strangers a region has, in place of those of before."""
        key = self._keys.strangers(region)
        with self._pipeline(transaction=True) as pipe:
            pipe.delete(key)
            if found:
                pipe.hset(key, mapping={it: json.dumps(told) for it, told in found.items()})
            pipe.execute()
