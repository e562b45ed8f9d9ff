"""Looking: a create that no region serves looks by itself at those that nobody has looked at.

A fleet whose ledger is empty serves its first create so, whenever its schedule first comes. What is
done is a sweep: whatever of ours is there is known before anything is placed beside it.
"""

import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.domain.pace import Pace
from openmultistack.domain.regions import RegionState
from openmultistack.ending import wait_for
from openmultistack.fleet.config import Fleet
from openmultistack.ledger import Ledger
from openmultistack.logs import in_context, tell
from openmultistack.usecases.waiting_room import WaitingRoom

if TYPE_CHECKING:  # a create needs them rarely
    from openmultistack.usecases.reap import Reaping


class Looking:
    """Looks at regions for creates of one process; safe to share between threads."""

    def __init__(
        self,
        ledger: Ledger,
        fleet: Fleet,
        reaping: "Callable[[], Reaping]",
        room: WaitingRoom,
        pace: Pace,
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._reaping = reaping
        self._room = room
        self._pace = pace
        self._lock = threading.Lock()
        # Looks under way, by region.
        self._looks: dict[str, threading.Event] = {}
        # Where a look failed of which the ledger was told nothing, by a fault of ours.
        self._failed: set[str] = set()

    def look(self, regions: Collection[str], owner: str, *, wait: bool = True) -> bool:
        """Look at regions that were not seen a moment ago; return whether any is seen by now.

        Waits, if there is a place for the owner to, for those that have never been tried.
        """
        if not regions:
            return False
        states = self._ledger.regions(self._unseen(regions))
        # Nothing is to be seen under the second name of a place.
        unseen = [it.region for it in states if it.state != "duplicate"]
        if unseen:
            untried = {it.region for it in states if _is_untried(it)} & {*unseen} - self._failed
            firsts = [self._start(it, first=True) for it in unseen if it in untried]
            for it in unseen:
                # Asked before its lock is: who floods us must not keep the reaper from that.
                if it not in untried and self._is_due(it):
                    self._start(it, first=False)
            with self._room.place(owner) as may_sleep:
                until = time.monotonic() + (self._pace.look_within_s if wait and may_sleep else 0)
                for over in filter(None, firsts):
                    wait_for(over, until - time.monotonic())
        return len(self._unseen(regions)) < len(regions)

    def why_unseen(self, regions: Collection[str]) -> dict[str, str]:
        """Return what the looks at regions said that came to nothing."""
        if not regions:
            return {}
        states = self._ledger.regions(regions)
        return {it.region: f"is {it.state}: {it.last_error}" for it in states if it.last_error}

    def _unseen(self, regions: Collection[str]) -> list[str]:
        seen = self._ledger.catalogues(list(self._fleet.regions))
        return [it for it in regions if it not in seen]

    def _start(self, region: str, *, first: bool) -> threading.Event | None:
        """Return what is set when a look at a region is over; one at a time is under way.

        None: as many are under way as may be, and the region is left to who comes next.
        """
        with self._lock:
            if region in self._looks:
                return self._looks[region]
            if len(self._looks) >= self._pace.sweeps_at_once:
                return None
            over = self._looks[region] = threading.Event()
        (run,) = in_context([partial(self._run, region, first=first)])
        try:
            threading.Thread(target=run, name="look", daemon=True).start()
        except RuntimeError:  # no thread is to be had now
            self._end(region)
        return over

    def _run(self, region: str, *, first: bool) -> None:
        def is_done() -> bool:
            """Whether somebody else has looked, while this one waited for the region's lock."""
            if first:
                return not self._is_untried(region)
            return not self._unseen([region])

        try:
            told = self._reaping().sweep(region, wait_s=self._pace.look_within_s, unless=is_done)
            if told["outcome"] == "failed" and self._is_untried(region):
                self._failed.add(region)
        except LedgerUnavailable as error:
            tell("look failed", "warning", region=region, detail=str(error))
        except Exception:  # noqa: BLE001  nobody else hears of it
            tell("look failed", "exception", region=region)
        finally:
            self._end(region)

    def _is_untried(self, region: str) -> bool:
        return all(_is_untried(it) for it in self._ledger.regions([region]))

    def _is_due(self, region: str) -> bool:
        """Whether nobody has begun lately to look again where looks have failed."""
        return self._ledger.turn(f"look {region}", for_ms=self._pace.look_again_ms)

    def _end(self, region: str) -> None:
        with self._lock:
            over = self._looks.pop(region)
        over.set()


def _is_untried(state: RegionState) -> bool:
    """Whether no sweep has said anything of a region yet, good or bad."""
    return state.swept_at_ms is None and state.last_error is None
