"""Arriving: servers that are being built are looked after until the cloud shows them ACTIVE.

Whoever had them made looks on for a while, with one list of each region for all of them, so that
they are known to be there a moment after the cloud built them. What fails or takes longer, or is
lost with the process, the next sweep finds.
"""

import threading
import time
from collections.abc import Callable, Mapping

from openmultistack.clouds import Clouds
from openmultistack.domain.cloud_errors import CloudError
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.domain.pace import Watch
from openmultistack.ledger import Attempt, Ledger, Seen
from openmultistack.provision.reaching import reach
from openmultistack.provision.watchers import Watchers


class Arriving:
    """Looks after what is being built; one thread a region, only while there is any."""

    def __init__(
        self,
        ledger: Ledger,
        clouds: Clouds,
        pace: Watch,
        without_address: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._ledger = ledger
        self._clouds = clouds
        self._pace = pace
        # Whether a region shows no addresses: the others' servers are there once they have one.
        self._without_address = without_address
        # Of each attempt its server, and until when it is looked for.
        self._followed: dict[Attempt, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._watchers = Watchers("arriving", self._keep_watch, self._lock)

    def follow(self, servers: Mapping[Attempt, str]) -> None:
        """Look after these attempts' servers from now on, beside whatever the caller does."""
        until = time.monotonic() + self._pace.follow_s
        with self._lock:
            room = max(0, self._pace.at_most - len(self._followed))
            new = [it for it in servers if it not in self._followed][:room]
            self._followed |= {it: (servers[it], until) for it in new}
            self._watchers.watch(it.region for it in new)

    def _keep_watch(self, region: str) -> None:
        took_s = age_s = 0.0
        while True:
            # A cloud that is slow to answer is busy enough: this is a fifth of its time at most.
            # What takes long to build, or never comes, is looked for less and less often.
            time.sleep(max(self._pace.poll_s, 4 * took_s, age_s / 10))
            began = time.monotonic()
            self.look(region)
            with self._lock:
                now = time.monotonic()
                self._followed = {k: v for k, v in self._followed.items() if v[1] > now}
                left_s = [v[1] - now for k, v in self._followed.items() if k.region == region]
                if not left_s:
                    self._watchers.let_go(region)
                    return
            took_s, age_s = now - began, self._pace.follow_s - max(left_s)

    def look(self, region: str) -> None:
        """Look once after a region's: those that are ACTIVE go into the ledger."""
        with self._lock:
            followed = {v[0]: k for k, v in self._followed.items() if k.region == region}
        try:
            place = self._ledger.place_of(region)
            active = reach(self._ledger, self._clouds, region, place).active()
            without_address = self._without_address(region)
            seen = [
                Seen(
                    followed[it.id]._replace(region=place),
                    it.id,
                    it.status,
                    it.addresses,
                    it.cloud_status,
                )
                for it in active
                if it.id in followed and it.seen(without_address=without_address) == it
            ]
            self._ledger.observe_all(seen)
        except (CloudError, LedgerUnavailable):
            return  # the next look, or the next sweep
        with self._lock:
            for it in seen:
                self._followed.pop(followed[it.server_id], None)
