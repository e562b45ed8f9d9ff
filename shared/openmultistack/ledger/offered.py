"""Reading of what regions offer: catalogues, how free they are, what they refused.

A process keeps what it read until the ledger says that it has changed.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from openmultistack.domain.models import Catalogue
from openmultistack.ledger.catalogues import decode_catalogue
from openmultistack.ledger.connected import Connected
from openmultistack.ledger.decode import read_all
from openmultistack.ledger.shares import Numbers, Shares

if TYPE_CHECKING:
    from redis import Redis


class _Offered(NamedTuple):
    """What was read last of the regions asked for, and the version that it had."""

    version: str
    regions: Sequence[str]
    catalogues: Mapping[str, Catalogue]
    numbers: Numbers


class OfferReadings(Connected):
    """What regions offer, as when it was last read."""

    def __init__(self, redis: "Redis", fleet: str, *, lease_ms: int) -> None:
        super().__init__(redis, fleet, lease_ms=lease_ms)
        self._catalogues: dict[str, tuple[str, Catalogue]] = {}
        self._offered = _Offered("", (), {}, Numbers({}))
        # By place: the version of what it refused, and that.
        self._unsuited: Mapping[str, tuple[str, Mapping[str, str]]] = {}

    def offered(self, regions: Sequence[str]) -> tuple[Mapping[str, Catalogue], Shares]:
        """Return the catalogues of those of these regions that have one, and how free all are.

        In one round trip, and up to two more for what changed since the last time. While nothing
        has, the catalogues are the same object. `unsuited` is then of this moment, too.
        """
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)  # no MGET: a Cluster's pipeline takes none
            pipe.get(self._keys.shares)
            version, shares = pipe.execute()
        known = self._offered
        if not version or version != known.version or regions != known.regions:
            self._offered = known = self._read_offered(version or "", regions)
        return known.catalogues, Shares(known.numbers, shares or "")

    def catalogues(self, regions: Sequence[str]) -> Mapping[str, Catalogue]:
        """Return the catalogues of those of these regions that have one; see `offered`."""
        return self.offered(regions)[0]

    def shares(self) -> Shares:
        """Return how free the regions are now."""
        return self.offered(self._offered.regions)[1]

    def _read_offered(self, version: str, regions: Sequence[str]) -> _Offered:
        with self._pipeline() as pipe:
            pipe.hgetall(self._keys.versions)
            pipe.hgetall(self._keys.numbers)
            pipe.hgetall(self._keys.unsuited)
            versions, numbers, unsuited = pipe.execute()
        self._notice(version)
        self._read_unsuited(unsuited)
        places = {it: self.place_of(it) for it in regions}
        # One without a number is not on short lists but by chance.
        told = {at: number for at, number in numbers.items() if number.isdecimal()}
        there, known = [it for it in regions if places[it] in versions], self._catalogues
        stale = {places[it] for it in there}
        stale -= {it for it in stale if it in known and known[it][0] == versions[it]}
        if stale:
            self._read_catalogues({it: versions[it] for it in stale})
        return _Offered(
            version=version,
            regions=regions,
            catalogues={it: known[places[it]][1] for it in there},
            numbers=Numbers(
                {self._places.name_of(at): int(number) for at, number in told.items()}
                | {it: int(told[at]) for it, at in places.items() if at in told}
            ),
        )

    def _read_catalogues(self, versions: Mapping[str, str]) -> None:
        with self._pipeline() as pipe:
            for region in versions:
                pipe.get(self._keys.catalogue(region))
            texts = dict(zip(versions, pipe.execute(), strict=True))

        def decode(region: str) -> tuple[str, Catalogue]:
            return region, decode_catalogue(texts[region])

        found, unreadable = read_all("catalogue", [(it, it) for it in versions], decode)
        known = dict(found) | dict.fromkeys(unreadable, Catalogue())
        self._catalogues |= {it: (versions[it], catalogue) for it, catalogue in known.items()}

    def unsuited(self) -> Mapping[str, Mapping[str, str]]:
        """Return by region which kinds of orders it refused, as when catalogues were last read."""
        known = self._unsuited.items()
        return {self._places.name_of(place): kinds for place, (_, kinds) in known if kinds}

    def _read_unsuited(self, versions: Mapping[str, str]) -> None:
        """Read of these regions what they refused, where that changed."""
        known = self._unsuited
        stale = [it for it in versions if it not in known or known[it][0] != versions[it]]
        kept = {it: known[it] for it in versions if it not in stale}
        if stale:
            with self._pipeline() as pipe:
                for region in stale:
                    pipe.hgetall(self._keys.refused(region))
                found = zip(stale, pipe.execute(), strict=True)
            kept |= {region: (versions[region], kinds) for region, kinds in found}
        self._unsuited = kept
