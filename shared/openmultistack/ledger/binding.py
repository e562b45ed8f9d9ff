"""The acts on regions that change: what a name stands for, what retires, what is out of reach."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from openmultistack.domain.regions import Place
from openmultistack.ledger.acts import AT_ONCE, Acting

# What instances say whose provider is not in clouds.yaml any more.
UNREACHABLE = "unreachable: provider removed"
# An instance that is due and cannot be reached is looked at again after this.
LOOK_AGAIN_MS = 300_000
# Names of disabled regions come after all others.
DISABLED_RANK = 1_000_000


class Bound(NamedTuple):
    """What a name was found to be; `of`: the name before, or that of which it is a duplicate."""

    outcome: Literal["bound", "renamed", "duplicate"]
    of: str = ""


class Binding(Acting):
    """The acts on regions that change."""

    def bind(self, region: str, place: Place, ranks: Mapping[str, int]) -> Bound:
        """Take a place under the name that leads there; see bind.lua.

        `ranks`: of each configured name its line, of those disabled DISABLED_RANK more.
        """
        if self._is_bound(region, place.id):
            return Bound("bound")
        keys = self._keys
        # While the name stood for itself its state was kept under it.
        own = keys.unbound(region)
        answer = self._scripts.run(
            "bind",
            [
                keys.places,
                keys.named,
                keys.claims,
                keys.regions,
                keys.version,
                keys.region(place.id),
                keys.slots(place.id),
                own,
            ],
            region,
            place.id,
            json.dumps(place._asdict()),
            json.dumps(dict(ranks)),
        )
        self.look_up_names()
        return Bound(**json.loads(str(answer)))

    def stand_alone(self, region: str) -> None:
        """Have what is said of a name not be said of another one's place; see alone.lua."""
        keys = self._keys
        if self._scripts.run("alone", [keys.places, keys.named, keys.version], region):
            self.look_up_names()

    def _is_bound(self, region: str, place: str) -> bool:
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)
            pipe.hget(self._keys.named, region)
            version, named = pipe.execute()
        self._notice(version)
        return bool(named == place and self._places.name_of(place) == region)

    def retire(self, region: str, state: Literal["retired", "removed"], why: str = "") -> bool:
        """Let nothing new into a region for good; False if it was so before. See retire.lua."""
        keys = [self._keys.region(region), self._keys.shares]
        return bool(self._scripts.run("retire", keys, state, why))

    def unconfigured(self, names: Collection[str]) -> list[str]:
        """Return the regions of the ledger to which none of these names leads."""
        self.look_up_names()
        known = {self._places.name_of(it) for it in self._members()}
        return sorted(known - set(names))

    def strand(self, region: str, instance_ids: Sequence[str]) -> int:
        """Tell of instances that their cloud is out of reach; see strand.lua."""
        ask = {"region": self.place_of(region), "why": UNREACHABLE, "again_ms": LOOK_AGAIN_MS}
        return self._tell("strand", ask, instance_ids, self._keys.due, self._keys.orders)

    def unstrand(self, region: str, instance_ids: Sequence[str]) -> int:
        """Tell of instances that their cloud is reached again; see unstrand.lua."""
        return self._tell("unstrand", {"region": self.place_of(region)}, instance_ids)

    def _tell(
        self, script: str, ask: Mapping[str, object], instance_ids: Sequence[str], *keys: str
    ) -> int:
        told = 0
        for start in range(0, len(instance_ids), AT_ONCE):
            some = instance_ids[start : start + AT_ONCE]
            stories = [key for it in some for key in self._story(it)]
            asked = json.dumps({**ask, "ids": some})
            told += int(self._scripts.run(script, [*keys, *stories], asked))
        return told

    def forget_regions(self, regions: Iterable[str]) -> None:
        """Drop regions that hold nothing any more; their instances keep their names."""
        keys = self._keys
        with self._pipeline(transaction=True) as pipe:
            for region in regions:
                pipe.srem(keys.regions, self.place_of(region))
                pipe.delete(keys.region(region), keys.catalogue(region), keys.slots(region))
                pipe.delete(keys.strangers(region))
                pipe.hdel(keys.versions, self.place_of(region))
                pipe.hdel(keys.unsuited, self.place_of(region))
            pipe.execute()
