"""Redis is paused, or loses all, while eight clients create and destroy and a timer reaps."""

import signal
import threading
import time
from collections import Counter
from typing import Any, Self

import pytest

from openmultistack.domain.errors import LedgerUnavailable, Problem
from openmultistack.domain.models import Instance, Status
from tests.support.slow_house import PACE_HERE, House

CLIENTS = 8
LEASE_MS = 1500
# How long a region stays locked when the sweep that locked it could not give the lock back.
SWEEP_BUDGET_S = 1.5
# Locks of sweeps that Redis' fault cut short end within the test.
SHORT_LOCKS = PACE_HERE._replace(sweep_budget_s=SWEEP_BUDGET_S)
PAUSE_S = 10.0
# Who waits in vain for 5 s is refused; a sweep then has a lock to give back, in vain as well.
LONGEST_S = 25.0


class Crowd:
    """Clients and a timer, as fast as they can; `wrong` are errors that nobody expects."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.made: dict[str, Instance] = {}
        self.destroyed: set[str] = set()
        self.said: Counter[str] = Counter()
        self.wrong: list[Exception] = []
        self.longest_s = 0.0
        self._over = threading.Event()
        runs = [self._client] * CLIENTS + [self._reap]
        self._threads = [threading.Thread(target=self._repeat, args=(run,)) for run in runs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def _repeat(self, run: Any) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                run()
            except Problem as problem:
                self.said[problem.slug] += 1
                time.sleep(0.02)
            except Exception as error:  # noqa: BLE001  what it is, the test says
                self.wrong.append(error)
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def _client(self) -> None:
        (made,) = self.house.create()
        if made.status == Status.DELETING:
            return  # the ledger forgot it meanwhile, and the client is told so
        self.made[made.id] = made
        if len(self.made) % 4:
            self.destroyed.add(made.id)
            self.house.destroy(made)

    def _reap(self) -> None:
        for cloud in self.house.clouds.values():
            cloud.settle()
        self.house.reaping.reap()
        time.sleep(0.05)

    def goes_on(self, count: int = 20) -> None:
        """Return when some more have been made."""
        wanted, over = len(self.made) + count, time.monotonic() + 30
        while len(self.made) < wanted:
            assert time.monotonic() < over, (self.said, self.wrong)
            time.sleep(0.01)


def assert_at_rest(house: House, crowd: Crowd) -> None:
    """After lease, lock and two sweeps ledger and clouds agree, and what was promised is there."""
    assert crowd.wrong == []
    time.sleep(max(LEASE_MS / 1000, SWEEP_BUDGET_S))
    house.sweep_twice()
    house.assert_agreement()
    for cloud in house.clouds.values():
        assert len(cloud.servers) <= cloud.quota.instances
    listed = house.listed()
    kept = crowd.made.keys() - crowd.destroyed
    assert kept <= listed.keys()
    assert {listed[it].status for it in kept} <= {Status.ACTIVE}


def test_a_pause_within_creates_makes_none_too_many_and_loses_none(
    new_node: Any, new_house: Any
) -> None:
    node = new_node("--save", "")
    house = new_house(node.url, lease_ms=LEASE_MS, instances=200, pace=SHORT_LOCKS)
    with Crowd(house) as crowd:
        crowd.goes_on()
        node.signal(signal.SIGSTOP)
        try:
            time.sleep(PAUSE_S)
        finally:
            node.signal(signal.SIGCONT)
        crowd.goes_on()
    print(f"the longest act took {crowd.longest_s:.1f} s; refusals: {dict(crowd.said)}")
    assert set(crowd.said) == {LedgerUnavailable.slug}
    assert crowd.longest_s < LONGEST_S
    assert_at_rest(house, crowd)
    assert sum(cloud.refused for cloud in house.clouds.values()) == 0


@pytest.mark.parametrize("command", ["FLUSHALL", "SCRIPT FLUSH"])
def test_no_loss_what_is_flushed_within_creates_comes_back(
    new_node: Any, new_house: Any, command: str
) -> None:
    node = new_node("--save", "")
    house = new_house(node.url, lease_ms=LEASE_MS, instances=30, pace=SHORT_LOCKS)
    with Crowd(house) as crowd:
        for _ in range(3):
            crowd.goes_on()
            node.client.execute_command(command)
        crowd.goes_on()
    print(f"refusals: {dict(crowd.said)}")
    assert_at_rest(house, crowd)
