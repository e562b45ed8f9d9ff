"""due and forget, and the lock of a sweep."""

import threading
import time
from typing import Any

import pytest

from openmultistack.ledger import Attempt, Ledger, View
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Two regions are up."""
    desk.open(A, B)


def pass_ms(desk: Desk, how_many: int) -> None:
    """Return when Redis' clock has gone on by so much."""
    until = desk.ledger.now_ms() + how_many
    while desk.ledger.now_ms() <= until:
        time.sleep(0.005)


def test_the_clock_is_redis_own_in_milliseconds(desk: Desk) -> None:
    seconds, micros = desk.redis.time()
    assert 0 <= desk.ledger.now_ms() - (seconds * 1000 + micros // 1000) < 5000


def test_what_is_due_is_told_oldest_first_and_bounded(desk: Desk) -> None:
    late = desk.placed(A, ttl_ms=800)
    early = desk.placed(A, ttl_ms=1)
    never = desk.placed(A)
    pass_ms(desk, 800)
    assert desk.ledger.due(10) == [early.instance_id, late.instance_id]
    assert desk.ledger.due(1) == [early.instance_id]
    desk.ledger.renew(never.instance_id, 1)
    pass_ms(desk, 2)
    assert desk.ledger.due(10)[-1] == never.instance_id


def test_an_ended_instance_is_remembered_and_then_due_to_be_forgotten(desk: Desk) -> None:
    attempt = desk.placed(A, ttl_ms=0)
    desk.end(attempt)
    assert desk.ledger.due(10) == []
    desk.redis.zadd(desk.keys.due, {attempt.instance_id: 1})
    assert desk.ledger.due(10) == [attempt.instance_id]
    assert desk.ledger.destroy(desk.get(attempt), why="due", only_if="due") == "DELETED"


def test_forgetting_leaves_nothing_behind(desk: Desk) -> None:
    attempts = [desk.placed(A, labels={"job": "7"}) for _ in range(3)]
    for attempt in attempts:
        desk.end(attempt)
    ended = [desk.get(attempt) for attempt in attempts]
    for _ in range(2):
        desk.ledger.forget(ended)
    regions = {desk.keys.regions, desk.keys.region(A), desk.keys.region(B)}
    regions |= {desk.keys.shares, desk.keys.numbers, desk.keys.version}
    usage = desk.keys.usage("alice")
    assert set(desk.redis.keys()) == {*regions, usage}
    assert 0 < desk.redis.pttl(usage) <= 600_000
    desk.ledger.forget([])


def test_forgetting_one_leaves_the_others(desk: Desk) -> None:
    one, other, living = (desk.placed(A) for _ in range(3))
    desk.end(one)
    desk.end(other)
    desk.ledger.forget([desk.get(one)])
    assert desk.members(desk.keys.gone("alice")) == [other.instance_id]
    assert desk.ledger.get([one.instance_id]) == []
    assert desk.get(other).id == other.instance_id
    assert desk.get(living).id == living.instance_id


def test_late_news_of_a_forgotten_instance_leaves_no_trace(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.end(attempt)
    known = desk.get(attempt)
    desk.ledger.forget([known])
    before = set(desk.redis.keys())
    assert desk.ledger.commit(attempt, "srv")  # a sweep will adopt it, or find it unwanted
    assert not desk.ledger.renew(attempt.instance_id, 1000)
    assert desk.ledger.fail(attempt, "late") is None
    assert desk.ledger.destroy(known, why="late") == "MISSING"
    assert not desk.end(attempt)
    assert desk.move(attempt, B).outcome == "ended"
    assert set(desk.redis.keys()) == before


# ------------------------------------------------------------------ sweeping


def test_one_sweep_of_a_region_runs_at_a_time_and_regions_do_not_wait_for_each_other(
    desk: Desk,
) -> None:
    with desk.ledger.sweeping(A, budget_s=30) as first:
        with desk.ledger.sweeping(A, budget_s=30) as second:
            assert (first, second) == (True, False)
        with desk.ledger.sweeping(A, budget_s=30) as still:
            assert not still
        with desk.ledger.sweeping(B, budget_s=30) as other:
            assert other
    with desk.ledger.sweeping(A, budget_s=30) as again:
        assert again


def test_the_lock_comes_back_when_the_sweep_breaks(desk: Desk) -> None:
    with pytest.raises(RuntimeError, match="broken"), desk.ledger.sweeping(A, budget_s=30):
        raise RuntimeError("broken")
    with desk.ledger.sweeping(A, budget_s=30) as mine:
        assert mine


def test_the_lock_of_a_sweep_that_died_runs_out(desk: Desk) -> None:
    with desk.ledger.sweeping(A, budget_s=0.1):
        pass_ms(desk, 110)
        with desk.ledger.sweeping(A, budget_s=30) as mine:
            assert mine


def test_a_sweep_that_overran_does_not_give_back_anothers_lock(desk: Desk) -> None:
    slow = desk.ledger.sweeping(A, budget_s=0.05)
    assert slow.__enter__()
    pass_ms(desk, 60)
    with desk.ledger.sweeping(A, budget_s=30) as second:
        assert second
        slow.__exit__(None, None, None)
        with desk.ledger.sweeping(A, budget_s=30) as third:
            assert not third


def test_the_lock_can_be_given_back_by_another_thread(desk: Desk) -> None:
    sweep = desk.ledger.sweeping(A, budget_s=30)
    thread = threading.Thread(target=sweep.__enter__)
    thread.start()
    thread.join()
    sweep.__exit__(None, None, None)
    with desk.ledger.sweeping(A, budget_s=30) as mine:
        assert mine


def test_two_fleets_on_one_redis_know_nothing_of_each_other(desk: Desk, redis: Any) -> None:
    other = Ledger(redis, "other", lease_ms=1000)
    attempt = desk.placed(A)
    assert other.regions() == []
    assert other.get([attempt.instance_id]) == []
    assert other.due(10) == []
    assert other.view(A, [attempt.instance_id]) == View((), {})
    here = Attempt(attempt.instance_id, 1, A)
    assert not other.release(here, owner="alice", instance=None, why="not mine")
    assert desk.held(A) == [1]
    with desk.ledger.sweeping(A, budget_s=30), other.sweeping(A, budget_s=30) as mine:
        assert mine
