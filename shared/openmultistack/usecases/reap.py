"""The use case reap: end what is due, then make ledger and clouds agree, region by region."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from openmultistack.clouds import Clouds
from openmultistack.domain.cloud_errors import CloudError, NotConfigured, RateLimited
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.domain.pace import Pace
from openmultistack.domain.regions import repeating
from openmultistack.fleet.config import Fleet
from openmultistack.ledger import Ledger
from openmultistack.logs import in_context, tell
from openmultistack.provision.attempts import Attempts
from openmultistack.provision.dequeuing import Serving
from openmultistack.provision.leaving import Leaving
from openmultistack.usecases.destroy import Destroying
from openmultistack.usecases.expiring import Expiring
from openmultistack.usecases.retire import Retiring
from openmultistack.usecases.sweep import Sweep

# Less than the minute in which a timer reaps; what is counted wrongly is so for good else.
RECOUNT_EVERY_MS = 50_000
_OUR_FAULT = "a fault of our own; the log of `reap` has it"
ACTIONS = ("adopted", "activated", "deleted", "released", "retried", "failed", "served")


class Reaping:
    """The use case reap; any number may run at once, as each region has a lock."""

    def __init__(
        self,
        ledger: Ledger,
        fleet: Fleet,
        fleet_name: str,
        clouds: Clouds,
        attempts: Attempts,
        *,
        destroying: Destroying,
        serving: Serving,
        leaving: Leaving,
        pace: Pace,
        certain: Callable[[], Fleet | None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._fleet_name = fleet_name
        self._clouds = clouds
        self._attempts = attempts
        self._pace = pace
        self._expiring = Expiring(ledger, fleet, destroying, pace)
        self._serving = serving
        self._leaving = leaving
        self._retiring = Retiring(ledger, fleet, certain)

    def reap(self, *, now: bool = False) -> dict[str, Any]:
        """End what is due and sweep every region, side by side; safe to repeat and to race.

        With `now` logins are tried at once that were refused; a schedule never asks for that.
        """
        self._recount()
        expired, forgotten = self._expiring.end_due()
        names = [*self._fleet.regions, *self._retiring.to_sweep()]
        with ThreadPoolExecutor(min(self._pace.sweeps_at_once, len(names) or 1)) as pool:
            if now:
                # All before the first sweep: many may share a login that is refused once more.
                forgive = in_context([partial(self._forgive, name) for name in names])
                list(pool.map(lambda act: act(), forgive))
            swept = self._sweep_all(pool, names)
            # Names that were exchanged repeat one another until the last of them is swept.
            refused = [it["region"] for it in swept if it["outcome"] == "refused"]
            if refused:
                self._ledger.look_up_names()
            left_over = [it for it in refused if self._is_left_over(it)]
            again = {it["region"]: it for it in self._sweep_all(pool, left_over)}
            swept = [again.get(it["region"], it) for it in swept]
        # By now a renamed provider's regions are known by their new names. Where somebody else's
        # sweep is still at it, that is for the next run to say.
        if all(it["outcome"] != "busy" for it in swept):
            self._retiring.strand()
        return {"regions": swept, "expired": expired, "forgotten": forgotten}

    def _is_left_over(self, region: str) -> bool:
        """Whether the place that a name leads to has by now no name that is configured."""
        try:
            place = self._clouds.region(region).place()
        except CloudError:  # the next run tells of it
            return False
        return self._ledger.name_of(place.id) not in self._fleet.configured

    def _sweep_all(self, pool: ThreadPoolExecutor, regions: Sequence[str]) -> list[dict[str, Any]]:
        acts = in_context([partial(self.sweep, it) for it in regions])
        return list(pool.map(lambda act: act(), acts))

    def _forgive(self, region: str) -> None:
        with suppress(CloudError):  # its sweep meets it as well, and tells of it
            self._clouds.region(region).forgive()

    def _recount(self) -> None:
        """Put counts right that differ from the slots, if nobody has lately."""
        if not self._ledger.turn("recount", for_ms=RECOUNT_EVERY_MS):
            return
        recounted = self._ledger.recount()
        if recounted.regions or recounted.owners:
            told = recounted._asdict()
            tell("recounted", "warning", **told)

    def adopt(self, regions: Sequence[str]) -> list[dict[str, Any]]:
        """Sweep regions, and adopt servers there whose marks nothing proves; safe to repeat."""
        return [self.sweep(it, adopt_unverified=True) for it in regions]

    def sweep(
        self,
        region: str,
        *,
        adopt_unverified: bool = False,
        wait_s: float = 0,
        unless: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Sweep one region and return what was done; its failure is an answer, not an error.

        Waits so long for somebody else's sweep to end; `unless` is asked when it has.
        """
        began, done = time.monotonic(), Counter[str]()
        try:
            sweep = Sweep(
                region,
                ledger=self._ledger,
                fleet=self._fleet,
                fleet_name=self._fleet_name,
                clouds=self._clouds,
                leaving=self._leaving,
                pace=self._pace,
                adopt_unverified=adopt_unverified,
            )
            done = sweep.done
            outcome, error = self._swept(region, sweep, wait_s, unless)
        except LedgerUnavailable:
            raise
        except NotConfigured as fault:  # the files changed since this run began, or disagree
            outcome, error = "failed", str(fault)
        except Exception:  # noqa: BLE001  a fault of ours in one region must not stop the others
            tell("sweep failed", "exception", region=region)
            outcome, error = "failed", _OUR_FAULT
        return {
            "region": region,
            "outcome": outcome,
            "error": error,
            "actions": {action: done[action] for action in ACTIONS},
            "duration_ms": round((time.monotonic() - began) * 1000),
        }

    def _swept(
        self, region: str, sweep: Sweep, wait_s: float, unless: Callable[[], bool]
    ) -> tuple[str, str | None]:
        """Sweep a region, then do out of its lock what followed from that."""
        budget_s = self._pace.sweep_budget_s
        with self._ledger.sweeping(region, budget_s=budget_s, wait_s=wait_s) as locked:
            mine = locked and not unless()
            outcome, error = self._run(region, sweep) if mine else ("busy", None)
        if mine:
            self._attempts.pursue_all(sweep.retries)
            sweep.done["served"] += self._serving.serve(region)
        return outcome, error

    def _run(self, region: str, sweep: Sweep) -> tuple[str, str | None]:
        try:
            sweep.run()
            if sweep.repeats:
                return "refused", repeating(sweep.repeats)
            if sweep.done["faults"]:
                return "failed", _OUR_FAULT
            self._retiring.see_empty(region)
        except RateLimited as error:
            self._ledger.report(region, str(error), "paused", pause_s=error.retry_after_s)
            return "failed", str(error)
        except CloudError as error:
            self._ledger.report(region, str(error), "down")
            return "failed", str(error)
        return "swept", None
