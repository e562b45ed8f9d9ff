"""Regions that leave the fleet: disabled ones until they are empty, and those out of reach."""

from collections.abc import Callable, Sequence

from openmultistack.domain.errors import Invalid
from openmultistack.domain.regions import RegionState
from openmultistack.fleet.config import Fleet
from openmultistack.fleet.offers import nearest
from openmultistack.ledger import UNREACHABLE, Attempt, Gone, Ledger


class Retiring:
    """What becomes of regions that take nothing new for good; safe to repeat and to race."""

    def __init__(
        self, ledger: Ledger, fleet: Fleet, certain: Callable[[], Fleet | None] | None = None
    ) -> None:
        """`certain` gives the fleet of this moment; None if nobody knows it, as files are bad."""
        self._ledger = ledger
        self._fleet = fleet
        self._certain = certain or (lambda: fleet)

    def to_sweep(self) -> Sequence[str]:
        """Return the disabled regions that may still hold something of ours."""
        states = self._ledger.regions(list(self._fleet.disabled))
        return [it.region for it in states if it.state != "retired" or it.held.instances]

    def see_empty(self, region: str) -> None:
        """Have a disabled region swept no more once it holds nothing."""
        if region in self._fleet.disabled:
            (state,) = self._ledger.regions([region])
            if state.state == "retiring" and not state.held.instances:
                self._ledger.retire(region, "retired")

    def strand(self) -> None:
        """Tell of instances whose provider was taken out; an empty region of one is dropped.

        By the fleet of now as well: a region may have come since this run began.
        """
        now = self._certain()
        if now is None:
            return
        gone = self._ledger.unconfigured([*self._fleet.configured, *now.configured])
        states = self._ledger.regions(gone) if gone else []
        empty = [it.region for it in states if not it.held.instances]
        for region in (it.region for it in states if it.held.instances):
            self._ledger.retire(region, "removed", UNREACHABLE)
            slots = self._ledger.view(region, ()).slots
            self._ledger.strand(region, sorted({it.instance_id for it in slots}))
        if empty:
            self._ledger.forget_regions(empty)

    def forget(self, names: Sequence[str]) -> list[RegionState]:
        """Drop removed regions with what they hold: nobody will see to it; safe to repeat.

        Returns the regions as they were. Raises Invalid: a name is not that of a removed region.
        """
        removed = {it.region: it for it in self._ledger.regions() if it.state == "removed"}
        for position, name in enumerate(names):
            if name not in removed:
                why = f"{name!r} is no removed region; expected a region whose state is `removed`"
                raise Invalid([(f"/regions/{position}", why)], nearest=nearest(name, removed))
        for name in names:
            self._drop(name)
        return [removed[name] for name in names]

    def _drop(self, region: str) -> None:
        view, why = self._ledger.view(region, ()), "its region was forgotten by its operator"
        self._ledger.release_all(
            [
                Gone(
                    Attempt(it.instance_id, it.attempt, region),
                    it.owner,
                    view.instances.get(it.instance_id),
                    why,
                    end=True,
                )
                for it in view.slots
            ]
        )
        self._ledger.forget_regions([region])
