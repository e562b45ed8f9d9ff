"""Bounds of a region beside its quota: how many servers build at once, how many start a minute."""

import pytest

from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Instance, Resources, Status
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
NEED = Resources(instances=1, vcpus=1, ram_mb=1)


def found(instance_id: str) -> Instance:
    """Return what a server's marks tell."""
    return Instance(
        id=instance_id,
        identity=Identity("bob", "n", {}, 1, 4_000_000_000_000),
        status=Status.BUILD,
        region=A,
        server_id="srv",
        image="i",
        flavor="f",
        attempt=1,
    )


# ------------------------------------------------------------------ max_building


def test_only_so_many_build_at_once(desk: Desk) -> None:
    desk.open(A, max_building=2)
    attempts = desk.place(A, count=5, partial=True).attempts
    assert len(attempts) == 2
    assert (desk.state(A).building, desk.state(A).max_building) == (2, 2)
    assert desk.place(A).attempts == ()
    desk.check(A)


def test_a_server_builds_until_it_is_seen_active(desk: Desk) -> None:
    desk.open(A, max_building=1)
    attempt = desk.placed(A)
    desk.ledger.commit(attempt, "srv")
    for status, building in ((Status.BUILD, 1), (Status.ACTIVE, 0), (Status.ACTIVE, 0)):
        desk.ledger.observe(attempt, server_id="srv", status=status, addresses=())
        assert desk.state(A).building == building
    assert desk.ledger.commit(attempt, "srv")
    assert desk.placed(A)
    assert desk.held(A) == [2]


def test_one_that_never_came_up_leaves_its_place_when_it_is_gone(desk: Desk) -> None:
    desk.open(A, B, max_building=1)
    attempt = desk.placed(A)
    desk.ledger.destroy(desk.get(attempt), why="its owner")
    assert desk.place(A).attempts == ()
    assert desk.end(attempt)
    assert not desk.end(attempt)
    assert desk.state(A).building == 0
    second = desk.placed(A)
    assert desk.move(second, B).outcome == "moved"
    assert [desk.state(it).building for it in (A, B)] == [0, 1]
    desk.held(A, B)


def test_an_attempt_that_is_kept_after_its_failure_still_builds(desk: Desk) -> None:
    desk.open(A, B, max_building=1)
    first = desk.placed(A)
    desk.move(first, B, keep=True)
    assert [desk.state(it).building for it in (A, B)] == [1, 1]
    desk.ledger.observe(first, server_id="srv", status=Status.ACTIVE, addresses=())
    assert desk.state(A).building == 0


@pytest.mark.parametrize("building", [True, False])
def test_an_adopted_server_counts_if_it_builds(desk: Desk, *, building: bool) -> None:
    desk.open(A, max_building=1)
    for _ in range(2):
        desk.ledger.hold(found("i-found"), NEED, building=building)
    assert desk.state(A).building == int(building)
    assert len(desk.place(A).attempts) == int(not building)
    desk.check(A)


def test_serve_and_move_obey_it_too(desk: Desk) -> None:
    desk.open(A, instances=0)
    desk.open(B)
    first, second = desk.queued(A), desk.queued(A)
    other = desk.placed(B)
    desk.open(A, max_building=1)
    (attempt,) = desk.served(A)
    assert attempt.instance_id == first
    assert desk.waiting() == [second]
    assert desk.move(other, A).outcome == "none"


def test_a_sweep_can_take_the_bounds_away(desk: Desk) -> None:
    desk.open(A, max_building=0, starts_per_minute=1)
    assert desk.place(A).attempts == ()
    desk.open(A)
    assert (desk.state(A).max_building, desk.state(A).starts_per_minute) == (None, None)
    assert len(desk.place(A, count=9).attempts) == 9


# ------------------------------------------------------------------ starts_per_minute


@pytest.mark.parametrize(("per_minute", "at_once"), [(1, 1), (6, 1), (12, 2), (30, 5)])
def test_a_sixth_of_a_minutes_starts_may_come_at_once(
    desk: Desk, per_minute: int, at_once: int
) -> None:
    desk.open(A, starts_per_minute=per_minute)
    assert desk.place(A, count=20, partial=True).free == at_once
    assert desk.state(A).starts_per_minute == per_minute


def test_starts_come_back_evenly_and_are_never_saved_up(desk: Desk) -> None:
    desk.open(A, starts_per_minute=12)
    region = desk.keys.region(A)
    assert len(desk.place(A, count=3, partial=True).attempts) == 2
    assert desk.place(A).attempts == ()
    desk.later(region, "starts_at_ms", 5000)
    assert desk.place(A, count=3, partial=True).free == 1
    desk.later(region, "starts_at_ms", 3_600_000)
    assert desk.place(A, count=9, partial=True).free == 2


def test_a_slot_that_is_given_back_does_not_give_back_its_start(desk: Desk) -> None:
    desk.open(A, starts_per_minute=1)
    desk.end(desk.placed(A))
    assert desk.place(A).attempts == ()


def test_a_server_that_is_adopted_was_not_started(desk: Desk) -> None:
    desk.open(A, starts_per_minute=1)
    desk.ledger.hold(found("i-found"), NEED, building=True)
    assert desk.placed(A)


def test_a_serve_and_a_move_are_starts(desk: Desk) -> None:
    desk.open(A, instances=0)
    desk.open(B)
    first, second = desk.queued(A), desk.queued(A)
    moving, staying = desk.placed(B), desk.placed(B)
    desk.open(A, starts_per_minute=12)
    assert desk.move(moving, A).outcome == "moved"
    assert [it.instance_id for it in desk.served(A)] == [first]
    assert desk.waiting() == [second]
    assert desk.move(staying, A).outcome == "none"
