"""move.lua: an attempt failed, and the next one goes elsewhere."""

import pytest

from openmultistack.domain.models import Status
from openmultistack.ledger import Attempt
from tests.support.desk import Desk

A, B, C = "alpha/One", "alpha/Two", "beta/One"


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Three regions are up."""
    desk.open(A, B, C)


def test_a_failed_attempt_frees_its_slot_and_takes_one_elsewhere(desk: Desk) -> None:
    first = desk.placed(desk.offer(A, 4, 400))
    moved = desk.move(first, desk.offer(B, 2, 200))
    assert (moved.outcome, moved.attempt) == ("moved", Attempt(first.instance_id, 2, B))
    assert desk.held(A, B) == [0, 1]
    instance = desk.get(first)
    assert (instance.attempt, instance.region, instance.status) == (2, B, Status.BUILD)
    assert (instance.flavor, instance.image) == (f"flavor-{B}", f"image-{B}")
    slot = desk.slots(B)[first.instance_id, 2]
    assert (slot.need.vcpus, slot.need.ram_mb, slot.server_id) == (2, 200, None)
    assert slot.lease_until_ms == slot.since_ms + 60_000
    assert desk.events(first) == ["placed", "failed", "placed"]


def test_with_keep_the_old_slot_is_held_on(desk: Desk) -> None:
    first = desk.placed(A)
    assert desk.move(first, B, keep=True).outcome == "moved"
    assert desk.held(A, B) == [1, 1]
    assert set(desk.slots(A)) == {(first.instance_id, 1)}


def test_what_the_old_attempt_had_is_not_shown_of_the_new_one(desk: Desk) -> None:
    first = desk.placed(A)
    desk.ledger.commit(first, "srv")
    desk.ledger.observe(first, server_id="srv", status=Status.BUILD, addresses=())
    desk.move(first, B, keep=True)
    assert (desk.get(first).server_id, desk.get(first).addresses) == (None, ())


def test_what_each_region_said_is_remembered(desk: Desk) -> None:
    first = desk.placed(A)
    second = desk.move(first, B, why="full").attempt
    desk.move(second, C, why="no such flavor")
    assert desk.get(first).tried == {A: "full", B: "no such flavor"}


def test_the_next_region_is_chosen_as_by_place(desk: Desk) -> None:
    desk.open(B, instances=10)
    desk.place(B, count=5)
    first, second, third = (desk.placed(A) for _ in range(3))
    assert desk.move(first, B, C).attempt.region == C
    assert desk.move(second, B, C, pick="first").attempt.region == B
    assert desk.move(third, C, B, pick="fullest").attempt.region == B


def test_a_move_never_takes_more_than_there_is(desk: Desk) -> None:
    desk.open(B, instances=1)
    first, second = desk.placed(A), desk.placed(A)
    assert desk.move(first, B).outcome == "moved"
    assert desk.move(second, B).outcome == "none"
    assert desk.held(A, B) == [0, 1]


@pytest.mark.parametrize("keep", [True, False])
def test_with_no_room_anywhere_the_instance_is_in_error_and_says_why(
    desk: Desk, *, keep: bool
) -> None:
    first = desk.placed(A)
    moved = desk.move(first, keep=keep, why="gone")
    assert (moved.outcome, moved.attempt) == ("none", None)
    instance = desk.get(first)
    assert (instance.attempt, instance.region, instance.status) == (1, A, Status.ERROR)
    assert instance.tried == {A: "gone"}
    assert instance.error == f"no region worked: {A}: gone"
    assert instance.order is None
    assert desk.events(first) == ["placed", "failed", "error"]
    assert desk.held(A) == [int(keep)]


@pytest.mark.parametrize("means", ["down", "full"])
def test_a_region_that_is_down_or_full_is_not_moved_to(desk: Desk, means: str) -> None:
    desk.ledger.report(B, "no", means)
    assert desk.move(desk.placed(A), B).outcome == "none"


def test_an_instance_destroyed_meanwhile_moves_nowhere(desk: Desk) -> None:
    first = desk.placed(A)
    desk.ledger.destroy(desk.get(first), why="its owner")
    assert desk.move(first, B).outcome == "ended"
    assert (desk.get(first).status, desk.get(first).attempt) == (Status.DELETING, 1)
    assert desk.held(B) == [0]


def test_an_instance_destroyed_while_its_attempt_failed_is_left_for_the_sweep(desk: Desk) -> None:
    """Without a slot no sweep would meet it again, and it would be DELETING for ever."""
    first = desk.placed(A)
    desk.ledger.destroy(desk.get(first), why="its owner")
    desk.move(first, B)
    slot = desk.slots(A)[first.instance_id, 1]
    assert slot.lease_until_ms is not None
    assert slot.lease_until_ms <= desk.ledger.now_ms()
    assert desk.move(first, B).outcome == "ended"
    desk.end(first)
    assert desk.get(first).status == Status.DELETED
    assert desk.held(A) == [0]


def test_a_server_found_after_all_is_adopted_by_the_slot_that_was_left_for_the_sweep(
    desk: Desk,
) -> None:
    first = desk.placed(A)
    desk.ledger.commit(first, "srv")
    desk.ledger.destroy(desk.get(first), why="its owner")
    desk.move(first, B)
    desk.ledger.observe(first, server_id="srv", status=Status.ACTIVE, addresses=())
    slot = desk.slots(A)[first.instance_id, 1]
    assert (slot.server_id, slot.lease_until_ms) == ("srv", None)


def test_a_destroyed_instance_is_not_tried_again_for_having_been_promised(desk: Desk) -> None:
    second = desk.move(desk.placed(A), B, promised=True).attempt
    desk.ledger.destroy(desk.get(second), why="its owner")
    assert desk.move(second, C, promised=True).outcome == "ended"
    assert desk.get(second).status == Status.DELETING
    assert desk.held(C) == [0]


def test_a_superseded_attempt_moves_nowhere_and_frees_its_own_slot_alone(desk: Desk) -> None:
    first = desk.placed(A)
    desk.move(first, B, keep=True)
    assert desk.move(first, C).outcome == "ended"
    assert desk.held(A, B, C) == [0, 1, 0]
    assert desk.get(first).attempt == 2


def test_an_active_instance_moves_nowhere(desk: Desk) -> None:
    attempt = desk.active(A)
    assert desk.move(attempt, B, keep=True).outcome == "ended"
    assert desk.get(attempt).status == Status.ACTIVE


def test_an_instance_that_is_over_moves_nowhere(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.end(attempt)
    assert desk.move(attempt, B).outcome == "ended"
    assert desk.move(Attempt("i-unknown", 1, A), B).outcome == "ended"
    assert desk.held(A, B) == [0, 0]


def test_a_lost_answer_is_given_again_and_takes_nothing_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = desk.placed(A)
    monkeypatch.setattr("secrets.token_hex", lambda _: "the-same")
    moved = desk.move(first, B, C)
    assert desk.move(first, B, C) == moved
    assert sum(desk.held(A, B, C)) == 1
    assert desk.get(first).attempt == 2
    assert desk.events(first) == ["placed", "failed", "placed"]


def test_two_callers_that_move_the_same_attempt_get_one_move(desk: Desk) -> None:
    first = desk.placed(A)
    assert desk.move(first, B, C).outcome == "moved"
    assert desk.move(first, B, C).outcome == "ended"
    assert sum(desk.held(A, B, C)) == 1


@pytest.mark.parametrize("promised", [True, False])
def test_whether_the_client_was_told_is_kept_with_the_instance(
    desk: Desk, *, promised: bool
) -> None:
    first = desk.placed(A)
    assert not desk.get(first).promised
    second = desk.move(first, B, promised=promised).attempt
    assert desk.get(first).promised is promised
    desk.move(second, C)
    assert desk.get(first).promised is promised, "a promise is not taken back"


def test_a_region_that_is_not_to_blame_is_told_of_and_may_be_tried_again(desk: Desk) -> None:
    first = desk.placed(A)
    second = desk.move(first, B, blame=False, why="full").attempt
    desk.move(second, blame=True, why="broken")
    assert desk.get(first).tried == {B: "broken"}
    assert desk.get(first).error == f"no region worked: {A}: full; {B}: broken"


def test_a_move_within_its_own_region_uses_the_slot_it_frees(desk: Desk) -> None:
    desk.open(A, instances=1)
    moved = desk.move(desk.placed(A), A)
    assert moved.attempt.region == A
    assert desk.held(A) == [1]
