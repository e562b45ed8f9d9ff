"""What is seen of the regions and the queue while a soak runs."""

import threading
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import redis

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.domain.models import Instance
from openmultistack.domain.regions import RegionState
from openmultistack.ledger import Ledger

EVERY_S = 0.5
# Whatever goes wrong, after that long a slot is used that somebody waits for: sweeps come often.
IDLE_MAX_S = 45


class Watch:
    """Looks at the ledger, beside the product, until told to stop."""

    def __init__(self, url: str, fleet: str, lease_s: int) -> None:
        client = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=1, socket_connect_timeout=1
        )
        self._ledger = Ledger(client, fleet, lease_ms=lease_s * 1000)
        self._close = client.close
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self._patterns: dict[str, Sequence[str]] = {}
        self._idle_since: dict[str, float] = {}
        self.longest_idle_s: dict[str, float] = {}
        self.longest_queue = self.looks = self.blind = 0
        self.fullest: dict[str, dict[str, Any]] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._close()

    def troubles(self) -> list[str]:
        """Return a sentence for each region in which a slot was idle for too long."""
        idle = [(name, it) for name, it in self.longest_idle_s.items() if it > IDLE_MAX_S]
        return [f"idle: a slot of {name} for {it:.0f} s, while someone waited" for name, it in idle]

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self._look()
            except LedgerUnavailable:  # it is paused: nobody could use a slot either
                self.blind += 1
                self._idle_since.clear()

    def _look(self) -> None:
        queue = self._ledger.queue()
        states = self._ledger.regions()
        waiting = self._ledger.get([it.instance_id for it in queue])
        self.looks += 1
        self.longest_queue = max(self.longest_queue, len(queue))
        for state in states:
            self._hold(state)
            self._judge(state, waiting)

    def _hold(self, state: RegionState) -> None:
        most = self.fullest.get(state.region, {"held": 0})
        if state.held.instances >= most["held"]:
            counts = {"held": state.held.instances, "cap": state.cap.instances}
            self.fullest[state.region] = {"region": state.region, **counts}

    def _judge(self, state: RegionState, waiting: list[Instance]) -> None:
        now = time.monotonic()
        room = state.state == "up" and state.free().instances > 0
        if not room or not any(suits(state.region, it, self._wanted(it)) for it in waiting):
            self._idle_since.pop(state.region, None)
            return
        idle_s = now - self._idle_since.setdefault(state.region, now)
        longest = self.longest_idle_s.get(state.region, 0.0)
        self.longest_idle_s[state.region] = max(longest, idle_s)

    def _wanted(self, instance: Instance) -> Sequence[str]:
        """Return the patterns of an instance's regions; a long order is read once."""
        if instance.id not in self._patterns:
            order = self._ledger.order_of(instance)
            self._patterns[instance.id] = _regions_of(order) if order else ()
        return self._patterns[instance.id]


def _regions_of(order: str) -> Sequence[str]:
    return CreateInstances.model_validate_json(order).regions


def suits(region: str, instance: Instance, wanted: Sequence[str]) -> bool:
    """Whether somebody who waits would go to a region."""
    if instance.status != "QUEUED" or region in instance.tried:
        return False
    return any(fnmatchcase(region, pattern) for pattern in wanted)
