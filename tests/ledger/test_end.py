"""destroy, renew and release: how long an instance lives, and how it ends."""

import pytest

from openmultistack.domain.models import Resources, Status
from openmultistack.ledger import Attempt
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Two regions are up."""
    desk.open(A, B)


def destroyed(desk: Desk, attempt: Attempt, **more: object) -> str:
    """Destroy an instance as it is known now."""
    return str(desk.ledger.destroy(desk.get(attempt), **{"why": "its owner"} | more))


# ------------------------------------------------------------------ destroy


def test_a_destroyed_instance_holds_its_slot_until_the_cloud_shows_no_server(desk: Desk) -> None:
    attempt = desk.active(A)
    assert destroyed(desk, attempt) == "DELETING"
    assert desk.get(attempt).status == Status.DELETING
    assert desk.held(A) == [1]
    assert desk.members(desk.keys.due) == []
    assert desk.members(desk.keys.live("alice")) == [attempt.instance_id]


def test_a_repeated_destroy_says_the_same_and_is_told_once(desk: Desk) -> None:
    attempt = desk.active(A)
    assert [destroyed(desk, attempt) for _ in range(2)] == ["DELETING", "DELETING"]
    assert desk.events(attempt).count("deleting") == 1


def test_an_instance_that_holds_no_slot_is_empty_and_can_be_released_at_once(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.ledger.fail(attempt, "broken")
    desk.end(attempt)
    assert destroyed(desk, attempt) == "EMPTY"
    desk.end(attempt)
    assert desk.get(attempt).status == Status.DELETED
    assert destroyed(desk, attempt) == "DELETED"


def test_an_empty_instance_whose_release_was_lost_is_due_at_once(desk: Desk) -> None:
    """No sweep meets an instance without a slot: if the caller dies, only `due` is left."""
    attempt = desk.placed(A)
    desk.ledger.fail(attempt, "broken")
    desk.end(attempt)
    assert destroyed(desk, attempt) == "EMPTY"
    assert desk.ledger.due(10) == [attempt.instance_id]
    assert destroyed(desk, attempt, only_if="due") == "EMPTY"
    desk.end(attempt)
    assert desk.ledger.due(10) == []
    assert desk.get(attempt).status == Status.DELETED


def test_a_destroy_that_knew_an_older_attempt_is_told_to_read_again(desk: Desk) -> None:
    first = desk.placed(A)
    known = desk.get(first)
    desk.move(first, B)
    assert desk.ledger.destroy(known, why="its owner") == "MOVED"
    assert desk.get(first).status == Status.BUILD
    assert desk.ledger.destroy(desk.get(first), why="its owner") == "DELETING"


def test_a_forgotten_instance_is_missing_and_due_no_more(desk: Desk) -> None:
    attempt = desk.placed(A)
    known = desk.get(attempt)
    desk.redis.delete(desk.keys.record(attempt.instance_id))
    assert desk.ledger.destroy(known, why="its owner") == "MISSING"
    assert desk.members(desk.keys.due) == []
    assert desk.ledger.get([attempt.instance_id]) == []


def test_only_what_is_due_is_ended_for_its_time(desk: Desk) -> None:
    early, late = desk.placed(A, ttl_ms=0), desk.placed(A)
    assert desk.ledger.due(10) == [early.instance_id]
    assert destroyed(desk, late, only_if="due") == "WANTED"
    assert desk.get(late).status == Status.BUILD
    assert destroyed(desk, early, only_if="due") == "DELETING"
    assert desk.ledger.due(10) == []
    assert destroyed(desk, late) == "DELETING"


def test_a_renewal_that_comes_between_wins_over_what_was_due(desk: Desk) -> None:
    attempt = desk.placed(A, ttl_ms=0)
    known = desk.get(attempt)
    assert desk.ledger.due(10) == [attempt.instance_id]
    assert desk.ledger.renew(attempt.instance_id, 60_000)
    assert desk.ledger.destroy(known, why="its time is up", only_if="due") == "WANTED"
    assert desk.get(attempt).status == Status.BUILD
    assert desk.members(desk.keys.due) == [attempt.instance_id]


# ------------------------------------------------------------------ renew


@pytest.mark.parametrize("state", ["BUILD", "ACTIVE", "ERROR"])
def test_a_living_instances_expiry_moves_to_ttl_from_now(desk: Desk, state: str) -> None:
    attempt = desk.active(A) if state == "ACTIVE" else desk.placed(A)
    if state == "ERROR":
        desk.ledger.fail(attempt, "broken")
    before = desk.ledger.now_ms()
    assert desk.ledger.renew(attempt.instance_id, 5000)
    expires = desk.get(attempt).identity.expires_at_ms
    assert before + 5000 <= expires <= desk.ledger.now_ms() + 5000
    assert desk.redis.zscore(desk.keys.due, attempt.instance_id) == expires
    assert desk.get(attempt).status == state
    assert desk.ledger.events(attempt.instance_id)[-1]["why"] == "expires in 5 s"


def test_what_lives_no_more_is_not_renewed(desk: Desk) -> None:
    attempt = desk.active(A)
    destroyed(desk, attempt)
    assert not desk.ledger.renew(attempt.instance_id, 5000)
    assert desk.members(desk.keys.due) == []
    desk.end(attempt)
    remembered = desk.redis.zscore(desk.keys.due, attempt.instance_id)
    assert not desk.ledger.renew(attempt.instance_id, 5000)
    assert desk.redis.zscore(desk.keys.due, attempt.instance_id) == remembered
    assert not desk.ledger.renew("i-unknown", 5000)
    assert desk.members(desk.keys.due) == [attempt.instance_id]


# ------------------------------------------------------------------ release


def test_a_release_frees_every_counter_once(desk: Desk) -> None:
    attempt = desk.placed(desk.offer(A, 3, 300))
    desk.placed(desk.offer(A, 1, 100))
    assert desk.end(attempt)
    assert not desk.end(attempt)
    (state,) = desk.ledger.regions([A])
    assert state.held == Resources(instances=1, vcpus=1, ram_mb=100)
    assert desk.events(attempt).count("deleted") == 1


def test_an_instance_whose_slot_is_freed_is_over_and_moves_to_the_gone(desk: Desk) -> None:
    attempt = desk.active(A, labels={"job": "7"})
    destroyed(desk, attempt)
    before = desk.ledger.now_ms()
    assert desk.end(attempt)
    instance = desk.get(attempt)
    assert (instance.status, instance.server_id, instance.addresses) == (Status.DELETED, None, ())
    assert instance.order is None
    assert desk.members(desk.keys.live("alice")) == []
    assert desk.members(desk.keys.labelled("alice", "job", "7")) == []
    assert desk.members(desk.keys.gone("alice")) == [attempt.instance_id]
    day_ms = 24 * 3600 * 1000
    assert desk.redis.zscore(desk.keys.due, attempt.instance_id) >= before + day_ms
    assert desk.ledger.due(10) == []


def test_a_superseded_attempts_slot_is_freed_and_the_instance_lives_on(desk: Desk) -> None:
    first = desk.placed(A)
    desk.move(first, B, keep=True)
    assert desk.held(A, B) == [1, 1]
    assert desk.end(first)
    assert desk.held(A, B) == [0, 1]
    assert desk.get(first).status == Status.BUILD
    assert desk.members(desk.keys.live("alice")) == [first.instance_id]


def test_an_instance_in_error_stays_to_be_seen_until_it_is_ended(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.ledger.commit(attempt, "srv")
    desk.ledger.fail(attempt, "broken")
    assert desk.end(attempt)
    instance = desk.get(attempt)
    assert (instance.status, instance.error, instance.server_id) == (Status.ERROR, "broken", None)
    assert desk.members(desk.keys.live("alice")) == [attempt.instance_id]
    assert not desk.end(attempt, end=True)
    assert desk.get(attempt).status == Status.DELETED
    assert desk.members(desk.keys.live("alice")) == []


def test_a_slot_of_an_instance_that_nobody_knows_can_be_freed(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.redis.delete(desk.keys.record(attempt.instance_id))
    assert desk.end(attempt)
    assert desk.held(A) == [0]


def test_a_freed_slot_is_given_out_again(desk: Desk) -> None:
    desk.open(A, instances=1)
    attempt = desk.placed(A)
    assert desk.place(A).attempts == ()
    desk.end(attempt)
    assert desk.placed(A)


def test_bounded_a_story_keeps_its_newest_events(desk: Desk) -> None:
    attempt = desk.placed(A)
    for ttl_s in range(1, 100):
        desk.ledger.renew(attempt.instance_id, ttl_s * 1000)
    events = desk.ledger.events(attempt.instance_id)
    assert len(events) == 50
    assert events[-1]["why"] == "expires in 99 s"
