"""Create: where instances go, and what follows from what the clouds say."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import (
    AccountBroken,
    CatalogueStale,
    NoSuchRegion,
    OrderRefused,
    RegionFull,
    TooLate,
    Unreachable,
    Unsuitable,
)
from openmultistack.domain.errors import CapacityExhausted, Invalid, NoRegionReady, NoRegionWorked
from openmultistack.domain.models import Flavor, Resources, Status
from openmultistack.domain.pace import PACE
from openmultistack.fleet.config import FleetFile
from openmultistack.provision.planning import FAILING_REGIONS_MAX
from tests.support.house import QUIET, House

UNSUITED_KEY = Unsuitable("400: Keypair data is invalid", about=("key",))
A, B, C = "alpha/One", "alpha/Two", "beta/One"
SSH_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP lab@example"
)


# ---------------------------------------------------------------- all is well


def test_instances_are_spread_evenly_and_each_has_one_server(house: House) -> None:
    made = house.create(6)
    assert sorted(it.region for it in made) == [A, A, B, B, C, C]
    assert {it.status for it in made} == {Status.BUILD}
    assert house.held() == {A: 2, B: 2, C: 2}
    house.assert_agreement()


def test_with_enough_demand_every_slot_of_every_region_is_used(house: House) -> None:
    assert len(house.create(12)) == 12
    assert house.held() == {A: 4, B: 4, C: 4}
    with pytest.raises(CapacityExhausted):
        house.create(1)
    house.assert_agreement()


def test_by_priority_the_preferred_region_fills_up_first(make_house: Any) -> None:
    rules = {A: {"priority": 1}, B: {"priority": 2}}
    house = make_house(file=FleetFile.model_validate({"regions": rules}))
    house.create(5, strategy="priority")
    assert house.held() == {A: 1, B: 0, C: 4}


def test_packed_the_fullest_region_fills_up_first(house: House) -> None:
    house.create(1, regions=[B])
    house.create(4, strategy="pack")
    assert house.held() == {A: 1, B: 4, C: 0}


def test_a_server_carries_the_marks_from_which_its_instance_can_be_rebuilt(house: House) -> None:
    made = house.one(labels={"job": "7"}, name="ci", ttl=600, ssh_public_key=SSH_KEY)
    marks = house.server(made).marks
    assert (marks.fleet, marks.instance_id, marks.attempt) == (house.name, made.id, 1)
    its = marks.identity
    assert (its.owner, its.name, its.labels) == ("alice", "ci", {"job": "7"})
    assert its.expires_at_ms - its.created_at_ms == 600_000
    assert its == made.identity
    assert its.has_keypair
    assert house.clouds[made.region].keypairs == {house.keypair(made, region=made.region)}


def test_each_region_gets_its_own_flavor_image_and_network(house: House) -> None:
    house.create(3)
    for region, cloud in house.clouds.items():
        (server,) = cloud.ours().values()
        assert server.image == f"{region}-debian"


def test_what_create_answers_is_what_the_ledger_has(house: House) -> None:
    made = house.one(labels={"a": "b"})
    kept = house.get(made)._replace(order=None)
    assert made.document() == kept.document()


def test_a_create_takes_three_round_trips_to_the_ledger(house: House, round_trips: Any) -> None:
    house.create(1)  # the scripts and catalogues are known from now on
    round_trips()
    house.create(1)
    assert round_trips() <= 3


def test_a_create_lists_nothing_in_the_clouds_and_creates_once(house: House) -> None:
    for cloud in house.clouds.values():
        cloud.calls.clear()
    house.create(5)
    calls = [call for cloud in house.clouds.values() for call in cloud.calls]
    assert calls == ["create"] * 5


def test_bounded_creates_of_one_command_in_each_region(
    make_house: Any,
) -> None:
    house = make_house({A: 20})
    under_way, most, lock = 0, 0, threading.Lock()
    enough = threading.Event()

    def meanwhile(_: object) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        enough.wait(0.05)
        with lock:
            under_way -= 1

    house.clouds[A].meanwhile = meanwhile
    house.create(20)
    assert 1 < most <= 5


def test_waiting_returns_when_all_are_active(make_house: Callable[..., House]) -> None:
    house = make_house(pace=QUIET._replace(building=PACE.building))
    for cloud in house.clouds.values():
        cloud.prompt = True
    made = house.create(3, wait_s=10)
    assert [it.status for it in made] == [Status.ACTIVE] * 3
    assert all(it.addresses for it in made)


def test_waiting_is_bounded(house: House) -> None:
    (made,) = house.create(1, wait_s=0.2)
    assert made.status == Status.BUILD


# ---------------------------------------------------------------- not enough room


def test_all_or_nothing_leaves_nothing_behind(house: House) -> None:
    there = house.one()
    with pytest.raises(CapacityExhausted) as refusal:
        house.create(12)
    house.destroy(there)
    house.come_to_rest()
    assert set(refusal.value.regions) == {A, B, C}
    house.assert_idle()


def test_partial_takes_what_there_is(house: House) -> None:
    assert len(house.create(13, partial=True)) == 12
    house.assert_agreement()


def test_never_over_foreign_servers_and_the_operators_cap_bound_what_is_placed(
    make_house: Any,
) -> None:
    file = FleetFile.model_validate({"regions": {B: {"cap": {"instances": 1}}}})
    house = make_house(file=file)
    house.clouds[A].add_foreign(Resources(instances=3, vcpus=1, ram_mb=1))
    house.sweep()
    house.create(20, partial=True)
    assert house.held() == {A: 1, B: 1, C: 4}


def test_vcpus_are_counted_as_well(make_house: Any) -> None:
    house = make_house(swept=False)
    house.clouds[A].quota = house.clouds[A].quota._replace(vcpus=5)
    house.sweep()
    house.create(20, partial=True)
    assert house.held() == {A: 2, B: 4, C: 4}


def test_before_any_look_came_to_something_no_region_is_ready(make_house: Any) -> None:
    house = make_house(swept=False)
    for cloud in house.clouds.values():
        cloud.fails(Unreachable("connection refused"))
    with pytest.raises(NoRegionReady) as refusal:
        house.create()
    assert set(refusal.value.regions) == {A, B, C}


def test_a_refusal_says_of_each_region_why(house: House) -> None:
    house.create(4, regions=[B])
    house.clouds[A].fails(Unreachable("connection refused"))
    assert house.create(4, regions=[A, C])
    with pytest.raises(CapacityExhausted) as refusal:
        house.create()
    said = refusal.value.regions
    assert "down" in said[A]
    assert "connection refused" in said[A]
    assert "free slots" in said[B]
    assert "free slots" in said[C]


# ---------------------------------------------------------------- what is asked for


def test_unknown_names_are_refused_with_the_nearest_known(house: House) -> None:
    with pytest.raises(Invalid) as refusal:
        house.create(image="debain")
    assert refusal.value.members()["nearest"] == ["debian"]
    assert refusal.value.faults[0][0] == "/image"


def test_a_region_that_lacks_the_flavor_is_no_candidate(make_house: Any) -> None:
    house = make_house(swept=False)
    big = Flavor(id="x", name="big", vcpus=4, ram_mb=4096, disk_gb=20)
    offered = house.clouds[B].offered
    house.clouds[B].offered = offered._replace(flavors=(*offered.flavors, big))
    house.sweep()
    assert house.one(size="big").region == B


def test_a_ttl_beyond_the_owners_maximum_is_refused(make_house: Any) -> None:
    file = FleetFile.model_validate({"owners": {"alice": {"default_ttl": 60, "max_ttl": 100}}})
    house = make_house(file=file)
    with pytest.raises(Invalid) as refusal:
        house.create(ttl=101)
    assert refusal.value.faults[0][0] == "/ttl"
    made = house.one(ttl=100)
    assert made.identity.expires_at_ms - made.identity.created_at_ms == 100_000
    made = house.one()
    assert made.identity.expires_at_ms - made.identity.created_at_ms == 60_000
    assert house.one(owner="bob", ttl=101).identity.owner == "bob"


def test_an_unknown_strategy_is_refused(house: House) -> None:
    with pytest.raises(Invalid) as refusal:
        house.create(strategy="sperad")
    assert refusal.value.members()["nearest"][0] == "spread"


# ---------------------------------------------------------------- certain refusals of a region


def test_a_full_region_is_left_and_not_asked_again_until_the_next_sweep(house: House) -> None:
    house.clouds[A].fails(RegionFull("403: Quota exceeded"), "create")
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, made.attempt) == (B, 2)
    assert house.state(A).full
    house.clouds[A].fails(None)
    assert house.one(regions=[A, B], strategy="priority").region == B
    house.sweep(A)
    assert house.one(regions=[A, B], strategy="priority").region == A
    house.assert_agreement()


@pytest.mark.parametrize("kind", ["flavors", "images", "networks"])
def test_what_was_replaced_under_its_name_is_read_anew_and_the_command_goes_on_there(
    house: House, kind: str
) -> None:
    cloud = house.clouds[A]
    (thing,) = getattr(cloud.offered, kind)
    cloud.offered = cloud.offered._replace(**{kind: (thing._replace(id="new"),)})
    house.sweep(A)  # its catalogue is young, and not read again by this sweep
    cloud.calls.clear()
    made = house.create(3, regions=[A], strategy="priority")
    assert {(it.region, it.attempt) for it in made} == {(A, 1)}
    assert cloud.calls.count("catalogue") == 1
    house.assert_agreement()
    cloud.calls.clear()
    assert house.one(regions=[A, B], strategy="priority").region == A
    assert cloud.calls == ["create"]  # for everybody: the ledger knows it


def test_what_was_replaced_by_something_larger_takes_a_slot_of_that_size(house: House) -> None:
    cloud = house.clouds[A]
    larger = cloud.offered.flavors[0]._replace(id="new", vcpus=4)
    cloud.offered = cloud.offered._replace(flavors=(larger,))
    made = house.one(regions=[A])
    assert (made.region, made.attempt) == (A, 2)
    assert house.state(A).held.vcpus == 4
    house.assert_agreement()


@pytest.mark.parametrize("there", [False, True])
def test_what_is_stale_for_good_sends_the_instance_elsewhere(house: House, *, there: bool) -> None:
    """Gone; or listed still and refused, which is remembered until it is read again."""
    cloud = house.clouds[A]
    if there:
        cloud.fails(CatalogueStale("400: Flavor f could not be found."), "create")
    else:
        cloud.offered = cloud.offered._replace(flavors=())
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, made.attempt) == (B, 2)
    assert house.state(A).state == "up"
    assert not house.state(A).full
    cloud.calls.clear()
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, made.attempt) == (B, 1)
    assert cloud.calls == []


def test_a_catalogue_that_cannot_be_read_anew_is_left_to_the_next_sweep(house: House) -> None:
    cloud = house.clouds[A]
    renewed = cloud.offered.flavors[0]._replace(id="new")
    cloud.offered = cloud.offered._replace(flavors=(renewed,))
    cloud.fails(Unreachable("connection refused"), "catalogue")
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, made.attempt) == (B, 2)
    assert "connection refused" in house.ledger.events(made.id)[1]["why"]
    cloud.fails(None)
    house.sweep(A)
    assert house.one(regions=[A, B], strategy="priority").region == A


@pytest.mark.parametrize(
    "error",
    [AccountBroken("401"), NoSuchRegion("One", ["Two"]), Unreachable("connection refused")],
)
def test_a_broken_region_is_left_alone_until_a_sweep_proves_it_well(
    house: House, error: Any
) -> None:
    house.clouds[A].fails(error)
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, made.attempt) == (B, 2)
    assert (house.state(A).state, house.state(A).last_error) == ("down", str(error))
    assert house.reaping.sweep(A)["outcome"] == "failed"
    assert house.state(A).state == "down"
    assert house.one(regions=[A, B], strategy="priority").attempt == 1
    house.clouds[A].fails(None)
    house.sweep(A)
    assert house.state(A).state == "up"
    assert house.one(regions=[A, B], strategy="priority").region == A


def test_a_dead_region_takes_no_instance_of_a_large_command(house: House) -> None:
    house.clouds[A].fails(Unreachable("connection refused"))
    made = house.create(8)
    assert sorted(it.region for it in made) == [B] * 4 + [C] * 4
    house.clouds[A].fails(None)
    house.assert_agreement()


def test_the_story_tells_where_it_was_tried_and_why_it_went_on(house: House) -> None:
    house.clouds[A].fails(RegionFull("403: Quota exceeded"), "create")
    made = house.one(regions=[A, B], strategy="priority")
    assert house.story(made) == [
        ("placed", A, 1),
        ("failed", A, 1),
        ("placed", B, 2),
        ("accepted", B, 2),
    ]
    assert house.ledger.events(made.id)[1]["why"] == "403: Quota exceeded"


def test_when_no_region_is_left_each_ones_words_are_told_and_slots_come_back(house: House) -> None:
    house.clouds[A].fails(Unreachable("connection refused"))
    house.clouds[B].fails(AccountBroken("401: the login is refused"))
    house.clouds[C].fails(CatalogueStale("400: Flavor could not be found"), "create")
    with pytest.raises(NoRegionWorked) as refusal:
        house.create()
    assert refusal.value.regions == {
        A: "connection refused",
        B: "401: the login is refused",
        C: "400: Flavor could not be found",
    }
    house.assert_idle()


def test_regions_that_all_turn_out_full_are_no_failure_but_a_lack_of_room(house: House) -> None:
    for cloud in house.clouds.values():
        cloud.fails(RegionFull("403: Quota exceeded"), "create")
    with pytest.raises(CapacityExhausted):
        house.create()
    house.assert_idle()


def test_all_or_nothing_destroys_the_siblings_of_one_that_nobody_takes(make_house: Any) -> None:
    house = make_house({A: 4})
    refused_last = iter([None, None, None, RegionFull("403: Quota exceeded")])
    house.clouds[A].fault = lambda name: next(refused_last, None) if name == "create" else None
    with pytest.raises(CapacityExhausted):
        house.create(4)
    house.come_to_rest()
    house.assert_idle()


def test_partial_keeps_the_siblings_of_one_that_nobody_takes(make_house: Any) -> None:
    house = make_house({A: 4})
    refused_last = iter([None, None, None, RegionFull("403: Quota exceeded")])
    house.clouds[A].fault = lambda name: next(refused_last, None) if name == "create" else None
    assert len(house.create(4, partial=True)) == 3
    house.assert_agreement()


def test_what_every_region_refuses_is_refused_with_what_each_said_and_nothing_is_kept(
    house: House,
) -> None:
    for region, cloud in house.clouds.items():
        cloud.fails(OrderRefused(f"400: Invalid key_name provided in {region}."), "create")
    with pytest.raises(Invalid, match="Invalid key_name provided") as refusal:
        house.create()
    assert set(refusal.value.members()["regions"]) == {A, B, C}
    assert sum("create" in cloud.calls for cloud in house.clouds.values()) == 3
    assert all(house.state(name).state == "up" for name in house.clouds)
    house.assert_idle()


def test_what_one_region_refuses_another_may_take(house: House) -> None:
    house.clouds[A].fails(OrderRefused("400: Invalid user_data"), "create")
    house.clouds[B].fails(UNSUITED_KEY, "create")
    made = house.one(ssh_public_key=SSH_KEY, strategy="priority")
    assert (made.region, made.attempt) == (C, 3)
    assert house.state(A).state == house.state(B).state == "up"
    house.assert_agreement()


def test_a_bounded_number_of_regions_is_asked_about_a_bad_order(make_house: Any) -> None:
    house = make_house({f"many/R{it}": 1 for it in range(9)})
    for cloud in house.clouds.values():
        cloud.fails(OrderRefused("400: Invalid user_data"), "create")
    with pytest.raises(Invalid):
        house.create()
    assert sum("create" in cloud.calls for cloud in house.clouds.values()) == FAILING_REGIONS_MAX
    house.assert_idle()


def test_one_refused_order_takes_its_siblings_with_it_even_when_partial(house: House) -> None:
    for cloud in house.clouds.values():
        cloud.fails(OrderRefused("400: Invalid user_data"), "create")
    with pytest.raises(Invalid):
        house.create(6, partial=True)
    house.come_to_rest()
    house.assert_idle()


# ---------------------------------------------------------------- what never fits


def test_a_size_that_no_quota_allows_is_refused_as_such(make_house: Any) -> None:
    house = make_house({A: 4, B: 4}, swept=False)
    for cloud in house.clouds.values():
        huge = Flavor(id="x", name="huge", vcpus=64, ram_mb=1024, disk_gb=20)
        cloud.offered = cloud.offered._replace(flavors=(*cloud.offered.flavors, huge))
        cloud.quota = cloud.quota._replace(vcpus=60)
    house.sweep()
    house.draining.drain([A], "works")
    for more in ({}, {"on_full": "queue"}, {"partial": True}, {"count": 3, "on_full": "queue"}):
        with pytest.raises(Invalid) as refusal:
            house.create(**{"size": "huge"} | more)
        assert refusal.value.faults[0][0] == "/size"
        assert "64 vCPUs" in refusal.value.members()["regions"][A]
        assert "60 vCPUs" in refusal.value.members()["regions"][B]
    assert house.ledger.queue() == []
    house.assert_idle()


def test_a_count_beyond_all_quotas_is_refused_as_such(house: House) -> None:
    """Those of regions that are down or drained count as well: they may come back."""
    house.clouds[A].fails(Unreachable("connection refused"))
    house.reaping.sweep(A)
    house.draining.drain([B], "works")
    with pytest.raises(CapacityExhausted):
        house.create(12)
    with pytest.raises(Invalid) as refusal:
        house.create(13)
    ((pointer, detail),) = refusal.value.faults
    assert pointer == "/count"
    assert "more than all regions together allow, which is 12" in detail
    assert refusal.value.members()["regions"] == dict.fromkeys((A, B, C), "allows 4")
    assert len(house.create(13, partial=True)) == 4
    waiting = [it for it in house.create(13, on_full="queue") if it.status == Status.QUEUED]
    assert len(waiting) == 13


def test_what_was_not_looked_at_yet_is_no_bound(make_house: Any) -> None:
    house = make_house({A: 4, B: 4}, swept=False)
    house.clouds[B].fails(Unreachable("connection refused"))
    house.sweep(A)
    with pytest.raises(CapacityExhausted):
        house.create(40)


def test_an_order_that_would_be_sent_too_late_is_not_sent(make_house: Any) -> None:
    house = make_house({A: 4}, lease_ms=1000, call_budget_s=2)
    with pytest.raises(NoRegionWorked):
        house.create()
    house.assert_idle()
    assert house.state(A).state == "up"


def test_our_own_delay_is_no_regions_fault_and_it_is_tried_again(make_house: Any) -> None:
    house = make_house({A: 4})
    late = iter([TooLate("not sent")])
    house.clouds[A].fault = lambda call: next(late, None) if call == "create" else None
    made = house.one()
    assert (made.region, made.attempt) == (A, 2)
    assert house.state(A).state == "up"
    house.assert_agreement()
