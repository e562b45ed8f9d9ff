"""Leaving: servers that were asked to go are looked after until their slots are free again.

A cloud takes its time to delete a server, and its quota counts it until then. Whoever asked for
the end looks on for a while, so that a slot is in use again a moment after the cloud let go of
it; what takes longer, or is lost with the process, the next sweep finds.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from openmultistack.clouds import Clouds
from openmultistack.domain.cloud_errors import CloudError
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.domain.models import Instance
from openmultistack.domain.pace import Watch
from openmultistack.ledger import Attempt, Gone, Ledger
from openmultistack.logs import ask_anew
from openmultistack.provision.reaching import reach
from openmultistack.provision.watchers import Watchers


class Leaver(NamedTuple):
    """A server whose end was asked for, and the slot that it still holds."""

    attempt: Attempt
    owner: str
    instance: Instance | None
    server_id: str


class Leaving:
    """Looks after servers that are leaving; one thread a region, only while there are any.

    Regions do not wait for one another: neither for a slow one, nor while one is served.
    """

    def __init__(
        self, ledger: Ledger, clouds: Clouds, pace: Watch, serve: Callable[[str], object]
    ) -> None:
        self._ledger = ledger
        self._clouds = clouds
        self._pace = pace
        self._serve = serve
        self._followed: dict[Attempt, tuple[Leaver, float]] = {}
        self._lock = threading.Lock()
        self._watchers = Watchers("leaving", self._keep_watch, self._lock)

    def follow(self, leavers: Sequence[Leaver]) -> None:
        """Look after these from now on, beside whatever the caller does."""
        until = time.monotonic() + self._pace.follow_s
        with self._lock:
            room = self._pace.at_most - len(self._followed)
            self._followed |= {it.attempt: (it, until) for it in leavers[:room]}
            self._watchers.watch(it.region for it in self._followed)

    def _keep_watch(self, region: str) -> None:
        took_s = 0.0
        while True:
            # A cloud that is slow to answer is busy enough: this is a fifth of its time at most.
            time.sleep(max(self._pace.poll_s, 4 * took_s))
            ask_anew()
            took_s = self.look(region)
            with self._lock:
                now = time.monotonic()
                self._followed = {k: v for k, v in self._followed.items() if v[1] > now}
                if not any(it.region == region for it in self._followed):
                    self._watchers.let_go(region)
                    return

    def look(self, region: str) -> float:
        """Look once after a region's: free the slots of those gone, and serve.

        Returns how long the cloud and the ledger took to answer (seconds).
        """
        with self._lock:
            leavers = [it for it, _ in self._followed.values() if it.attempt.region == region]
        began = time.monotonic()
        try:
            gone = self.release(region, leavers)
            took_s = time.monotonic() - began
            if gone:
                self._serve(region)
        except (CloudError, LedgerUnavailable):
            return time.monotonic() - began  # the next look, or the next sweep
        with self._lock:
            for it in gone:
                self._followed.pop(it.attempt, None)
        return took_s

    def release(self, region: str, leavers: Sequence[Leaver]) -> list[Leaver]:
        """Free the slots of those that the region's cloud has no more, and return them.

        Raises:
            CloudError: it does not say.
        """
        place = self._ledger.place_of(region)
        cloud = reach(self._ledger, self._clouds, region, place)
        present = cloud.present()
        # A list may be behind; that there is none of this id is certain.
        gone = [
            it for it in leavers if it.server_id not in present and cloud.show(it.server_id) is None
        ]
        why = "the cloud has no such server any more"
        if gone:
            self._ledger.release_all(
                [Gone(it.attempt._replace(region=place), it.owner, it.instance, why) for it in gone]
            )
        return gone
