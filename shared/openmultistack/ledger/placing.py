"""The acts that give out slots: to a command, and to those who wait."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from openmultistack.domain.models import Offer
from openmultistack.ledger.acts import Acting, Attempt, candidates
from openmultistack.ledger.wish import Admitted, Served, Wish, told_of_served, told_of_wish


class Placing(Acting):
    """The acts that give out slots."""

    def place(self, wish: Wish) -> Admitted:
        """Reserve slots for a command among the ranked offers; see place.lua.

        Of many offers a few are looked at, and all only when these have too little room.
        """
        ids = wish.ids
        asked = self._short_list(wish.offers, wish.pick, len(ids), wish.shares)
        answer = self._place(wish, asked)
        if answer["outcome"] == "short":
            asked = wish.offers
            answer = self._place(wish, asked)
        places = answer["regions"] or ()
        names = self._names_of(places, asked)
        placed = [(i, names[place]) for i, place in zip(ids, places, strict=False)]
        return Admitted(
            outcome=answer["outcome"],
            attempts=tuple(Attempt(i, 1, region) for i, region in placed if region),
            queued=tuple(i for i, region in placed if not region),
            free=int(answer["free"]),
            created_at_ms=int(answer["now_ms"]),
            retry_ms=int(answer.get("retry_ms", 0)),
        )

    def _place(self, wish: Wish, offers: Sequence[Offer]) -> dict[str, Any]:
        keys, owner = self._keys, wish.owner
        return self._ask(
            "place",
            [
                *self._region_keys(offers),
                *(key for i in wish.ids for key in self._story(i)),
                keys.due,
                keys.queue,
                keys.usage(owner),
                keys.idempotency(owner, wish.key.digest if wish.key else ""),
                keys.shares,
                keys.heads,
                keys.line(owner),
                keys.orders,
                keys.keyed(owner),
                *keys.indices(owner, wish.command.labels),
            ],
            told_of_wish(wish, self._lease_ms) | candidates(offers, self.place_of),
        )

    def serve(self, region: str, waiting: Sequence[Served]) -> tuple[dict[Attempt, int], bool]:
        """Give a region's room to those who wait, in this order, and tell whether more is left.

        Returns the attempts, each with its instance's expiry: what counted before was how long it
        may wait.
        """
        keys = self._keys
        stories = [
            (*self._story(it.id), keys.usage(owner), keys.line(owner))
            for it, _ in waiting
            for owner in [it.identity.owner]
        ]
        answer = self._ask(
            "serve",
            [
                keys.region(region),
                keys.slots(region),
                keys.queue,
                keys.due,
                keys.shares,
                keys.heads,
                *(key for story in stories for key in story),
            ],
            {
                "region": self.place_of(region),
                "lease_ms": self._lease_ms,
                "waiting": [told_of_served(it) for it in waiting],
            },
        )
        placed: Iterable[Mapping[str, Any]] = answer["placed"] or ()
        attempts = {
            Attempt(it["id"], int(it["attempt"]), region): int(it["expires_at_ms"]) for it in placed
        }
        return attempts, bool(answer["more"])
