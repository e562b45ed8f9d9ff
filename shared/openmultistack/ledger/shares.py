"""Which of many candidates the ledger is asked for: a short list, chosen by how free each was.

What the shares say is of a moment ago, and leaves out what only time changes (a rate, a pause that
is over). So some candidates come in by chance, and when a short list has too little room the
ledger is asked for all.
"""

import secrets
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nlargest, nsmallest
from itertools import compress, islice
from operator import itemgetter
from typing import cast

from openmultistack.models import Offer

# A decision looks at so many candidates, or at one for each instance if these are more: then the
# choice is the one that all of them would give. Each costs it some 4 µs.
SHORT = 20
# And at so many by chance: one that seemed to be taken is found to be free again.
BY_CHANCE = 2
# Of so many lists of candidates it is remembered where their shares are.
PICKERS_KEPT = 200


# Picks the shares of some regions out of all.
Picker = Callable[[Sequence[int]], Sequence[int]]


class Numbers:
    """The numbers of the regions; knows how to pick their shares out of all. Never changes."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers
        # How many shares there are; after them stands that of a region without a number.
        self.count = max(numbers.values(), default=-1) + 1
        self._known: dict[int, tuple[Sequence[Offer], Picker]] = {}

    def picker(self, offers: Sequence[Offer]) -> Picker:
        """Return what picks the shares of the regions of at least two offers.

        The same tuple comes again and again: it is looked through once.
        """
        known = self._known.get(id(offers))
        if known and known[0] is offers:
            return known[1]
        places = (self._numbers.get(it.region, self.count) for it in offers)
        picker = cast("Picker", itemgetter(*places))
        if isinstance(offers, tuple):
            if len(self._known) >= PICKERS_KEPT:
                self._known.clear()
            self._known[id(offers)] = (offers, picker)
        return picker


class Shares:
    """The free share of each region at one moment, by its number; 0: it takes nothing."""

    def __init__(self, numbers: Numbers, text: str) -> None:
        self._numbers = numbers
        self._text = text

    def of(self, offers: Sequence[Offer]) -> Sequence[int]:
        """Return the shares of the regions of at least two offers; 0 of one never swept."""
        count = self._numbers.count + 1
        told = self._text.encode("ascii").ljust(2 * count, b"\0")
        shares = struct.unpack_from(f">{count}H", told)
        return self._numbers.picker(offers)(shares)


# Only those are sorted that may be among the wanted: of a thousand that is a fifth of the time.
def _freest(shares: Sequence[int], wanted: int) -> Iterable[int]:
    least = nlargest(wanted, shares)[-1]
    able = [at for at, it in enumerate(shares) if it >= least]
    return sorted(able, key=shares.__getitem__, reverse=True)


def _fullest(shares: Sequence[int], wanted: int) -> Iterable[int]:
    most = max(nsmallest(wanted, compress(shares, shares)), default=0)
    able = [at for at, it in enumerate(shares) if 0 < it <= most]
    return sorted(able, key=shares.__getitem__)


def _first(shares: Sequence[int], _wanted: int) -> Iterable[int]:
    return compress(range(len(shares)), shares)


# By what a strategy picks: the places of candidates, those first that it would take first; at least
# as many as are wanted, if so many have room.
_ORDERS: Mapping[str, Callable[[Sequence[int], int], Iterable[int]]] = {
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
    wanted = max(SHORT, count)
    chosen = set(islice(_ORDERS[pick](shares.of(offers), wanted), wanted))
    chosen |= {secrets.randbelow(len(offers)) for _ in range(BY_CHANCE)}
    return [offers[at] for at in sorted(chosen)]
