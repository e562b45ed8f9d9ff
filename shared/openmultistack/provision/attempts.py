"""Attempts: bring instances that hold a slot into being, moving on when a region fails.

Between `place` and `commit` stands exactly one call that makes a server: see `making`. What of it
follows for the slot is in `pursuing`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from openmultistack.clouds import Clouds
from openmultistack.domain.pace import Pace
from openmultistack.ledger import Ledger
from openmultistack.logs import in_context
from openmultistack.provision.arriving import Arriving
from openmultistack.provision.making import Gates, Learned, Regions
from openmultistack.provision.pursuing import Ending, Pursuing, Pursuit
from openmultistack.provision.restocking import Restocking


class Attempts:
    """Runs attempts side by side, bounded in each region; safe to share between threads."""

    def __init__(
        self,
        ledger: Ledger,
        clouds: Clouds,
        arriving: Arriving,
        *,
        lease_ms: int,
        call_budget_s: float,
        pace: Pace,
    ) -> None:
        start_within_s = lease_ms / 1000 - call_budget_s
        gates = Gates(pace.creates_at_once)
        self._regions = Regions(ledger, clouds, gates, start_within_s, pace.looks_s)
        self._arriving = arriving

    def pursue_all(self, pursuits: Sequence[Pursuit]) -> list[Ending]:
        """Pursue every attempt to its end, in the order given; see `Pursuing`."""
        learned = Learned({}, Restocking(self._regions.ledger, self._regions.clouds))
        endings = _run([Pursuing(self._regions, learned, it) for it in pursuits])
        self._arriving.follow(
            {it.attempt: it.server_id for it in endings if it.how == "made" and it.server_id}
        )
        return endings


def _run(pursued: Sequence[Pursuing]) -> list[Ending]:
    if len(pursued) <= 1:
        return [it.run() for it in pursued]
    with ThreadPoolExecutor(max_workers=len(pursued)) as pool:
        return list(pool.map(lambda act: act(), in_context([it.run for it in pursued])))
