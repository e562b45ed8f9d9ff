"""Where to go first: pure rules that rank the offers of a request.

They may be stale: what is really free is decided by the ledger in the act that takes it.

To add a strategy: write a function that orders offers, and add one line to STRATEGIES.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from openmultistack.domain.models import Offer


class Ranked(NamedTuple):
    """What a rule may look at: an offer and what the operator says of its region."""

    offer: Offer
    # Lower goes first.
    priority: int = 0
    # In any unit, the same for all regions; for an hour of one instance.
    price: float = 0.0


class Strategy(NamedTuple):
    """How to order offers, and which of those with room the ledger then takes.

    `freest` and `fullest` go by the live share of free slots, the order breaks ties; `first`
    takes the first in order that has room.
    """

    order: Callable[[Sequence[Ranked]], list[Ranked]]
    pick: Literal["freest", "first", "fullest"]


def by_priority(offers: Sequence[Ranked]) -> list[Ranked]:
    """Order by the operator's priority, then by price, then by name."""
    return sorted(offers, key=lambda it: (it.priority, it.price, it.offer.region))


STRATEGIES: Mapping[str, Strategy] = {
    # Even load: a lost region takes the fewest instances with it.
    "spread": Strategy(by_priority, "freest"),
    # The preferred regions fill up before others are touched.
    "priority": Strategy(by_priority, "first"),
    # Nearly full regions fill up first: whole regions stay empty for large commands.
    "pack": Strategy(by_priority, "fullest"),
}
