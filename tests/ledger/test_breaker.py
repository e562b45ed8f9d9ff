"""The breaker of a region, shared by all: opens on failures, rests, and probes."""

import pytest

from openmultistack.domain.models import Status
from openmultistack.ledger import Attempt, Ledger
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
LEASE_MS = 60_000


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Two regions are up."""
    desk.open(A, B)


def fail(desk: Desk, means: str = "doubt", times: int = 1) -> None:
    """Let a region fail."""
    for _ in range(times):
        desk.ledger.report(A, "no answer", means)


def rest(desk: Desk) -> None:
    """Let the breaker's pause pass."""
    desk.later(desk.keys.region(A), "open_until_ms", 400_000)


def half_open(desk: Desk) -> None:
    """Let the breaker have opened for doubtful answers, and its pause be over."""
    fail(desk, times=3)
    rest(desk)


def takes(desk: Desk, *, up_to: int = 3) -> int:
    """Return how many of these a region takes, and give them back."""
    attempts = desk.place(A, count=up_to, partial=True).attempts
    for attempt in attempts:
        desk.end(attempt)
    return len(attempts)


# ------------------------------------------------------------------ opening


def test_it_opens_at_the_third_failure_in_a_row(desk: Desk) -> None:
    fail(desk, times=2)
    assert takes(desk) == 3
    fail(desk)
    assert takes(desk) == 0
    assert desk.state(A).state == "resting"
    assert 4000 < desk.state(A).resting_ms <= 5000


@pytest.mark.parametrize("means", ["doubt", "down", "paused"])
def test_while_it_is_open_nobody_gets_in_and_other_regions_are_used(desk: Desk, means: str) -> None:
    waits = desk.placed(B)
    desk.open(B, instances=1)
    queued = desk.queued(B)
    desk.open(B)
    for _ in range(3):
        desk.ledger.report(A, "no", means, pause_s=30)
    assert {it.region for it in desk.place(A, B, count=5).attempts} == {B}
    assert desk.served(A) == []
    assert desk.waiting() == [queued]
    assert desk.move(waits, A).outcome == "none"
    assert desk.held(A) == [0]


def test_other_reports_do_not_count_as_failures(desk: Desk) -> None:
    fail(desk, "", times=5)
    assert takes(desk) == 3


# ------------------------------------------------------------------ closing


def test_a_server_that_is_accepted_ends_the_row(desk: Desk) -> None:
    attempt = desk.placed(A)
    fail(desk, times=2)
    assert desk.ledger.commit(attempt, "srv")
    fail(desk, times=2)
    assert takes(desk) == 3


@pytest.mark.parametrize("means", ["full", "stale"])
def test_a_certain_refusal_ends_the_row(desk: Desk, means: str) -> None:
    fail(desk, times=2)
    desk.ledger.report(A, "no", means)
    desk.open(A)
    fail(desk, times=2)
    assert takes(desk) == 3


def test_a_late_success_closes_it_while_it_is_open(desk: Desk) -> None:
    attempt = desk.placed(A)
    fail(desk, times=3)
    assert desk.ledger.commit(attempt, "srv")
    assert desk.state(A).state == "up"
    assert takes(desk) == 3


def test_a_sweep_that_can_list_does_not_excuse_creates_that_were_answered_badly(desk: Desk) -> None:
    fail(desk, "doubt", times=3)
    desk.open(A)
    assert desk.state(A).state == "resting"
    rest(desk)
    desk.open(A)
    assert takes(desk) == 1


# ------------------------------------------------------------------ the pause


def test_failures_under_way_when_it_opened_do_not_lengthen_the_pause(desk: Desk) -> None:
    fail(desk, times=3)
    until = desk.redis.hget(desk.keys.region(A), "open_until_ms")
    fail(desk, times=5)
    assert desk.redis.hget(desk.keys.region(A), "open_until_ms") == until
    rest(desk)
    fail(desk)
    assert 9000 < desk.state(A).resting_ms <= 10_000, "they did not count as pauses either"


def test_the_pause_grows_and_is_bounded(desk: Desk) -> None:
    fail(desk, times=2)
    for pause_s in (5, 10, 20, 40, 80, 160, 300, 300):
        fail(desk)
        assert (pause_s - 1) * 1000 < desk.state(A).resting_ms <= pause_s * 1000
        rest(desk)


def test_after_a_success_the_pauses_are_short_again(desk: Desk) -> None:
    for _ in range(3):
        half_open(desk)
    desk.ledger.commit(desk.placed(A), "srv")
    fail(desk, times=3)
    assert desk.state(A).resting_ms <= 5000


def test_however_often_it_failed_the_pause_stays_a_number(desk: Desk) -> None:
    fail(desk, times=3)
    desk.redis.hset(desk.keys.region(A), "pauses", 5000)
    rest(desk)
    fail(desk)
    assert 299_000 < desk.state(A).resting_ms <= 300_000


# ------------------------------------------------------------------ half open


def test_half_open_lets_one_probe_through(desk: Desk) -> None:
    half_open(desk)
    assert desk.state(A).state == "up"
    (probe,) = desk.place(A, count=3, partial=True).attempts
    assert desk.place(A).attempts == ()
    assert desk.held(A) == [1]
    assert desk.ledger.commit(probe, "srv")
    assert takes(desk) == 3


def test_the_probe_is_shared_by_all_who_might_start_one(desk: Desk) -> None:
    other = desk.placed(B)
    desk.open(B, instances=1)
    queued = desk.queued(B)
    half_open(desk)
    desk.placed(A)
    neighbour = type(desk)(Ledger(desk.redis, "test", lease_ms=LEASE_MS), desk.redis)
    assert neighbour.place(A, ids=["i-neighbour"]).attempts == ()
    assert desk.served(A) == []
    assert desk.waiting() == [queued]
    assert desk.move(other, A).outcome == "none"


def test_one_who_waited_can_be_the_probe(desk: Desk) -> None:
    desk.open(B, instances=0)
    first, second = desk.queued(B), desk.queued(B)
    half_open(desk)
    assert desk.served(A) == [Attempt(first, 1, A)]
    assert desk.waiting() == [second]
    assert desk.place(A).attempts == ()


def test_one_who_moved_can_be_the_probe(desk: Desk) -> None:
    first, second = desk.placed(B), desk.placed(B)
    half_open(desk)
    assert desk.move(first, A).outcome == "moved"
    assert desk.move(second, A).outcome == "none"


def test_a_probe_that_fails_opens_it_again_for_longer(desk: Desk) -> None:
    half_open(desk)
    desk.placed(A)
    fail(desk)
    assert 9000 < desk.state(A).resting_ms <= 10_000
    assert desk.place(A).attempts == ()
    rest(desk)
    assert desk.placed(A), "the failed probe is not waited for"


def test_a_probe_whose_caller_died_gives_way_when_its_lease_is_over(desk: Desk) -> None:
    half_open(desk)
    desk.placed(A)
    desk.later(desk.keys.region(A), "probe_until_ms", LEASE_MS - 5000)
    assert desk.place(A).attempts == ()
    desk.later(desk.keys.region(A), "probe_until_ms", 5000)
    assert desk.place(A, count=3, partial=True).free == 1
    assert desk.place(A).attempts == ()


def test_a_server_that_is_seen_is_no_answer_to_a_probe(desk: Desk) -> None:
    """It shows that the cloud lists, and not that it takes creates."""
    running = desk.active(A)
    half_open(desk)
    desk.placed(A)
    desk.ledger.observe(running, server_id="srv", status=Status.ACTIVE, addresses=())
    assert desk.place(A).attempts == ()


# ------------------------------------------------------------------ by the provider's wish


def test_a_region_that_asked_for_a_pause_gets_it_and_is_then_used_as_before(desk: Desk) -> None:
    fail(desk, times=2)
    desk.ledger.report(A, "too many requests", "paused", pause_s=30)
    assert desk.state(A).state == "resting"
    assert 29_000 < desk.state(A).resting_ms <= 30_000
    assert takes(desk) == 0
    desk.later(desk.keys.region(A), "paused_until_ms", 30_000)
    assert desk.state(A).state == "up"
    assert takes(desk) == 3, "it is no failure: there is nothing to probe"


def test_the_longest_pause_that_was_asked_for_counts(desk: Desk) -> None:
    for pause_s in (60, 5):
        desk.ledger.report(A, "too many requests", "paused", pause_s=pause_s)
    assert desk.state(A).resting_ms > 50_000


def test_neither_a_late_success_nor_a_sweep_ends_a_pause_that_was_asked_for(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.ledger.report(A, "too many requests", "paused", pause_s=60)
    fail(desk, times=3)
    desk.ledger.commit(attempt, "srv")
    desk.open(A)
    assert desk.state(A).resting_ms > 50_000
    assert takes(desk) == 0


def test_failures_within_a_pause_open_the_breaker_all_the_same(desk: Desk) -> None:
    desk.ledger.report(A, "too many requests", "paused", pause_s=1)
    fail(desk, times=3)
    desk.later(desk.keys.region(A), "paused_until_ms", 1000)
    assert takes(desk) == 0
    rest(desk)
    assert takes(desk) == 1


# ------------------------------------------------------------------ drained


def test_a_drained_region_takes_nothing_until_it_is_opened(desk: Desk) -> None:
    there, elsewhere = desk.active(A), desk.placed(B)
    desk.open(B, instances=1)
    queued = desk.queued(B)
    desk.ledger.drain(A, "maintenance")
    desk.open(A)
    assert (desk.state(A).state, desk.state(A).drained) == ("drained", "maintenance")
    assert desk.place(A).attempts == ()
    assert desk.served(A) == []
    assert desk.move(elsewhere, A).outcome == "none"
    assert desk.get(there).status == Status.ACTIVE
    assert desk.held(A) == [1]
    desk.ledger.open(A)
    assert (desk.state(A).state, desk.state(A).drained) == ("up", None)
    assert desk.served(A) == [Attempt(queued, 1, A)]


def test_a_region_can_be_drained_before_it_was_ever_swept(desk: Desk) -> None:
    desk.ledger.drain("new/One", "")
    desk.open("new/One")
    assert [it.state for it in desk.ledger.regions()].count("drained") == 1
    assert desk.place("new/One").attempts == ()
    assert desk.state("new/One").cap[:3] == (20, 999, 999)
