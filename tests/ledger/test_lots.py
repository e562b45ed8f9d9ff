"""release_all and observe_all: many attempts of a region in one act count as each by itself."""

import pytest

from openmultistack.domain.models import Status
from openmultistack.ledger import Attempt, Gone, Seen
from openmultistack.ledger.acts import AT_ONCE
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Two regions are up."""
    desk.open(A, B, instances=3 * AT_ONCE)


def gone(desk: Desk, attempt: Attempt, **more: object) -> Gone:
    """Return an attempt as one whose server the cloud does not have."""
    instance = desk.get(attempt)
    return Gone(
        **{"attempt": attempt, "owner": instance.identity.owner, "instance": instance} | more
    )


def seen(attempt: Attempt, status: Status = Status.ACTIVE) -> Seen:
    """Return an attempt as one whose server the cloud shows."""
    return Seen(attempt, f"srv-{attempt.instance_id}", status, ())


def test_a_lot_of_many_owners_is_freed_and_each_ends_where_it_was_listed(desk: Desk) -> None:
    alices = desk.place(A, count=3, labels={"job": "7"}).attempts
    (bobs,) = desk.place(A, owner="bob").attempts
    kept = desk.active(A, owner="bob", labels={"job": "7"})
    lot = [gone(desk, it, why="gone") for it in (*alices, bobs)]
    assert desk.ledger.release_all(lot) == [True] * 4
    assert desk.held(A) == [1]
    assert {desk.get(it).status for it in (*alices, bobs)} == {Status.DELETED}
    assert desk.members(desk.keys.labelled("alice", "job", "7")) == []
    assert desk.members(desk.keys.live("alice")) == []
    assert desk.members(desk.keys.live("bob")) == [kept.instance_id]
    assert desk.members(desk.keys.gone("alice")) == sorted(it.instance_id for it in alices)
    assert desk.members(desk.keys.gone("bob")) == [bobs.instance_id]
    assert all(desk.events(it)[-1] == "deleted" for it in (*alices, bobs))


def test_a_lot_tells_of_each_whether_it_held_a_slot(desk: Desk) -> None:
    first, second = desk.place(A, count=2).attempts
    desk.end(first)
    lot = [gone(desk, it, why="gone") for it in (first, second, second)]
    assert desk.ledger.release_all(lot) == [False, True, False]
    assert desk.held(A) == [0]
    assert desk.events(second).count("deleted") == 1


def test_in_a_lot_one_in_error_stays_unless_it_is_to_end(desk: Desk) -> None:
    stays, ends = desk.place(A, count=2).attempts
    for it in (stays, ends):
        desk.ledger.fail(it, "broken")
    lot = [gone(desk, stays, why="gone"), gone(desk, ends, why="gone", end=True)]
    assert desk.ledger.release_all(lot) == [True, True]
    assert [desk.get(it).status for it in (stays, ends)] == [Status.ERROR, Status.DELETED]
    assert desk.members(desk.keys.live("alice")) == [stays.instance_id]


def test_a_superseded_attempt_in_a_lot_gives_its_slot_back_and_no_more(desk: Desk) -> None:
    old, other = desk.place(A, count=2).attempts
    moved = desk.move(old, B, keep=True)
    lot = [gone(desk, old, why="gone"), gone(desk, other, why="gone")]
    assert desk.ledger.release_all(lot) == [True, True]
    assert desk.held(A, B) == [0, 1]
    assert desk.get(moved.attempt).status == Status.BUILD


def test_more_than_one_act_takes_are_all_freed(desk: Desk) -> None:
    count = 2 * AT_ONCE + 1
    attempts = [it for _ in range(3) for it in desk.place(A, count=AT_ONCE).attempts][:count]
    lot = [gone(desk, it, why="gone") for it in attempts]
    assert desk.ledger.release_all(lot) == [True] * count
    assert desk.held(A) == [3 * AT_ONCE - count]


def test_nothing_is_asked_for_an_empty_lot(desk: Desk) -> None:
    assert desk.ledger.release_all([]) == []
    desk.ledger.observe_all([])


def test_a_lot_that_was_built_is_active_and_builds_no_more(desk: Desk) -> None:
    attempts = desk.place(A, count=3).attempts
    moved = desk.move(attempts[0], B, keep=True)
    desk.ledger.observe_all([*map(seen, attempts[:2]), seen(attempts[2], Status.BUILD)])
    assert [desk.get(it).status for it in attempts] == [Status.BUILD, Status.ACTIVE, Status.BUILD]
    assert desk.get(moved.attempt).server_id is None
    assert desk.slots(A)[attempts[0].instance_id, 1].server_id == f"srv-{attempts[0].instance_id}"
    assert desk.state(A).building == 1
    desk.check(A, B)


def test_what_holds_no_slot_is_not_observed(desk: Desk) -> None:
    first, second = desk.place(A, count=2).attempts
    desk.end(first)
    desk.ledger.observe_all([seen(first), seen(second)])
    assert [desk.get(it).status for it in (first, second)] == [Status.DELETED, Status.ACTIVE]
    assert desk.state(A).building == 0
