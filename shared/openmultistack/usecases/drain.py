"""The use case of operators: drain regions, and open them again."""

from collections.abc import Sequence

from openmultistack.domain.regions import RegionState
from openmultistack.fleet.config import Fleet
from openmultistack.fleet.offers import regions_matching
from openmultistack.ledger import Ledger
from openmultistack.provision.dequeuing import Serving
from openmultistack.usecases.retire import Retiring


class Draining:
    """Keeps new instances out of regions; what runs there stays until its time is up."""

    def __init__(self, ledger: Ledger, fleet: Fleet, serving: Serving) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._serving = serving
        self._retiring = Retiring(ledger, fleet)

    def drain(self, patterns: Sequence[str], why: str) -> list[RegionState]:
        """Drain the regions that match (a provider's name stands for all of its regions).

        Safe to repeat. Raises Invalid: a pattern matches no region.
        """
        names = self._names(patterns)
        self._ledger.look_up_names()
        for name in names:
            self._ledger.drain(name, why)
        return self._ledger.regions(names)

    def open(self, patterns: Sequence[str]) -> list[RegionState]:
        """Open drained regions, and serve those who wait there; safe to repeat.

        Raises Invalid: a pattern matches no region.
        """
        names = self._names(patterns)
        self._ledger.look_up_names()
        for name in names:
            self._ledger.open(name)
            self._serving.serve(name)
        return self._ledger.regions(names)

    def forget(self, names: Sequence[str]) -> list[RegionState]:
        """Drop regions out of reach with what they hold; see Retiring.forget."""
        return self._retiring.forget(names)

    def _names(self, patterns: Sequence[str]) -> list[str]:
        return [region.name for region in regions_matching(self._fleet, patterns)]
