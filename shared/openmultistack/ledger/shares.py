"""Which of many candidates the ledger is asked for: a short list, chosen by how free each was.

What the shares say is of a moment ago, and leaves out what only time changes (a rate, a pause that
is over). So some candidates come in by chance, and when a short list has too little room the
ledger is asked for all.
"""

import secrets
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress, islice
from operator import itemgetter
from typing import cast

from openmultistack.domain.models import Offer

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


def _with_room(shares: Sequence[int]) -> Iterator[int]:
    return compress(range(len(shares)), shares)


def _by_share(shares: Sequence[int], *, freest: bool) -> Iterator[int]:
    """Yield the places of shares above 0 as if sorted, those alike in the order they have.

    Few are wanted of many that are much alike: so each share is looked for, and nothing is sorted.
    """
    for share in sorted(set(shares) - {0}, reverse=freest):
        at = -1
        for _ in range(shares.count(share)):
            at = shares.index(share, at + 1)
            yield at


# By what a strategy picks: the places of candidates that have room, those first that it would take
# first.
_ORDERS: Mapping[str, Callable[[Sequence[int]], Iterator[int]]] = {
    "freest": partial(_by_share, freest=True),
    "fullest": partial(_by_share, freest=False),
    "first": _with_room,
}


def is_long(offers: Sequence[Offer], count: int) -> bool:
    """Return whether so many candidates are too many to look at all for this count."""
    return len(offers) > max(SHORT, count) + BY_CHANCE


def short_list(offers: Sequence[Offer], shares: Shares, pick: str, count: int) -> Sequence[Offer]:
    """Return those of ranked offers, in their order, that a decision for so many looks at."""
    if not is_long(offers, count):
        return offers
    wanted = max(SHORT, count)
    chosen = set(islice(_ORDERS[pick](shares.of(offers)), wanted))
    chosen |= {secrets.randbelow(len(offers)) for _ in range(BY_CHANCE)}
    return [offers[at] for at in sorted(chosen)]
