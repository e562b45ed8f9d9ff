"""What holds of a resource that came later: run by test_resources.py where volumes are counted."""

import json
from typing import Any

import pytest

from openmultistack.domain.bounds import UNLIMITED
from openmultistack.domain.models import Quota, Resources
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
VOLUME = (1, 1, 2)  # vCPUs, MB, volumes


def told(desk: Desk, instance_id: str) -> dict[str, Any]:
    """Return a slot as it is written."""
    return dict(json.loads(desk.redis.hget(desk.keys.slots(A), f"{instance_id}/1")))


def test_it_is_the_one_that_is_meant() -> None:
    assert Resources._fields == ("instances", "vcpus", "ram_mb", "volumes")


def test_its_cap_and_its_quota_bind(desk: Desk) -> None:
    desk.open(A, volumes=7)
    offer = desk.offer(A, *VOLUME)
    admitted = desk.place(offer, count=9, partial=True)
    assert (len(admitted.attempts), admitted.free) == (3, 3)
    assert desk.state(A).held.volumes == desk.ledger.usage(["alice"])["alice"].volumes == 6
    assert desk.place(offer).outcome == "full"
    assert desk.placed(A), "one that takes none is let in"
    desk.open(B)
    quota = Quota(volumes=7)
    assert desk.place(desk.offer(B, *VOLUME), quota=quota).outcome == "quota"
    assert desk.placed(B, quota=quota)
    desk.end(admitted.attempts[0])
    assert desk.placed(offer)
    desk.check(A, B)


def test_who_takes_none_is_let_in_even_over_the_bounds(desk: Desk) -> None:
    desk.open(A)
    desk.place(desk.offer(A, *VOLUME), count=3)
    desk.open(A, volumes=1)
    assert desk.place(A, quota=Quota(volumes=2)).outcome == "placed"


def test_a_region_without_any_is_as_free_for_others(desk: Desk) -> None:
    desk.open(A, B)
    both = desk.redis.get(desk.keys.shares)
    desk.open(A, volumes=0)
    assert desk.redis.get(desk.keys.shares) == both
    assert desk.state(A).free().volumes == 0


def test_a_slot_from_before_takes_none_of_it(desk: Desk) -> None:
    desk.open(A)
    old = desk.placed(A)
    assert "volumes" not in told(desk, old.instance_id), "nothing is said where nothing is taken"
    assert desk.slots(A)[old.instance_id, 1].need == Resources(1, 1, 1, 0)
    new = desk.placed(desk.offer(A, *VOLUME))
    assert told(desk, new.instance_id)["volumes"] == 2
    assert desk.ledger.recount() == ([], 0)
    desk.redis.hincrby(desk.keys.region(A), "held_volumes", 5)
    desk.redis.hincrby(desk.keys.usage("alice"), "volumes", 5)
    assert desk.ledger.recount() == ([A], 1)
    desk.check(A)
    assert desk.end(old)
    desk.check(A)


@pytest.mark.parametrize("broken", ["many", None, 1.5, -1, [7]])
def test_a_slot_whose_number_is_broken_cannot_be_read(desk: Desk, broken: object) -> None:
    desk.open(A)
    attempt = desk.placed(desk.offer(A, *VOLUME))
    slot = told(desk, attempt.instance_id) | {"volumes": broken}
    desk.redis.hset(desk.keys.slots(A), f"{attempt.instance_id}/1", json.dumps(slot))
    assert desk.slots(A) == {}
    desk.ledger.doubt_usage("alice")
    assert desk.ledger.recount() == ([A], 1)
    assert desk.state(A).held == Resources(instances=1), "it holds its place, and nothing else"


def test_a_region_swept_before_it_was_counted_does_not_bound_it(desk: Desk) -> None:
    desk.open(A)
    desk.redis.hdel(desk.keys.region(A), "cap_volumes", "foreign_volumes")
    assert desk.state(A).cap.volumes == UNLIMITED
    assert len(desk.place(desk.offer(A, 1, 1, 5000), count=9).attempts) == 9
    desk.check(A)
    desk.open(A, volumes=1)
    assert desk.place(desk.offer(A, *VOLUME)).outcome == "full"
