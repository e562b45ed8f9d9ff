"""Reading of regions: what a sweep wrote down of each, and how many slots are held there."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from openmultistack.domain.regions import RegionState
from openmultistack.ledger.connected import Connected
from openmultistack.ledger.decode import RESTS, decode_region, read_all


class RegionReadings(Connected):
    """What is known of regions."""

    def regions(self, names: Collection[str] | None = None) -> list[RegionState]:
        """Return what is known of these regions, or of all that take part, in a few round trips."""
        version, places, answers = self._read_regions(names)
        if self._notice(version):
            _, places, answers = self._read_regions(names)
        rests = any(it in fields for fields in answers[::2] for it in RESTS)
        now_ms = self.now_ms() if rests else 0

        def decode(it: tuple[str, Mapping[str, str], int]) -> RegionState:
            return decode_region(*it, now_ms)

        told = list(zip(places.values(), answers[::2], answers[1::2], strict=True))
        found, unreadable = read_all("region", [(it[0], it) for it in told], decode)
        # As one that was never swept.
        found += [decode_region(name, {}, held, 0) for name, _, held in told if name in unreadable]
        listed = [it for it in found if names is not None or it.state != "retired"]
        return sorted(listed, key=lambda it: it.region)

    def _read_regions(
        self, names: Collection[str] | None
    ) -> tuple[str | None, Mapping[str, str], Sequence[Any]]:
        """Return the version of the names, the name of each place, and what is kept of it."""
        if names is None:
            places = {it: self._places.name_of(it) for it in self._members()}
        else:
            places = {self.place_of(it): it for it in names}
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)
            for place in places:
                pipe.hgetall(self._keys.region(place))
                pipe.hlen(self._keys.slots(place))
            version, *answers = pipe.execute()
        return version, places, answers

    def catalogue_age_ms(self, region: str) -> int | None:
        """Return how old a region's catalogue is; None if there is none, or it proved stale."""
        with self._pipeline() as pipe:
            pipe.hget(self._keys.region(region), "catalogue_at_ms")
            at_ms = pipe.execute()[0]
        return self.now_ms() - int(at_ms) if (at_ms or "").isdecimal() else None

    def _members(self) -> set[str]:
        with self._pipeline() as pipe:
            pipe.smembers(self._keys.regions)
            return cast("set[str]", pipe.execute()[0])
