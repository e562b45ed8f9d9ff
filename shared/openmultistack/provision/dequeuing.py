"""Serving: who waits gets the room that came free, in fair order, and is made at once.

Whoever frees a slot serves its region: a destroy, a sweep, a look after what is leaving.
"""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from openmultistack.domain.errors import UnreadableOrder
from openmultistack.domain.models import Instance, Offer
from openmultistack.fleet.config import Fleet
from openmultistack.ledger import Ledger, Queued, Served
from openmultistack.provision.attempts import Attempts
from openmultistack.provision.planning import Candidates, Wanted, wanted_again
from openmultistack.provision.pursuing import Pursuit

# Those who wait are read and offered to the ledger so many at a time: first as many as are likely
# to be enough, and more when these do not suit the region or may have no more.
LOTS = (5, 20)
# And of the whole queue, when none of these was suited.
REST = 100


class Orders(NamedTuple):
    """What the orders of those who wait mean, and which of them no room of the region suits."""

    known: dict[str, Sequence[Offer]]
    elsewhere: set[str]

    def leads_elsewhere(self, order: str, region: str) -> bool:
        """Return whether an order suits a region for nobody, whoever's it is and what it failed."""
        return all(it.region != region for it in self.known[order])


class Serving:
    """Fills a region's room from the queue; safe to repeat and to race."""

    def __init__(self, ledger: Ledger, fleet: Fleet, fleet_name: str, attempts: Attempts) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._fleet_name = fleet_name
        self._attempts = attempts
        self._candidates = Candidates(ledger, fleet)

    def serve(self, region: str) -> int:
        """Have those made whom the region's room suffices for; return how many they were."""
        pursuits = self._placed(region)
        self._attempts.pursue_all(pursuits)
        return len(pursuits)

    def _placed(self, region: str) -> list[Pursuit]:
        pursuits: list[Pursuit] = []
        orders = Orders({}, set())
        for lot in self._lots():
            waiting = self._ledger.get([it.instance_id for it in lot])
            suited = list(self._suited(region, waiting, orders))
            if not suited:
                continue
            placed_at = time.monotonic()
            attempts, more = self._ledger.serve(region, [served for served, _ in suited])
            wanted = {served.instance.id: wish for served, wish in suited}
            for attempt, expires_at_ms in attempts.items():
                wish = wanted[attempt.instance_id]
                identity = wish.identity._replace(expires_at_ms=expires_at_ms)
                wish = wish._replace(identity=identity)
                pursuits.append(Pursuit(attempt, wish, placed_at))
            if not more:
                break
        return pursuits

    def _suited(
        self, region: str, waiting: Sequence[Instance], orders: Orders
    ) -> Iterator[tuple[Served, Wanted]]:
        """Give those of the instances that can go to the region, as it is offered to them."""
        for instance in waiting:
            if instance.order in orders.elsewhere:
                continue
            try:
                wanted = self._wanted(instance, orders)
            except UnreadableOrder:
                continue
            if wanted is None:
                continue
            offer = next((it for it in wanted.offers if it.region == region), None)
            if offer:
                yield Served(instance, offer), wanted
            elif instance.order and orders.leads_elsewhere(instance.order, region):
                orders.elsewhere.add(instance.order)

    def _wanted(self, instance: Instance, orders: Orders) -> Wanted | None:
        fleet, known = (self._fleet, self._fleet_name), (orders.known, self._candidates)
        return wanted_again(self._ledger, *fleet, instance, *known)

    def _lots(self) -> Iterator[Sequence[Queued]]:
        """Give those who wait in their order, each once; no more are read than are asked for.

        Who was served meanwhile has left the queue, and counts for its owner's turn.
        """
        seen: set[str] = set()

        def unseen(queue: Sequence[Queued]) -> list[Queued]:
            lot = [it for it in queue if it.instance_id not in seen]
            seen.update(it.instance_id for it in lot)
            return lot

        for limit in LOTS:
            first = self._ledger.next_in_queue(limit)
            while lot := unseen(first):
                yield lot
                first = self._ledger.next_in_queue(limit)
            if len(first) < limit:
                return
        rest = unseen(self._ledger.queue())
        for start in range(0, len(rest), REST):
            yield rest[start : start + REST]
