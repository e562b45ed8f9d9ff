"""Which of many candidates the ledger is asked for: a short list, chosen by how free each was.

What the shares say is of a moment ago, and leaves out what only time changes (a rate, a pause that
is over). So some candidates come in by chance, and when a short list has too little room the
ledger is asked for all.
"""

import secrets
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from operator import itemgetter

from openmultistack.models import Offer

# A decision looks at so many candidates, or at one for each instance if these are more: then the
# choice is the one that all of them would give. Each costs it some 4 µs.
SHORT = 20
# And at so many by chance: one that seemed to be taken is found to be free again.
BY_CHANCE = 4


class Shares:
    """The free share of each region, by its number; 0: it takes nothing."""

    def __init__(self, numbers: Mapping[str, int], text: str) -> None:
        self._numbers = numbers
        self._text = text

    @cached_property
    def _shares(self) -> Sequence[int]:
        told = self._text.encode("ascii")
        return struct.unpack(f">{len(told) // 2}H", told)

    def of(self, regions: Sequence[str]) -> Sequence[int]:
        """Return the shares of at least two regions; 0 of one that was never swept."""
        shares = (*self._shares, 0)
        unknown = len(shares) - 1
        places = [min(self._numbers.get(it, unknown), unknown) for it in regions]
        return tuple(itemgetter(*places)(shares))


def _freest(shares: Sequence[int]) -> Sequence[int]:
    return sorted(range(len(shares)), key=shares.__getitem__, reverse=True)


def _fullest(shares: Sequence[int]) -> Sequence[int]:
    return sorted((at for at, it in enumerate(shares) if it), key=shares.__getitem__)


def _first(shares: Sequence[int]) -> Sequence[int]:
    return [at for at, it in enumerate(shares) if it]


# By what a strategy picks: the places of candidates, those first that it would take first.
_ORDERS: Mapping[str, Callable[[Sequence[int]], Sequence[int]]] = {
    "freest": _freest,
    "fullest": _fullest,
    "first": _first,
}


def is_long(offers: Sequence[Offer], count: int) -> bool:
    """Return whether so many candidates are too many to look at all for this count."""
    return len(offers) > max(SHORT, count) + BY_CHANCE


def short_list(offers: Sequence[Offer], shares: Shares, pick: str, count: int) -> Sequence[Offer]:
    """Return those of ranked offers, in their order, that a decision for so many looks at."""
    if not is_long(offers, count):
        return offers
    order = _ORDERS[pick](shares.of([it.region for it in offers]))
    chosen = set(islice(order, max(SHORT, count)))
    chosen |= {secrets.randbelow(len(offers)) for _ in range(BY_CHANCE)}
    return [offers[at] for at in sorted(chosen)]
