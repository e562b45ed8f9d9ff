"""The queue: who waits, for how long, and who is served first."""

import random

import pytest

from openmultistack.domain.models import Quota, Resources, Status
from openmultistack.ledger import Attempt, Served, Waiting
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
WAITING = Waiting(priority=10, max_queued=100, wait_ms=600_000, max_of_owner=100)
HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Let one region be full; another, of one slot, is not named unless it matters."""
    desk.open(A, instances=0)
    desk.open(B, instances=1)


# ------------------------------------------------------------------ waiting


def test_one_that_no_region_has_room_for_waits_and_holds_nothing(desk: Desk) -> None:
    waits = desk.queued(A, labels={"job": "7"})
    instance = desk.get(waits)
    assert (instance.status, instance.region, instance.attempt) == (Status.QUEUED, "", 0)
    assert (instance.image, instance.flavor, instance.promised) == ("debian", "small", True)
    assert instance.order is not None
    assert desk.held(A, B) == [0, 0]
    assert desk.members(desk.keys.live("alice")) == [waits]
    assert desk.members(desk.keys.labelled("alice", "job", "7")) == [waits]
    (event,) = desk.ledger.events(waits)
    assert (event["what"], event["why"]) == ("queued", "no region has a free slot for it")


def test_what_fits_is_placed_and_only_the_rest_waits(desk: Desk) -> None:
    desk.open(A, instances=3)
    ids = desk.new_ids(5)
    admitted = desk.place(A, ids=ids, waiting=WAITING)
    assert [it.instance_id for it in admitted.attempts] == ids[:3]
    assert list(admitted.queued) == desk.waiting() == ids[3:]
    assert desk.held(A) == [3]
    first, last = desk.get(ids[0]), desk.get(ids[4])
    assert first.identity.expires_at_ms == admitted.created_at_ms + HOUR_MS
    assert last.identity.expires_at_ms == admitted.created_at_ms + WAITING.wait_ms
    assert [desk.redis.zscore(desk.keys.due, it.id) for it in (first, last)] == [
        first.identity.expires_at_ms,
        last.identity.expires_at_ms,
    ]


def test_a_repeat_of_a_command_of_which_some_wait_gets_the_same_answer(desk: Desk) -> None:
    desk.open(A, instances=1)
    ids = desk.new_ids(3)
    first = desk.place(A, ids=ids, waiting=WAITING)
    again = desk.place(A, ids=ids, waiting=WAITING)
    assert (again.attempts, again.queued) == (first.attempts, first.queued)
    assert desk.waiting() == ids[1:]


def test_bounded_a_command_beyond_the_queues_bound_does_nothing(desk: Desk) -> None:
    bound = WAITING._replace(max_queued=2)
    desk.open(A, instances=1)
    assert desk.place(A, count=4, waiting=bound).outcome == "queue_full"
    assert (desk.held(A), desk.waiting()) == ([0], [])
    assert desk.place(A, count=3, waiting=bound).outcome == "placed"
    before = set(desk.redis.keys())
    assert desk.place(A, waiting=bound).outcome == "queue_full"
    assert len(desk.waiting()) == 2
    assert set(desk.redis.keys()) == before


def test_bounded_one_owners_waiting_leaves_room_for_others(desk: Desk) -> None:
    bound = WAITING._replace(max_queued=4, max_of_owner=2)
    desk.open(A, instances=0)
    assert desk.place(A, owner="alice", count=3, waiting=bound).outcome == "owner_queue_full"
    assert desk.waiting() == []
    assert desk.place(A, owner="alice", count=2, waiting=bound).outcome == "placed"
    before = set(desk.redis.keys())
    assert desk.place(A, owner="alice", waiting=bound).outcome == "owner_queue_full"
    assert set(desk.redis.keys()) == before
    assert desk.place(A, owner="bob", count=2, waiting=bound).outcome == "placed"
    assert desk.place(A, owner="cleo", waiting=bound).outcome == "queue_full"


def test_what_does_not_need_the_queue_is_placed_though_it_is_full(desk: Desk) -> None:
    desk.queued(A)
    assert desk.place(B, waiting=WAITING._replace(max_queued=1)).attempts


# ------------------------------------------------------------------ order


def test_the_order_is_priority_then_who_holds_least_then_first_come(desk: Desk) -> None:
    desk.open(B, instances=9)
    desk.place(B, count=2, owner="alice")
    desk.place(B, count=1, owner="bob")
    alice = [desk.queued(A, owner="alice") for _ in range(2)]
    bob = [desk.queued(A, owner="bob") for _ in range(2)]
    carol = desk.queued(A, owner="carol")
    urgent = desk.queued(A, owner="alice", priority=1)
    idle = desk.queued(A, owner="dave", priority=99)
    # With the urgent one alice holds 3; until bob does too, his go first.
    assert desk.waiting() == [urgent, carol, *bob, *alice, idle]


def test_owners_who_hold_the_same_take_turns(desk: Desk) -> None:
    alice = [desk.queued(A, owner="alice") for _ in range(3)]
    bob = [desk.queued(A, owner="bob") for _ in range(2)]
    assert desk.waiting() == [alice[0], bob[0], alice[1], bob[1], alice[2]]


def test_awkward_owners_come_back_as_they_went_in(desk: Desk) -> None:
    desk.queued(A, owner="a/b:c%é {}")
    (waits,) = desk.ledger.queue()
    assert (waits.owner, waits.priority) == ("a/b:c%é {}", 10)


# ------------------------------------------------------------------ serving


def test_room_goes_to_the_first_in_the_order_as_far_as_it_reaches(desk: Desk) -> None:
    first, second, third = (desk.queued(A) for _ in range(3))
    desk.open(A, instances=2)
    assert desk.served(A) == [Attempt(first, 1, A), Attempt(second, 1, A)]
    assert desk.waiting() == [third]
    assert desk.held(A) == [2]
    assert desk.served(A) == []


def test_who_is_served_is_an_instance_in_build_like_any_other(desk: Desk) -> None:
    waits = desk.queued(A, ttl_ms=HOUR_MS)
    desk.open(A)
    before = desk.ledger.now_ms()
    (attempt,) = desk.served(A, offer=desk.offer(A, 2, 512))
    instance, slot = desk.get(waits), desk.slots(A)[waits, 1]
    assert (instance.status, instance.region, instance.attempt) == (Status.BUILD, A, 1)
    assert (instance.flavor, instance.image) == (f"flavor-{A}", f"image-{A}")
    assert before + HOUR_MS <= instance.identity.expires_at_ms <= desk.ledger.now_ms() + HOUR_MS
    assert desk.redis.zscore(desk.keys.due, waits) == instance.identity.expires_at_ms
    assert (slot.owner, slot.need.vcpus, slot.need.ram_mb) == ("alice", 2, 512)
    assert slot.lease_until_ms == slot.since_ms + 60_000
    assert desk.events(attempt) == ["queued", "placed"]
    assert desk.ledger.commit(attempt, "srv")
    assert desk.held(A) == [1]


def test_those_too_large_for_what_is_left_do_not_block_the_small_ones(desk: Desk) -> None:
    large, small = desk.queued(A), desk.queued(A)
    desk.open(A, vcpus=2)
    waiting = [
        Served(desk.get(large), desk.offer(A, 3)),
        Served(desk.get(small), desk.offer(A, 1)),
    ]
    attempts, more = desk.ledger.serve(A, waiting)
    assert [it.instance_id for it in attempts] == [small]
    assert more
    assert desk.waiting() == [large]


def test_it_is_told_when_nothing_more_would_fit(desk: Desk) -> None:
    waits = desk.queued(A)
    desk.open(A, instances=1)
    assert desk.ledger.serve(A, [Served(desk.get(waits), desk.offer(A))])[1] is False
    assert desk.ledger.serve(A, []) == ({}, False)


def test_owners_at_their_quota_are_skipped_and_others_are_not(desk: Desk) -> None:
    desk.open(B, instances=9)
    desk.place(B, owner="alice")
    quota = Quota(instances=2)
    alice = [desk.queued(A, owner="alice", quota=quota) for _ in range(2)]
    bob = [desk.queued(A, owner="bob") for _ in range(3)]
    desk.open(A, instances=9)
    assert {it.instance_id for it in desk.served(A)} == {alice[0], *bob}
    assert desk.waiting() == [alice[1]]
    assert desk.get(alice[1]).status == Status.QUEUED


@pytest.mark.parametrize("quota", [Quota(vcpus=3), Quota(ram_mb=300)])
def test_every_bound_of_the_quota_counts_when_serving(desk: Desk, quota: Quota) -> None:
    waits = [desk.queued(A, quota=quota) for _ in range(2)]
    desk.open(A)
    assert len(desk.served(A, offer=desk.offer(A, 2, 200))) == 1
    assert desk.waiting() == waits[1:]


def test_one_that_was_served_or_ended_meanwhile_is_not_served_again(desk: Desk) -> None:
    waits, ended = desk.queued(A), desk.queued(A)
    stale = [Served(desk.get(it), desk.offer(A)) for it in (waits, ended)]
    desk.ledger.destroy(desk.get(ended), why="its owner")
    desk.open(A)
    assert [it.instance_id for it in desk.ledger.serve(A, stale)[0]] == [waits]
    assert desk.ledger.serve(A, stale)[0] == {}
    assert desk.held(A) == [1]


def test_a_renewed_wait_lives_that_long_once_it_is_served(desk: Desk) -> None:
    waits = desk.queued(A)
    expires = desk.get(waits).identity.expires_at_ms
    assert desk.ledger.renew(waits, 5000)
    assert desk.get(waits).identity.expires_at_ms == expires
    desk.open(A)
    desk.served(A)
    assert desk.get(waits).identity.expires_at_ms <= desk.ledger.now_ms() + 5000


# ------------------------------------------------------------------ the end of a wait


def test_one_that_waits_is_cancelled_by_its_destroy(desk: Desk) -> None:
    waits, other = desk.queued(A), desk.queued(A)
    assert desk.ledger.destroy(desk.get(waits), why="its owner") == "EMPTY"
    assert desk.waiting() == [other]
    desk.end(Attempt(waits, 0, ""))
    assert desk.get(waits).status == Status.DELETED
    assert desk.members(desk.keys.live("alice")) == [other]
    assert desk.events(Attempt(waits, 0, "")) == ["queued", "deleting", "deleted"]


def test_a_wait_that_is_over_comes_up_as_due(desk: Desk) -> None:
    late = desk.place(A, waiting=WAITING._replace(wait_ms=0)).queued[0]
    waits = desk.queued(A)
    assert desk.ledger.due(10) == [late]
    assert desk.ledger.destroy(desk.get(waits), why="due", only_if="due") == "WANTED"
    assert desk.ledger.destroy(desk.get(late), why="due", only_if="due") == "EMPTY"
    assert desk.waiting() == [waits]


def test_one_that_waits_has_been_promised(desk: Desk) -> None:
    known = desk.get(desk.queued(A))
    assert desk.ledger.destroy(known, why="given up", only_if="unpromised") == "WANTED"
    assert desk.waiting() == [known.id]


def test_a_release_of_an_older_attempt_does_not_end_a_wait(desk: Desk) -> None:
    (first,) = desk.place(B, waiting=WAITING).attempts
    desk.move(first, keep=True, wait=True)
    assert desk.held(B) == [1]
    assert desk.end(first)
    assert desk.held(B) == [0]
    assert desk.waiting() == [first.instance_id]
    assert desk.get(first).status == Status.QUEUED
    assert desk.members(desk.keys.live("alice")) == [first.instance_id]


# ------------------------------------------------------------------ back into the queue


def test_a_failed_attempt_goes_back_and_keeps_its_place_in_time(desk: Desk) -> None:
    (first,) = desk.place(B, waiting=WAITING).attempts
    later = desk.queued(A)
    assert desk.move(first, A, wait=True).outcome == "queued"
    assert desk.waiting() == [first.instance_id, later]
    instance = desk.get(first)
    assert (instance.status, instance.region, instance.error) == (Status.QUEUED, "", None)
    assert instance.tried == {B: "full"}
    assert desk.redis.zscore(desk.keys.due, instance.id) == instance.identity.expires_at_ms
    assert desk.held(B) == [0]
    assert desk.served(B) == [Attempt(first.instance_id, 2, B)]
    assert desk.events(first) == ["placed", "failed", "queued", "placed"]


def test_one_that_can_move_does_not_wait(desk: Desk) -> None:
    desk.open(A)
    (first,) = desk.place(B, waiting=WAITING).attempts
    assert desk.move(first, A, wait=True).outcome == "moved"
    assert desk.waiting() == []


def test_a_late_answer_to_an_older_attempt_does_not_show_as_the_served_ones_server(
    desk: Desk,
) -> None:
    (first,) = desk.place(B, waiting=WAITING).attempts
    desk.move(first, keep=True, wait=True)
    assert desk.ledger.commit(first, "late")  # a sweep adopts it, if it still waits then
    desk.open(A)
    assert desk.served(A) == [Attempt(first.instance_id, 2, A)]
    assert desk.get(first).server_id is None
    assert desk.held(A, B) == [1, 1]


def test_one_whose_server_is_found_though_it_seems_to_wait_waits_no_more(desk: Desk) -> None:
    """A replica took over that had not heard of its being served."""
    waits = desk.queued(A)
    seen = {"attempt": 1, "region": B, "server_id": "srv", "status": Status.BUILD}
    found = desk.get(waits)._replace(**seen)
    assert desk.ledger.hold(found, Resources(instances=1, vcpus=1, ram_mb=1))
    assert desk.get(waits).status == Status.BUILD
    assert desk.members(desk.keys.queue) == []


# ------------------------------------------------------------------ the first in the queue


@pytest.mark.parametrize("limit", [1, 5, 20])
def test_the_first_are_those_that_reading_all_would_give(desk: Desk, limit: int) -> None:
    dice = random.Random(limit)
    desk.open(B, instances=40)
    owners = [f"o/{it}" for it in range(12)]
    for owner in owners:
        for _ in range(dice.randint(0, 4)):
            desk.place(B, owner=owner)
        for _ in range(dice.randint(0, 6)):
            desk.queued(A, owner=owner, priority=dice.choice([-1000, 0, 1000]))
    desk.open(A, instances=99)
    while queue := desk.ledger.queue():
        assert desk.ledger.next_in_queue(limit) == queue[:limit]
        chosen = dice.choice(queue)
        if dice.random() < 0.5:
            desk.ledger.destroy(desk.get(chosen.instance_id), why="its owner")
        else:
            waiting = [Served(desk.get(chosen.instance_id), desk.offer(A))]
            assert len(desk.ledger.serve(A, waiting)[0]) == 1
    assert desk.ledger.next_in_queue(limit) == []


def test_what_an_owner_comes_to_hold_or_gives_back_counts_for_their_turn(desk: Desk) -> None:
    desk.open(B, instances=9)
    alice, bob = desk.queued(A, owner="alice"), desk.queued(A, owner="bob")

    def first() -> str:
        return str(desk.ledger.next_in_queue(1)[0].instance_id)

    assert first() == alice
    held = desk.placed(B, owner="alice")
    assert first() == bob
    desk.end(held)
    assert first() == alice


def test_nothing_is_left_of_a_queue_that_is_empty_again(desk: Desk) -> None:
    desk.open(A, instances=0)
    before = set(desk.redis.keys())
    waits = [desk.queued(A, owner=owner) for owner in ("alice", "bob") for _ in range(2)]
    for it in waits:
        desk.ledger.destroy(desk.get(it), why="its owner")
        desk.end(Attempt(it, 0, ""))
    ended = desk.ledger.get(waits)
    desk.ledger.forget(ended)
    left = set(desk.redis.keys()) - before
    assert all(":usage:" in it and 0 < desk.redis.pttl(it) <= 600_000 for it in left)
