"""The recount: counters that are out of step are made anew from the slots, and only these."""

import pytest

from openmultistack.domain.models import Resources
from tests.support.desk import Desk

A, B, C = "alpha/One", "beta/One", "gamma/One"
NOTHING = ([], 0)
WRONG = pytest.mark.parametrize("by", [5, -5])


@pytest.fixture
def used(desk: Desk) -> Desk:
    """Return a desk with two regions in which two owners have something; one of it is built."""
    desk.open(A, B)
    desk.active(A)
    desk.placed(desk.offer(A, 2, 3))
    desk.placed(desk.offer(B, 4, 5), owner="bob")
    assert desk.ledger.recount() == NOTHING
    return desk


@WRONG
@pytest.mark.parametrize("counter", ["held_vcpus", "held_ram_mb", "building"])
def test_a_wrong_counter_of_a_region_is_made_anew(used: Desk, counter: str, by: int) -> None:
    before, shares = used.redis.hgetall(used.keys.region(A)), used.redis.get(used.keys.shares)
    used.redis.hincrby(used.keys.region(A), counter, by)
    assert used.ledger.recount() == ([A], 0)
    assert used.redis.hgetall(used.keys.region(A)) == before
    assert used.redis.get(used.keys.shares) == shares
    assert used.ledger.recount() == NOTHING


def test_what_a_region_has_free_is_shown_anew(used: Desk) -> None:
    right = used.redis.get(used.keys.shares)
    used.redis.hincrby(used.keys.region(A), "held_vcpus", 900)
    used.open(A)  # a sweep takes the wrong count for right
    assert used.redis.get(used.keys.shares) != right
    used.ledger.recount()
    assert used.redis.get(used.keys.shares) == right


def test_a_region_that_was_forgotten_has_its_counters_back(used: Desk) -> None:
    used.redis.delete(used.keys.region(A))
    assert used.ledger.recount() == ([A], 0)
    used.check(A, B)


@WRONG
@pytest.mark.parametrize("counter", ["instances", "vcpus", "ram_mb"])
def test_a_wrong_count_of_an_owner_is_made_anew(used: Desk, counter: str, by: int) -> None:
    before = used.redis.hgetall(used.keys.usage("alice"))
    used.redis.hincrby(used.keys.usage("alice"), counter, by)
    assert used.ledger.recount() == ([], 1)
    assert used.redis.hgetall(used.keys.usage("alice")) == before
    assert used.ledger.recount() == NOTHING


def test_an_owner_whose_usage_is_lost_or_about_to_go_has_it_for_good(used: Desk) -> None:
    right = used.ledger.usage(["alice", "bob"])
    used.redis.delete(used.keys.usage("bob"))
    used.redis.hset(used.keys.usage("alice"), "vcpus", 0)
    used.redis.expire(used.keys.usage("alice"), 600)
    assert used.ledger.recount() == ([], 2)
    assert used.ledger.usage(["alice", "bob"]) == right
    assert used.redis.ttl(used.keys.usage("alice")) == used.redis.ttl(used.keys.usage("bob")) == -1


def test_slots_that_went_with_their_region_count_for_nobody(used: Desk) -> None:
    used.ledger.forget_regions([B])
    assert used.ledger.recount() == ([], 1)
    assert used.ledger.usage(["bob"])["bob"] == Resources()
    assert used.redis.ttl(used.keys.usage("bob")) > 0, "who holds nothing is remembered a little"
    used.ledger.recount()
    assert used.redis.smembers(used.keys.owners) == {"alice"}


def test_an_owner_without_slots_is_looked_at_when_refused(used: Desk) -> None:
    used.redis.hset(used.keys.usage("carol"), "instances", 9)
    assert used.ledger.recount() == NOTHING
    used.ledger.doubt_usage("carol")
    assert used.ledger.recount() == ([], 1)
    assert used.ledger.usage(["carol"])["carol"] == Resources()


def test_an_owner_without_slots_who_waits_comes_forward_as_what_they_hold_is_right(
    used: Desk,
) -> None:
    used.open(C, instances=0)
    used.redis.hset(used.keys.usage("carol"), "instances", 9)
    behind = used.queued(C, owner="carol")
    ahead = used.queued(C, owner="bob")
    assert [it.instance_id for it in used.ledger.next_in_queue(2)] == [ahead, behind]
    assert used.ledger.recount() == ([], 1)
    assert [it.instance_id for it in used.ledger.next_in_queue(2)] == [behind, ahead]


def test_what_is_placed_while_it_is_read_is_not_counted_twice(used: Desk) -> None:
    held = used.ledger._read_slots(used.ledger._all_places())[1]  # noqa: SLF001  between two steps
    used.placed(A)
    wrong = used.ledger._wrong_owners(["alice", "bob"], held)  # noqa: SLF001
    assert wrong == ["alice"]
    assert used.ledger._recount_owners(wrong, used.ledger._all_places()) == 0  # noqa: SLF001
    used.check(A, B)


def test_a_region_that_comes_up_meanwhile_is_not_left_out(used: Desk) -> None:
    known = used.ledger._all_places()  # noqa: SLF001  what was read before it came up
    used.open(C)
    used.placed(C)
    assert used.ledger._recount_owners(["alice"], known) == 0  # noqa: SLF001
    used.check(A, B, C)


def test_a_region_that_was_forgotten_and_is_back_takes_no_further_place_in_the_shares(
    used: Desk,
) -> None:
    numbers, shares = used.redis.hgetall(used.keys.numbers), used.redis.get(used.keys.shares)
    for _ in range(3):
        used.ledger.forget_regions([A])
        used.open(A)
    assert used.redis.hgetall(used.keys.numbers) == numbers
    assert len(used.redis.get(used.keys.shares)) == len(shares)
    assert used.place(A, B, count=2).outcome == "placed", "and is chosen by it"


@pytest.mark.parametrize("owner", ["zoë", 'a"b\\c', '"owner":"bob"', "a/b\n"])
def test_an_owner_of_any_name_is_counted_by_all_that_they_hold(used: Desk, owner: str) -> None:
    used.placed(used.offer(A, 3, 4), owner=owner)
    used.redis.hset(used.keys.usage(owner), "vcpus", 0)
    assert used.ledger.recount() == ([], 1)
    assert used.ledger.usage([owner])[owner] == Resources(1, 3, 4)
    assert used.ledger.recount() == NOTHING
