"""What the acts on the ledger have in common: their values, and how a script is asked."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from openmultistack.domain.models import Offer
from openmultistack.ledger.reading import Readings
from openmultistack.ledger.shares import Shares, is_long, short_list
from openmultistack.ledger.texts import compact

# What one script does at most of what may be many: others wait for it meanwhile, some 3 ms.
AT_ONCE = 100

Pick = Literal["freest", "first", "fullest"]


class Attempt(NamedTuple):
    """One try of an instance in one region."""

    instance_id: str
    number: int
    region: str


class Acting(Readings):
    """Runs scripts that take and give JSON; regions go to them by place, and come back by name."""

    def _ask(self, script: str, keys: Sequence[str], ask: Mapping[str, object]) -> dict[str, Any]:
        answer = self._scripts.run(script, keys, compact(ask))
        return cast("dict[str, Any]", json.loads(cast("str", answer)))

    def _region_keys(self, offers: Sequence[Offer]) -> list[str]:
        keys = self._keys
        return [key for o in offers for key in (keys.region(o.region), keys.slots(o.region))]

    def _names_of(self, places: Iterable[str], offers: Sequence[Offer]) -> dict[str, str]:
        """Return the names by which places were offered; of one that was not, the one of now."""
        offered = {self.place_of(it.region): it.region for it in reversed(offers)}
        return {it: offered.get(it) or self._places.name_of(it) for it in places}

    def _short_list(
        self, offers: Sequence[Offer], pick: Pick, count: int, shares: Shares | None = None
    ) -> Sequence[Offer]:
        """Return the few of many offers that an act looks at first; few are all looked at."""
        if not is_long(offers, count):
            return offers
        return short_list(offers, shares or self.shares(), pick, count)

    def _place_keys(self, attempt: Attempt) -> tuple[str, str]:
        return self._keys.region(attempt.region), self._keys.slots(attempt.region)


def candidates(offers: Sequence[Offer], place_of: Callable[[str], str]) -> dict[str, object]:
    """Return ranked offers as the scripts take them; what many have in common is told once."""
    numbers: dict[tuple[object, ...], int] = {}
    kinds, kind_of = [], []
    for offer in offers:
        alike = offer.footprint
        if alike not in numbers:
            kinds.append(need_of(offer))
            numbers[alike] = len(kinds)
        kind_of.append(numbers[alike])
    return {"regions": [place_of(it.region) for it in offers], "kind_of": kind_of, "kinds": kinds}


def need_of(offer: Offer) -> dict[str, object]:
    """Return what an offer takes of a region, and what it writes into an instance's record."""
    return {
        "need": offer.need._asdict(),
        "fields": {"flavor": offer.flavor.name, "image": offer.image.name},
    }
