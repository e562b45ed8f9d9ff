"""place.lua: who is admitted, and where to."""

import time

import pytest

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import Address, Resources, Status
from openmultistack.ledger import Admitted, Attempt
from tests.support.desk import Desk

A, B, C = "alpha/One", "alpha/Two", "beta/One"


def spread_of(admitted: Admitted) -> dict[str, int]:
    """Return how many attempts went to each region."""
    regions = [attempt.region for attempt in admitted.attempts]
    return {region: regions.count(region) for region in set(regions)}


def test_spread_loads_regions_evenly(desk: Desk) -> None:
    desk.open(A, B, C)
    assert spread_of(desk.place(A, B, C, count=45)) == {A: 15, B: 15, C: 15}
    assert desk.held(A, B, C) == [15, 15, 15]


def test_spread_goes_by_the_share_that_is_free_and_not_by_its_number(desk: Desk) -> None:
    desk.open(A, instances=4)
    desk.open(B, instances=20)
    assert spread_of(desk.place(A, B, count=12)) == {A: 2, B: 10}


def test_spread_goes_by_what_is_free_now(desk: Desk) -> None:
    desk.open(A, B, instances=10)
    desk.place(A, count=6)
    assert spread_of(desk.place(A, B, count=6)) == {B: 6}
    assert spread_of(desk.place(A, B, count=4)) == {A: 2, B: 2}


def test_the_rank_breaks_ties(desk: Desk) -> None:
    desk.open(A, B, C)
    for regions in ([A, B, C], [C, A, B], [B, C, A]):
        assert desk.placed(*regions).region == regions[0]


def test_priority_fills_the_first_region_before_it_touches_the_next(desk: Desk) -> None:
    desk.open(A, B, instances=5)
    assert spread_of(desk.place(B, A, count=4, pick="first")) == {B: 4}
    assert spread_of(desk.place(B, A, count=3, pick="first")) == {B: 1, A: 2}


def test_pack_fills_the_fullest_region_first(desk: Desk) -> None:
    desk.open(A, B, C, instances=10)
    desk.place(B, count=3)
    assert spread_of(desk.place(A, B, C, count=6, pick="fullest")) == {B: 6}
    assert spread_of(desk.place(A, B, C, count=3, pick="fullest")) == {B: 1, A: 2}


@pytest.mark.parametrize("pick", ["freest", "first", "fullest"])
def test_with_enough_demand_every_free_slot_is_used(desk: Desk, pick: str) -> None:
    desk.open(A, B, C, instances=5)
    assert len(desk.place(A, B, C, count=15, pick=pick).attempts) == 15
    assert desk.held(A, B, C) == [5, 5, 5]
    assert desk.place(A, B, C, pick=pick).attempts == ()


def test_all_or_nothing_takes_nothing_when_one_slot_is_missing(desk: Desk) -> None:
    desk.open(A, B, instances=3)
    before = set(desk.redis.keys())
    refused = desk.place(A, B, count=7)
    assert (refused.attempts, refused.free) == ((), 6)
    assert desk.held(A, B) == [0, 0]
    assert set(desk.redis.keys()) == before


def test_partial_takes_what_there_is_and_only_the_first_ids(desk: Desk) -> None:
    desk.open(A, B, instances=2)
    ids = desk.new_ids(6)
    admitted = desk.place(A, B, ids=ids, partial=True)
    assert [attempt.instance_id for attempt in admitted.attempts] == ids[:4]
    assert admitted.free == 4
    assert [instance.id for instance in desk.ledger.get(ids)] == ids[:4]
    assert desk.members(desk.keys.live("alice")) == ids[:4]


def test_partial_of_nothing_is_nothing(desk: Desk) -> None:
    desk.open(A, instances=0)
    assert desk.place(A, count=3, partial=True).attempts == ()


def test_no_candidate_is_no_slot(desk: Desk) -> None:
    admitted = desk.place(count=1)
    assert (admitted.attempts, admitted.free) == ((), 0)


def test_a_region_that_was_never_swept_gets_nothing(desk: Desk) -> None:
    assert desk.place(A).attempts == ()
    desk.ledger.report(B, "said something", "")
    assert desk.place(B).attempts == ()


@pytest.mark.parametrize("means", ["down", "full"])
def test_a_region_that_is_down_or_full_gets_nothing_until_a_sweep_sees_it_well(
    desk: Desk, means: str
) -> None:
    desk.open(A, B)
    desk.ledger.report(A, "no", means)
    assert spread_of(desk.place(A, B, count=6, pick="first")) == {B: 6}
    assert desk.place(A).attempts == ()
    desk.open(A)
    assert desk.placed(A).region == A


@pytest.mark.parametrize("means", ["stale", ""])
def test_a_region_with_a_stale_catalogue_or_a_passing_fault_is_used_on(
    desk: Desk, means: str
) -> None:
    desk.open(A)
    desk.ledger.report(A, "hm", means)
    assert desk.placed(A).region == A


@pytest.mark.parametrize(
    ("caps", "need", "fit"),
    [
        ({"instances": 20, "vcpus": 10, "ram_mb": 10**6}, (2, 1024), 5),
        ({"instances": 20, "vcpus": 11, "ram_mb": 10**6}, (2, 1024), 5),
        ({"instances": 20, "vcpus": 100, "ram_mb": 4096}, (2, 1024), 4),
        ({"instances": 20, "vcpus": 100, "ram_mb": 4095}, (2, 1024), 3),
        ({"instances": 3, "vcpus": 100, "ram_mb": 10**6}, (2, 1024), 3),
        ({"instances": 20, "vcpus": 1, "ram_mb": 10**6}, (2, 1024), 0),
    ],
)
def test_the_scarcest_of_instances_vcpus_and_ram_binds(
    desk: Desk, caps: dict[str, int], need: tuple[int, int], fit: int
) -> None:
    desk.open(A, **caps)
    admitted = desk.place(desk.offer(A, *need), count=20, partial=True)
    assert (len(admitted.attempts), admitted.free) == (fit, fit)
    assert desk.held(A) == [fit]
    assert desk.place(desk.offer(A, *need)).attempts == ()


def test_needs_of_several_sizes_share_one_region(desk: Desk) -> None:
    desk.open(A, vcpus=10, ram_mb=100)
    desk.place(desk.offer(A, 3, 10), count=2)
    assert desk.place(desk.offer(A, 5, 10)).attempts == ()
    assert desk.placed(desk.offer(A, 4, 80))
    (state,) = desk.ledger.regions([A])
    assert state.held == Resources(instances=3, vcpus=10, ram_mb=100)
    assert state.free()[:3] == (17, 0, 0)


@pytest.mark.parametrize(
    "foreign",
    [Resources(instances=16), Resources(vcpus=16), Resources(ram_mb=16)],
)
def test_what_others_use_there_is_not_given_out(desk: Desk, foreign: Resources) -> None:
    cap = Resources(instances=20, vcpus=20, ram_mb=20)
    desk.ledger.survey(A, cap=cap, foreign=foreign, catalogue=None)
    assert len(desk.place(A, count=20, partial=True).attempts) == 4


def test_a_region_over_its_cap_does_not_eat_into_the_others(desk: Desk) -> None:
    desk.open(B, instances=2)
    desk.ledger.survey(
        A,
        cap=Resources(instances=5, vcpus=5, ram_mb=5),
        foreign=Resources(instances=9, vcpus=9, ram_mb=9),
        catalogue=None,
    )
    admitted = desk.place(A, B, count=2)
    assert (spread_of(admitted), admitted.free) == ({B: 2}, 2)


def test_a_repeat_gets_the_answer_that_was_given_and_takes_nothing_more(desk: Desk) -> None:
    desk.open(A, B, instances=3)
    ids = desk.new_ids(4)
    first = desk.place(A, B, ids=ids)
    before = desk.redis.hgetall(desk.keys.record(ids[0]))
    time.sleep(0.002)
    again = desk.place(A, B, ids=ids)
    assert (again.attempts, again.created_at_ms) == (first.attempts, first.created_at_ms)
    assert desk.held(A, B) == [2, 2]
    assert desk.redis.hgetall(desk.keys.record(ids[0])) == before
    assert desk.events(first.attempts[0]) == ["placed"]


def test_a_repeat_of_a_partial_answer_is_partial_too(desk: Desk) -> None:
    desk.open(A, instances=2)
    ids = desk.new_ids(5)
    first = desk.place(A, ids=ids, partial=True)
    desk.open(A, instances=10)
    assert desk.place(A, ids=ids, partial=True).attempts == first.attempts
    assert desk.held(A) == [2]


def test_what_is_placed_is_an_instance_in_build_with_a_slot_under_a_lease(desk: Desk) -> None:
    desk.open(A)
    before = desk.ledger.now_ms()
    admitted = desk.place(
        desk.offer(A, 2, 512), owner="bob", name="ci", labels={"job": "7"}, ttl_ms=5000,
        ssh_public_key=None, user_data="#!/bin/sh",
    )  # fmt: skip
    after = desk.ledger.now_ms()
    (attempt,) = admitted.attempts
    assert attempt == Attempt(attempt.instance_id, 1, A)
    instance = desk.get(attempt)
    identity = instance.identity
    assert (instance.status, instance.region, instance.attempt) == (Status.BUILD, A, 1)
    assert (identity.owner, identity.name, identity.labels) == ("bob", "ci", {"job": "7"})
    assert (instance.flavor, instance.image) == (f"flavor-{A}", f"image-{A}")
    assert (instance.server_id, instance.error, instance.addresses) == (None, None, ())
    assert before <= identity.created_at_ms <= after
    assert identity.created_at_ms == admitted.created_at_ms
    assert identity.expires_at_ms == identity.created_at_ms + 5000
    assert '"user_data":"#!/bin/sh"' in (instance.order or "")
    slot = desk.slots(A)[attempt.instance_id, 1]
    assert (slot.need.vcpus, slot.need.ram_mb, slot.server_id) == (2, 512, None)
    assert slot.since_ms == identity.created_at_ms
    assert slot.lease_until_ms == slot.since_ms + 60_000


def test_what_is_placed_is_in_every_index_and_due_at_its_expiry(desk: Desk) -> None:
    desk.open(A)
    attempt = desk.placed(A, owner="bob", labels={"job": "7", "os": "x"})
    for key in (
        desk.keys.live("bob"),
        desk.keys.labelled("bob", "job", "7"),
        desk.keys.labelled("bob", "os", "x"),
    ):
        assert desk.members(key) == [attempt.instance_id]
    score = desk.redis.zscore(desk.keys.due, attempt.instance_id)
    assert score == desk.get(attempt).identity.expires_at_ms


def test_the_story_begins_with_where_and_why(desk: Desk) -> None:
    desk.open(A, B, instances=5)
    attempt = desk.placed(A, B)
    (event,) = desk.ledger.events(attempt.instance_id)
    assert (event["what"], event["region"], event["attempt"]) == ("placed", A, 1)
    assert event["why"] == "freest of 2 regions"
    assert event["at_ms"] == desk.get(attempt).identity.created_at_ms


def test_a_usual_record_takes_half_the_memory_as_none_of_its_values_is_long(desk: Desk) -> None:
    desk.open(A)
    attempt = desk.placed(A, owner="team-a", labels={"run": "4711", "os": "debian-12"})
    server_id = "b8f0d3a4-5cd4-4d3c-8a5e-0d6f2d0d8c11"
    desk.ledger.commit(attempt, server_id)
    address = Address(address="203.0.113.118", version=4, network="public")
    desk.ledger.observe(attempt, server_id=server_id, status=Status.ACTIVE, addresses=[address])
    assert desk.get(attempt).addresses == (address,)
    assert desk.redis.object("encoding", desk.keys.record(attempt.instance_id)) == "listpack"


def test_awkward_input_comes_back_as_it_went_in(desk: Desk) -> None:
    desk.open(A)
    nasty = '\x00 "quotes" \\ \n € 😀 {{oms}} %s ]]'
    attempt = desk.placed(A, owner='o"\\é', user_data=nasty)
    instance = desk.get(attempt)
    assert instance.identity.owner == 'o"\\é'
    order = instance.order
    assert CreateInstances.model_validate_json(order).user_data == nasty


def test_a_hundred_at_once_are_placed_in_one_act(desk: Desk) -> None:
    desk.open(A, B, C, instances=40)
    assert sorted(spread_of(desk.place(A, B, C, count=100)).values()) == [33, 33, 34]
