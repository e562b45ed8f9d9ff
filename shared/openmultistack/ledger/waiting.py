"""Reading of the queue: who waits, in which order, and what their owners hold."""

from collections.abc import Sequence

from openmultistack.domain.models import Resources
from openmultistack.ledger.connected import READ_AT_ONCE, Connected
from openmultistack.ledger.decode import read_all
from openmultistack.ledger.queue import Head, Queued, fair_order, head_of, in_line, queued_of
from openmultistack.ledger.scripts import FOREIGN, unavailable


class QueueReadings(Connected):
    """What is known of those who wait."""

    def queue(self) -> list[Queued]:
        """Return all who wait, in the order in which they will be served.

        For who asks about a place in it: it is read in many steps, so that no other act waits long.
        """
        try:
            scores = dict(self._redis.zscan_iter(self._keys.queue, count=READ_AT_ONCE))
        except FOREIGN as error:
            raise unavailable(error) from error
        waiting, _ = read_all(
            "queue", [(it[0], it) for it in scores.items()], lambda it: queued_of(*it)
        )
        owners = sorted({it.owner for it in waiting})
        held = {owner: usage.instances for owner, usage in self.usage(owners).items()}
        return fair_order(waiting, held)

    def queue_length(self) -> int:
        """Return how many wait."""
        with self._pipeline() as pipe:
            pipe.zcard(self._keys.queue)
            return int(pipe.execute()[0])

    def next_in_queue(self, limit: int) -> list[Queued]:
        """Return the first so many of `queue`, at a cost that does not grow with how many wait.

        Of the owners to come first so many suffice, and of each those of them who wait first.
        """
        heads = self._heads(limit)
        held = {it.first.owner: it.holds for it in heads}
        with self._pipeline() as pipe:
            for owner in held:
                pipe.zrange(self._keys.line(owner), 0, limit - 1, withscores=True)
            lines = pipe.execute()
        there = [(it[0], it) for line in lines for it in line]
        waiting, _ = read_all("queue", there, lambda it: in_line(*it))
        return fair_order(waiting, held)[:limit]

    def _heads(self, limit: int) -> list[Head]:
        with self._pipeline() as pipe:
            pipe.zrange(self._keys.heads, 0, limit - 1, withscores=True)
            there = [(it[0], it) for it in pipe.execute()[0]]
        return read_all("queue", there, lambda it: head_of(*it))[0]

    def usage(self, owners: Sequence[str]) -> dict[str, Resources]:
        """Return what owners' slots hold."""
        with self._pipeline() as pipe:
            for owner in owners:
                pipe.hmget(self._keys.usage(owner), *Resources._fields)
            return {
                owner: Resources(*(int(it or 0) for it in counts))
                for owner, counts in zip(owners, pipe.execute(), strict=True)
            }
