"""The lock by which one sweep at a time is in a region."""

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import LockError

from openmultistack.ledger.connected import Connected
from openmultistack.ledger.scripts import FOREIGN, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long a lock outlives the sweep that died with it.
LOCK_S = 15.0


class Sweeping(Connected):
    """The lock of a region's sweep."""

    @contextmanager
    def sweeping(self, region: str, *, budget_s: float, wait_s: float = 0) -> "Iterator[bool]":
        """Hold the region's sweep lock, for the budget at most.

        False if somebody else has it, and still has it after the wait.
        The lock of a sweep that died is gone after LOCK_S.
        """
        name = self._keys.sweep_lock(region)
        lock = self._redis.lock(name, timeout=min(LOCK_S, budget_s), thread_local=False)
        try:
            mine = lock.acquire(blocking=wait_s > 0, blocking_timeout=wait_s or None)
        except FOREIGN as error:
            raise unavailable(error) from error
        over = threading.Event()
        if mine:
            threading.Thread(target=_keep, args=(lock, over, budget_s), daemon=True).start()
        try:
            yield mine
        finally:
            over.set()
            if mine:
                _give_back(lock)


def _keep(lock: Any, over: threading.Event, budget_s: float) -> None:  # noqa: ANN401  same
    """Prolong a lock while its sweep is at work; one that is lost is not taken again."""
    until = time.monotonic() + budget_s
    while not over.wait(LOCK_S / 3) and time.monotonic() < until:
        try:
            lock.reacquire()
        except (LockError, *FOREIGN):
            return


def _give_back(lock: Any) -> None:  # noqa: ANN401  redis-py's lock is untyped
    """Release a lock; one that ran out or went with Redis is gone already."""
    try:
        lock.release()
    except (LockError, *FOREIGN):
        return
