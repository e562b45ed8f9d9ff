"""Awaiting: who repeats a command, or prefers to wait, has the ledger read until it is done."""

import time
from collections.abc import Sequence

from openmultistack.domain.models import Instance, Status
from openmultistack.domain.pace import Pace
from openmultistack.ending import ENDING
from openmultistack.ledger import Attempt, Key, Ledger
from openmultistack.provision.arriving import Arriving
from openmultistack.usecases.waiting_room import WaitingRoom

# For a client that waits the ledger is read this often.
WAIT_POLL_S = 0.5


class Awaiting:
    """Waits for instances, on behalf of their owner."""

    def __init__(self, ledger: Ledger, arriving: Arriving, room: WaitingRoom, pace: Pace) -> None:
        self._ledger = ledger
        self._pace = pace
        self._arriving = arriving
        self._room = room

    def made_before(self, owner: str, key: Key) -> Sequence[Instance] | None:
        """Return what a key stands for, when its servers are known; None if it was given up."""
        with self._room.place(owner) as may_sleep:
            until = time.monotonic() + (self._pace.repeat_wait_s if may_sleep else 0)
            while True:
                ids = self._ledger.made_under(owner, key)
                instances = self._ledger.get(ids)
                unproven = any(it.status == Status.BUILD and not it.server_id for it in instances)
                if not ids or not unproven or time.monotonic() >= until:
                    break
                if ENDING.wait(self._pace.repeat_poll_s):
                    break
        if not ids or not self._ledger.promise(owner, key, ids):
            return None
        return instances

    def wait(self, owner: str, instances: Sequence[Instance], wait_s: float) -> Sequence[Instance]:
        """Return the instances as they are when all are built, or the time is over.

        At once where as many wait as may: waiting is a client's wish (RFC 7240), no promise.
        """
        with self._room.place(owner) as may_sleep:
            until = time.monotonic() + (wait_s if may_sleep else 0)
            # Those of a repeated command may be somebody else's, who has died.
            self._arriving.follow(_under_way(instances))
            while True:
                instances = self._ledger.get([it.id for it in instances])
                left_s = until - time.monotonic()
                if left_s <= 0 or not any(it.status in _COMING for it in instances):
                    return instances
                if ENDING.wait(min(WAIT_POLL_S, left_s)):
                    until = 0  # one more look, and the answer that it would get anyway


_COMING = (Status.QUEUED, Status.BUILD)


def _under_way(instances: Sequence[Instance]) -> dict[Attempt, str]:
    return {
        Attempt(it.id, it.attempt, it.region): it.server_id
        for it in instances
        if it.status == Status.BUILD and it.server_id
    }
