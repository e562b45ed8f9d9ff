"""The recount: what is counted beside the slots is made anew from them where it differs.

The counts change with the slots, in the same acts. Yet a ledger may come back that a lost write or
a hand has put out of step, or with a region taken out of it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from openmultistack.domain.models import Resources
from openmultistack.domain.resources import AMOUNTS
from openmultistack.ledger.acts import AT_ONCE, Acting
from openmultistack.ledger.connected import READ_AT_ONCE
from openmultistack.ledger.decode import read_all, read_need

# What a region's hash counts of its slots.
_COUNTERS = (*(f"held_{it}" for it in AMOUNTS), "building")
# The slots of so many regions are read in one step.
REGIONS_AT_ONCE = 50


class Recounted(NamedTuple):
    """Which counts were wrong: names of regions, and of how many owners."""

    regions: Sequence[str]
    owners: int


class _Taken(NamedTuple):
    """What is counted of a slot."""

    owner: str
    need: Resources
    building: bool


class Counting(Acting):
    """The act recount, and what it has to know of."""

    def recount(self) -> Recounted:
        """Make counters anew that differ from the slots; safe to repeat, and to race with all."""
        places = self._all_places()
        wrong, held = self._read_slots(places)
        owners = self._wrong_owners(self._remember(held), held)
        if owners:
            # What was placed between two readings looks like a wrong count, too; once.
            owners = self._wrong_owners(owners, self._read_slots(places)[1])
        regions = [it for it in wrong if self._recount_region(it)]
        return Recounted(
            [self._places.name_of(it) for it in regions],
            sum(self._recount_owners(some, places) for some in _lots(owners, AT_ONCE)),
        )

    def doubt_usage(self, owner: str) -> None:
        """Have the next recount look at what an owner holds, even if that is nothing."""
        with self._pipeline() as pipe:
            pipe.sadd(self._keys.owners, owner)
            pipe.execute()

    def _all_places(self) -> list[str]:
        """Return every place that may have slots."""
        with self._pipeline() as pipe:
            pipe.hkeys(self._keys.places)
            return sorted(self._members() | set(pipe.execute()[0]))

    def _read_slots(self, places: Sequence[str]) -> tuple[list[str], dict[str, Resources]]:
        """Return the places whose counters differ from their slots, and what each owner holds."""
        wrong, held = [], dict[str, Resources]()
        for some in _lots(places, REGIONS_AT_ONCE):
            with self._pipeline() as pipe:
                for place in some:
                    pipe.hvals(self._keys.slots(place))
                    pipe.hmget(self._keys.region(place), *_COUNTERS)
                found = pipe.execute()
            for place, texts, told in zip(some, found[::2], found[1::2], strict=True):
                slots, _ = read_all("slot", [(place, it) for it in texts], _decode)
                sums = sum((it.need for it in slots), Resources())
                building = sum(it.building for it in slots)
                if [it or "0" for it in told] != [*map(str, sums[1:]), str(building)]:
                    wrong.append(place)
                for it in slots:
                    held[it.owner] = held.get(it.owner, Resources()) + it.need
        return wrong, held

    def _remember(self, held: Mapping[str, Resources]) -> set[str]:
        """Return the owners to be looked at: who has slots, had some, was refused, or waits.

        Who has none and is known to have none is not remembered longer than that.
        """
        with self._pipeline() as pipe:
            pipe.smembers(self._keys.owners)
            remembered: set[str] = pipe.execute()[0]
        waiting = {it.first.owner for it in self._heads(READ_AT_ONCE)}
        usage = self._usage_of(remembered - set(held))
        with self._pipeline() as pipe:
            for owner in set(held) - remembered:
                pipe.sadd(self._keys.owners, owner)
            for owner, used in usage.items():
                if used == Resources():
                    pipe.srem(self._keys.owners, owner)
            pipe.execute()
        return set(held) | remembered | waiting

    def _wrong_owners(self, owners: Iterable[str], held: Mapping[str, Resources]) -> list[str]:
        told = self._usage_of(owners)
        return sorted(it for it, used in told.items() if used != held.get(it, Resources()))

    def _usage_of(self, owners: Iterable[str]) -> dict[str, Resources]:
        some = _lots(sorted(owners), READ_AT_ONCE)
        return {owner: used for lot in some for owner, used in self.usage(lot).items()}

    def _recount_region(self, place: str) -> bool:
        keys = self._keys
        of_region = [keys.region(place), keys.slots(place), keys.shares]
        return bool(self._scripts.run("recount_region", of_region))

    def _recount_owners(self, owners: Sequence[str], places: Sequence[str]) -> int:
        """Make anew what some owners hold; see recount_owners.lua."""
        keys = self._keys
        given = [keys.regions, keys.places, keys.heads]
        given += [*map(keys.usage, owners), *map(keys.slots, places)]
        ask = json.dumps({"owners": owners, "regions": places})
        return int(self._scripts.run("recount_owners", given, ask))


def _decode(text: str) -> _Taken:
    slot = json.loads(text)
    return _Taken(str(slot["owner"]), read_need(slot), "building" in slot)


def _lots(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))
