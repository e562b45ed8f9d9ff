"""Owners' quotas: what they hold at once, and how fast they create; never over, whatever races."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from openmultistack.domain.models import Quota, Resources
from openmultistack.ledger import Admitted, Key, Waiting
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
WAITING = Waiting(priority=10, max_queued=100, wait_ms=600_000, max_of_owner=100)
THREADS = 8


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Two regions are up, with more room than any quota here."""
    desk.open(A, B, instances=50)


def used(desk: Desk, owner: str = "alice") -> Resources:
    """Return what an owner holds, after a check of the books."""
    desk.check(A, B)
    return desk.ledger.usage([owner])[owner]


@pytest.mark.parametrize(
    ("quota", "fit"),
    [
        (Quota(instances=3), 3),
        (Quota(vcpus=9), 4),
        (Quota(ram_mb=500), 5),
        (Quota(instances=3, vcpus=4), 2),
        (Quota(instances=0), 0),
        (Quota(), 6),
    ],
)
def test_the_scarcest_bound_of_the_quota_binds(desk: Desk, quota: Quota, fit: int) -> None:
    offers = [desk.offer(it, 2, 100) for it in (A, B)]
    admitted = desk.place(*offers, count=6, partial=True, quota=quota)
    assert len(admitted.attempts) == fit
    assert used(desk) == Resources(instances=fit, vcpus=2 * fit, ram_mb=100 * fit)
    if fit < 6:
        assert desk.place(*offers, quota=quota).outcome == "quota"


def test_all_or_nothing_takes_nothing_when_the_quota_is_short_of_one(desk: Desk) -> None:
    quota = Quota(instances=3)
    assert desk.place(A, count=2, quota=quota).outcome == "placed"
    refused = desk.place(A, count=2, quota=quota)
    assert (refused.outcome, refused.attempts) == ("quota", ())
    assert used(desk).instances == 2


def test_what_is_freed_can_be_used_again(desk: Desk) -> None:
    quota = Quota(instances=1)
    attempt = desk.placed(A, quota=quota)
    assert desk.place(A, quota=quota).outcome == "quota"
    desk.ledger.destroy(desk.get(attempt), why="its owner")
    assert desk.place(A, quota=quota).outcome == "quota", "it is held until it is seen gone"
    desk.end(attempt)
    assert desk.placed(A, quota=quota)


def test_a_move_takes_with_it_what_it_uses_and_is_never_refused_for_the_quota(desk: Desk) -> None:
    """It was admitted; a slot kept for a doubtful server may put its owner over for a while."""
    quota = Quota(instances=1)
    attempt = desk.placed(desk.offer(A, 2, 100), quota=quota)
    assert desk.move(attempt, desk.offer(B, 1, 50), keep=True).outcome == "moved"
    assert used(desk) == Resources(instances=2, vcpus=3, ram_mb=150)
    assert desk.place(A, quota=quota).outcome == "quota"


def test_owners_do_not_use_up_one_anothers_quota(desk: Desk) -> None:
    quota = Quota(instances=2, creates_per_minute=2)
    for owner in ("alice", "alice:job", "bob"):
        assert desk.place(A, count=2, owner=owner, quota=quota).outcome == "placed"
    assert used(desk, "bob").instances == 2


def test_beyond_the_quota_one_may_wait(desk: Desk) -> None:
    admitted = desk.place(A, count=3, quota=Quota(instances=1), waiting=WAITING)
    assert (len(admitted.attempts), len(admitted.queued)) == (1, 2)
    (event,) = desk.ledger.events(admitted.queued[0])
    assert event["why"] == "the quota of its owner is used up"
    assert used(desk).instances == 1


# ------------------------------------------------------------------ creates a minute


def test_creates_a_minute_are_bounded_and_it_is_told_when_to_come_again(desk: Desk) -> None:
    quota = Quota(creates_per_minute=3)
    assert desk.place(A, count=3, quota=quota).outcome == "placed"
    refused = desk.place(A, quota=quota)
    assert (refused.outcome, refused.attempts) == ("rate", ())
    assert 0 < refused.retry_ms <= 20_000
    assert 20_000 < desk.place(A, count=2, quota=quota).retry_ms <= 40_000
    assert used(desk).instances == 3


def test_the_rate_comes_back_evenly_and_is_never_saved_up(desk: Desk) -> None:
    quota, usage = Quota(creates_per_minute=3), desk.keys.usage("alice")
    desk.place(A, count=3, quota=quota)
    desk.later(usage, "starts_at_ms", 20_000)
    assert desk.place(A, quota=quota).outcome == "placed"
    assert desk.place(A, quota=quota).outcome == "rate"
    desk.later(usage, "starts_at_ms", 3_600_000)
    assert desk.place(A, count=4, quota=quota).outcome == "rate"
    assert desk.place(A, count=3, quota=quota).outcome == "placed"
    assert desk.place(A, quota=quota).outcome == "rate"


def test_what_was_refused_or_not_placed_does_not_count_for_the_rate(desk: Desk) -> None:
    desk.open(A, instances=1)
    quota = Quota(creates_per_minute=3)
    assert desk.place(A, count=2, quota=quota).outcome == "full"
    assert len(desk.place(A, count=3, partial=True, quota=quota).attempts) == 1
    assert desk.place(B, count=2, quota=quota).outcome == "placed"
    assert desk.place(B, quota=quota).outcome == "rate"


def test_those_who_wait_count_for_the_rate_and_are_served_without(desk: Desk) -> None:
    desk.open(A, instances=0)
    quota = Quota(creates_per_minute=2)
    assert len(desk.place(A, count=2, quota=quota, waiting=WAITING).queued) == 2
    assert desk.place(A, quota=quota, waiting=WAITING).outcome == "rate"
    desk.open(A)
    assert len(desk.served(A)) == 2


def test_the_rate_is_remembered_when_nothing_is_held_any_more(desk: Desk) -> None:
    quota = Quota(creates_per_minute=1)
    desk.end(desk.placed(A, quota=quota))
    assert 60_000 <= desk.redis.pttl(desk.keys.usage("alice")) <= 600_000
    assert desk.place(A, quota=quota).outcome == "rate"


def test_what_an_owner_holds_is_never_forgotten(desk: Desk) -> None:
    desk.end(desk.placed(A))
    desk.placed(A)
    assert desk.redis.pttl(desk.keys.usage("alice")) == -1


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("starts_at_ms", {"quota": Quota(creates_per_minute=2)}),
        ("commands_at_ms", {"commands_per_minute": 2}),
    ],
)
def test_a_clock_that_went_back_shuts_nobody_out_for_longer_than_the_rate(
    desk: Desk, field: str, more: dict[str, Any]
) -> None:
    desk.placed(A, **more)
    desk.later(desk.keys.usage("alice"), field, -3_600_000)
    refused = desk.place(A, **more)
    assert refused.attempts == ()
    assert refused.retry_ms == 30_000
    desk.redis.hset(desk.keys.usage("alice"), field, desk.ledger.now_ms() - 30_000)
    assert desk.placed(A, **more)


# ------------------------------------------------------------------ commands a minute


@pytest.mark.parametrize("instances", [0, 50], ids=["waits", "placed"])
def test_commands_count_whatever_they_ask_for_and_those_that_wait_as_well(
    desk: Desk, instances: int
) -> None:
    desk.open(A, instances=instances)
    for count in (20, 1):
        made = desk.place(A, count=count, waiting=WAITING, commands_per_minute=2)
        assert made.outcome == "placed"
    refused = desk.place(A, waiting=WAITING, commands_per_minute=2)
    assert (refused.outcome, refused.attempts, refused.queued) == ("command_rate", (), ())
    assert 0 < refused.retry_ms <= 30_000
    assert desk.place(A, waiting=WAITING, commands_per_minute=2, owner="bob").outcome == "placed"
    assert desk.place(A, waiting=WAITING).outcome == "placed", "no rate is kept"
    desk.later(desk.keys.usage("alice"), "commands_at_ms", 30_000)
    assert desk.place(A, waiting=WAITING, commands_per_minute=2).outcome == "placed"
    assert desk.place(A, waiting=WAITING, commands_per_minute=2).outcome == "command_rate"


def test_a_repeat_is_no_command_more_and_is_answered_beyond_the_rate(desk: Desk) -> None:
    key, ids = Key("one", "b"), desk.new_ids(1)
    desk.place(A, key=key, ids=ids, commands_per_minute=2)
    for _ in range(5):
        assert desk.place(A, key=key, commands_per_minute=2).outcome == "repeated"
        assert desk.place(A, ids=ids, commands_per_minute=2).outcome == "placed", "an answer lost"
    assert desk.place(A, key=Key("two", "b"), commands_per_minute=2).outcome == "placed"
    assert desk.place(A, key=Key("three", "b"), commands_per_minute=2).outcome == "command_rate"
    assert desk.place(A, key=key, commands_per_minute=2).outcome == "repeated"


def test_what_was_refused_is_no_command(desk: Desk) -> None:
    desk.open(A, instances=1)
    for _ in range(3):
        assert desk.place(A, count=2, commands_per_minute=1).outcome == "full"
    assert desk.place(A, commands_per_minute=1).outcome == "placed"


def test_the_rate_of_commands_is_remembered_when_nothing_is_held_any_more(desk: Desk) -> None:
    desk.end(desk.placed(A, commands_per_minute=1))
    assert 60_000 <= desk.redis.pttl(desk.keys.usage("alice")) <= 600_000
    assert desk.place(A, commands_per_minute=1).outcome == "command_rate"


# ------------------------------------------------------------------ races


def race(desk: Desk, quota: Quota, **more: object) -> list[Admitted]:
    """Let threads ask at once, again and again, for as long as any might be let in."""

    def run(_: int) -> list[Admitted]:
        return [
            desk.place(desk.offer(A, 2, 100), desk.offer(B, 2, 100), quota=quota, **more)
            for _ in range(6)
        ]

    with ThreadPoolExecutor(THREADS) as pool:
        return [it for run in pool.map(run, range(THREADS)) for it in run]


@pytest.mark.parametrize(
    "quota", [Quota(instances=10), Quota(vcpus=20), Quota(ram_mb=1000)], ids=str
)
def test_racers_of_one_owner_fill_the_quota_exactly(desk: Desk, quota: Quota) -> None:
    admitted = race(desk, quota)
    assert sum(len(it.attempts) for it in admitted) == 10
    assert used(desk) == Resources(instances=10, vcpus=20, ram_mb=1000)
    assert {it.outcome for it in admitted} == {"placed", "quota"}


def test_racers_who_serve_and_place_together_never_pass_the_quota(desk: Desk) -> None:
    desk.open(A, B, instances=0)
    quota = Quota(instances=7)
    desk.place(A, count=20, quota=quota, waiting=WAITING)
    desk.open(A, B)

    def run(number: int) -> None:
        if number % 2:
            desk.served(A if number % 4 == 1 else B)
        else:
            desk.place(A, B, count=2, partial=True, quota=quota)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(run, range(4 * THREADS)))
    assert used(desk).instances == 7


def test_racers_of_one_owner_create_no_faster_than_they_may(desk: Desk) -> None:
    admitted = race(desk, Quota(creates_per_minute=1))
    assert sum(len(it.attempts) for it in admitted) == 1
    assert {it.outcome for it in admitted} == {"placed", "rate"}


def test_racers_of_one_owner_command_no_faster_than_they_may(desk: Desk) -> None:
    admitted = race(desk, Quota(), commands_per_minute=1, waiting=WAITING)
    assert [it.outcome for it in admitted].count("placed") == 1
    assert {it.outcome for it in admitted} == {"placed", "command_rate"}
