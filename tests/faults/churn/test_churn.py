"""The queue over a whole stack: fair, within quotas, and filled without waiting for a sweep."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from typing import Any

import httpx
import pytest

from tests.support.churning import Stack

SLOTS = 60
WITHIN_S = 400
OWNERS = {"thirty": 30, "twenty": 20, "ten": 10}


def until(holds: Any) -> None:
    """Wait until something holds, or fail."""
    end = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def listed(stack: Stack, owner: str) -> list[dict[str, Any]]:
    """Return an owner's living instances."""
    return list(stack.ask("GET", "/instances?limit=1000", owner)["instances"])


def running(stack: Stack, owner: str) -> list[dict[str, Any]]:
    """Return those that hold a slot and are wanted."""
    return [it for it in listed(stack, owner) if it["status"] in ("BUILD", "ACTIVE")]


@pytest.mark.timeout(1200)
def test_a_hundred_of_three_owners_with_different_quotas_are_served_fairly(stack: Stack) -> None:
    """Who holds least goes first, nobody passes their quota, and in the end all were served."""
    assert len(stack.create("hog", SLOTS)) == SLOTS
    asked = {"thirty": 40, "twenty": 30, "ten": 30}
    for owner, count in asked.items():
        made = stack.create(owner, count, on_full="queue")
        assert {it["status"] for it in made} == {"QUEUED"}
    oldest = listed(stack, "thirty")[-1]["id"]
    place = stack.ask("GET", f"/instances/{oldest}", "thirty")["queue"]
    assert (place["place"], place["waiting"]) == (1, 100)

    _end_all(stack, "hog")
    until(lambda: {owner: len(running(stack, owner)) for owner in OWNERS} == OWNERS)
    placed = _placed_in_order(stack)
    _assert_fair(placed)

    served: set[str] = set()
    deadline = time.monotonic() + WITHIN_S
    while len(served) < sum(asked.values()):
        assert time.monotonic() < deadline, len(served)
        for owner, quota in OWNERS.items():
            mine = running(stack, owner)
            assert len(mine) <= quota
            served |= {it["id"] for it in mine}
            for it in mine[:5]:
                stack.ask("DELETE", f"/instances/{it['id']}", owner)
    assert len(served) == sum(asked.values())


def _end_all(stack: Stack, owner: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = [it["id"] for it in listed(stack, owner)]
        list(pool.map(lambda it: stack.ask("DELETE", f"/instances/{it}", owner), ids))


def _placed_in_order(stack: Stack) -> list[str]:
    """Return the owners of those that were served, in the order in which they were."""
    placed = []
    for owner in OWNERS:
        for it in running(stack, owner):
            events = stack.ask("GET", f"/instances/{it['id']}/events", owner)["events"]
            placed += [(event["at"], owner) for event in events if event["what"] == "placed"]
    return [owner for _, owner in sorted(placed)]


def _assert_fair(placed: list[str]) -> None:
    """Until the smaller quotas are used up, owners who wait hold the same number, give or take.

    Several were served at once by several functions: each sees the others' acts whole, but reads
    the order a moment before.
    """
    has: Counter[str] = Counter()
    for owner in placed:
        has[owner] += 1
        waiting = [it for it, quota in OWNERS.items() if has[it] < quota]
        held = [has[it] for it in waiting]
        assert not held or max(held) - min(held) <= 8, (owner, has)


@pytest.mark.timeout(1200)
def test_exact_fill_a_churn_of_300_over_60_slots_serves_all_without_a_sweep(
    stack: Stack, churn_sim: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody sweeps: each slot comes back because somebody looked after the server that left."""
    before = _history(churn_sim)
    with ThreadPoolExecutor(100) as pool:
        lives = list(pool.map(lambda number: _live(stack, number), range(300)))
    assert len(lives) == 300
    made = [it for server_id, it in _history(churn_sim).items() if server_id not in before]
    assert len(made) == 300
    stats = httpx.get(f"{churn_sim.url}/sim/stats").json()["regions"].values()
    assert sum(it["refused_quota"] for it in stats) == 0
    gaps = _gaps(made)
    with capsys.disabled():
        print(
            f"\nchurn: 300 instances over {SLOTS} slots, longest wait {max(lives):.1f} s;"
            f" a freed slot was used again after {quantiles(gaps, n=10)[4]:.1f} s (median),"
            f" {quantiles(gaps, n=10)[8]:.1f} s (9 of 10)"
        )


def _live(stack: Stack, number: int) -> float:
    """Ask for an instance, have it for a moment, destroy it; return how long it waited."""
    owner = f"owner-{number % 5}"
    began = time.monotonic()
    (it,) = stack.create(owner, on_full="queue")
    while it["status"] == "QUEUED":
        assert time.monotonic() < began + WITHIN_S
        time.sleep(0.3)
        it = stack.ask("GET", f"/instances/{it['id']}", owner)
    waited = time.monotonic() - began
    time.sleep(random.Random(number).uniform(0.2, 1.0))
    stack.ask("DELETE", f"/instances/{it['id']}", owner)
    return waited


def _history(sim: Any) -> dict[str, dict[str, Any]]:
    return {it["id"]: it for it in httpx.get(f"{sim.url}/sim/servers").json()["history"]}


def _gaps(made: list[dict[str, Any]]) -> list[float]:
    """Return for each server that went while others came: how long until its place was taken."""
    gaps = []
    for region in {it["region"] for it in made}:
        here = [it for it in made if it["region"] == region]
        came = sorted(it["made_at"] for it in here)
        gone = sorted(it["gone_at"] for it in here if it["gone_at"])
        # The first 20 came into an empty region; each later one into the place of one that went.
        gaps += [later - left for left, later in zip(gone, came[20:], strict=False)]
    return gaps
