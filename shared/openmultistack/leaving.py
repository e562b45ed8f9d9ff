"""Leaving: servers that were asked to go are looked after until their slots are free again.

A cloud takes its time to delete a server, and its quota counts it until then. Whoever asked for
the end looks on for a while, so that a slot is in use again a moment after the cloud let go of
it; what takes longer, or is lost with the process, the next sweep finds.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from openmultistack.clouds import Clouds
from openmultistack.errors import CloudError, LedgerUnavailable
from openmultistack.ledger import Attempt, Ledger
from openmultistack.models import Instance

POLL_S = 0.5
# Longer than clouds take for it; and a bound on what one process looks after.
FOLLOW_S = 60.0
FOLLOWED_MAX = 2000


class Leaver(NamedTuple):
    """A server whose end was asked for, and the slot that it still holds."""

    attempt: Attempt
    owner: str
    instance: Instance | None
    server_id: str


class Leaving:
    """Looks after servers that are leaving; one thread for a process, only while there are any."""

    def __init__(self, ledger: Ledger, clouds: Clouds, serve: Callable[[str], object]) -> None:
        self._ledger = ledger
        self._clouds = clouds
        self._serve = serve
        self._followed: dict[Attempt, tuple[Leaver, float]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def follow(self, leavers: Sequence[Leaver]) -> None:
        """Look after these from now on, beside whatever the caller does."""
        until = time.monotonic() + FOLLOW_S
        with self._lock:
            room = FOLLOWED_MAX - len(self._followed)
            self._followed |= {it.attempt: (it, until) for it in leavers[:room]}
            if self._followed and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leaving", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        took_s = 0.0
        while True:
            # A cloud that is slow to answer is busy enough: this is a fifth of its time at most.
            time.sleep(max(POLL_S, 4 * took_s))
            began = time.monotonic()
            self.look()
            took_s = time.monotonic() - began
            with self._lock:
                now = time.monotonic()
                self._followed = {k: v for k, v in self._followed.items() if v[1] > now}
                if not self._followed:
                    self._thread = None
                    return

    def look(self) -> None:
        """Look once after all that are followed: free the slots of those gone, and serve."""
        by_region: dict[str, list[Leaver]] = defaultdict(list)
        with self._lock:
            for it, _ in self._followed.values():
                by_region[it.attempt.region].append(it)
        for region, leavers in by_region.items():
            gone = self._gone(region, leavers)
            with self._lock:
                for it in gone:
                    self._followed.pop(it.attempt, None)

    def _gone(self, region: str, leavers: Sequence[Leaver]) -> list[Leaver]:
        try:
            gone = self.release(region, leavers)
            if gone:
                self._serve(region)
        except (CloudError, LedgerUnavailable):
            return []  # the next look, or the next sweep
        return gone

    def release(self, region: str, leavers: Sequence[Leaver]) -> list[Leaver]:
        """Free the slots of those that the region's cloud has no more, and return them.

        Raises:
            CloudError: it does not say.
        """
        cloud = self._clouds.region(region)
        present = cloud.present()
        # A list may be behind; that there is none of this id is certain.
        gone = [
            it for it in leavers if it.server_id not in present and cloud.show(it.server_id) is None
        ]
        for it in gone:
            self._ledger.release(
                it.attempt,
                owner=it.owner,
                instance=it.instance,
                why="the cloud has no such server any more",
            )
        return gone
