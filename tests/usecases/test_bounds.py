"""Bounds: owners' quotas, drained regions, how much is built at once, and how often is tried."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import OrderRefused
from openmultistack.domain.errors import (
    CapacityExhausted,
    Invalid,
    NoRegionReady,
    OwnerQuotaExceeded,
    QueueFull,
)
from openmultistack.domain.models import Quota, Status
from openmultistack.fleet.config import FleetFile
from openmultistack.provision.planning import FAILING_REGIONS_MAX
from openmultistack.usecases.read import place_in_queue
from tests.support.house import House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
NO_HOST = "No valid host was found. "


def owners(**rules: Any) -> FleetFile:
    """Return a fleet.yaml that says what owners may have."""
    return FleetFile.model_validate({"owners": rules})


# ---------------------------------------------------------------- quotas


def test_an_owner_gets_their_quota_and_not_one_more(make_house: Any) -> None:
    house = make_house(file=owners(alice={"quota": {"instances": 3}}))
    house.create(2)
    with pytest.raises(OwnerQuotaExceeded) as refusal:
        house.create(2)
    assert refusal.value.members() == {
        "quota": {"instances": 3},
        "used": {"instances": 2, "vcpus": 4, "ram_mb": 4096},
    }
    assert len(house.create(2, partial=True)) == 1
    assert house.create(4, owner="bob")
    house.assert_agreement()


@pytest.mark.parametrize(
    ("quota", "fits"), [({"vcpus": 5}, 2), ({"ram_mb": 6144}, 3), ({"instances": 1}, 1)]
)
def test_each_resource_is_bounded(make_house: Any, quota: dict[str, int], fits: int) -> None:
    house = make_house(file=owners(default={"quota": quota}))
    assert len(house.create(12, partial=True)) == fits


def test_never_over_what_is_leaving_counts_until_it_is_gone(make_house: Any) -> None:
    house = make_house(file=owners(default={"quota": {"instances": 1}}))
    made = house.active()
    house.destroy(made)
    with pytest.raises(OwnerQuotaExceeded):
        house.one()
    house.come_to_rest()
    assert house.one().status == Status.BUILD


def test_a_token_narrows_the_quota_and_never_widens_it(make_house: Any) -> None:
    house = make_house(file=owners(default={"quota": {"instances": 3}}))
    with pytest.raises(OwnerQuotaExceeded):
        house.create(2, quota=Quota(instances=1))
    assert len(house.create(5, partial=True, quota=Quota(instances=100))) == 3


def test_what_could_never_be_is_refused_though_it_may_wait(make_house: Any) -> None:
    house = make_house(file=owners(default={"quota": {"vcpus": 1}}))
    with pytest.raises(OwnerQuotaExceeded, match="one instance of this size"):
        house.create(1, on_full="queue")
    rated = make_house(file=owners(default={"quota": {"creates_per_minute": 2}}))
    with pytest.raises(OwnerQuotaExceeded, match="at most 2"):
        rated.create(3, on_full="queue")


def test_a_rate_lets_a_burst_through_and_then_says_when_to_come_again(make_house: Any) -> None:
    house = make_house(file=owners(default={"quota": {"creates_per_minute": 6}}))
    house.create(6)
    with pytest.raises(OwnerQuotaExceeded) as refusal:
        house.create(2)
    assert 15 <= refusal.value.retry_after_s <= 20
    assert house.create(1, owner="bob")


def test_who_is_over_their_quota_may_wait_until_something_of_theirs_ends(make_house: Any) -> None:
    house = make_house(file=owners(default={"quota": {"instances": 1}}))
    first = house.active()
    (waiting,) = house.create(1, on_full="queue")
    assert waiting.status == Status.QUEUED
    place = place_in_queue(house.ledger, waiting)
    assert (place.place, place.why) == (1, "the quota of its owner is used up: 1 instances")
    house.come_to_rest()
    assert house.get(waiting).status == Status.QUEUED
    house.destroy(first)
    house.come_to_rest()
    assert house.get(waiting).status == Status.ACTIVE


def test_what_fits_the_quota_is_made_and_the_rest_follows_as_it_ends(make_house: Any) -> None:
    """As docs/operating says; by the quota of when it was asked for, whatever files say since."""
    house = make_house(file=owners(default={"quota": {"instances": 2}}))
    made = house.create(3, on_full="queue")
    assert [it.status for it in made] == [Status.BUILD, Status.BUILD, Status.QUEUED]
    generous = house.another(file=owners(default={"quota": {"instances": 9}}))
    generous.come_to_rest()
    assert generous.get(made[2]).status == Status.QUEUED
    house.destroy(house.get(made[0]))
    house.come_to_rest()
    assert house.get(made[2]).status == Status.ACTIVE


@pytest.mark.parametrize("rule", [{"quota": {"creates_per_minute": 3}}, {"commands_per_minute": 1}])
def test_who_creates_too_fast_does_not_wait_in_the_queue(make_house: Any, rule: Any) -> None:
    house = make_house(file=owners(default=rule))
    house.create(2, on_full="queue")
    with pytest.raises(OwnerQuotaExceeded, match="in a minute") as refusal:
        house.create(2, on_full="queue")
    assert refusal.value.retry_after_s > 0
    assert house.ledger.queue_length() == 0


def test_racing_creates_do_not_pass_the_quota_together(make_house: Any) -> None:
    house = make_house(file=owners(default={"quota": {"instances": 3}}))
    threads = [threading.Thread(target=lambda: _tried(house)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.servers() == 3
    assert house.ledger.usage(["alice"])["alice"].instances == 3


def _tried(house: House) -> None:
    for _ in range(4):
        with suppress(OwnerQuotaExceeded):
            house.one()


# ---------------------------------------------------------------- drains


def test_a_drained_region_gets_nothing_new_and_what_runs_there_stays(house: House) -> None:
    before = house.active(regions=[A])
    (state,) = house.draining.drain([A], "a new rack")
    assert (state.state, state.drained) == ("drained", "a new rack")
    made = house.create(8)
    assert {it.region for it in made} == {B, C}
    with pytest.raises(CapacityExhausted) as refusal:
        house.one()
    assert refusal.value.regions[A] == "is drained: a new rack"
    house.come_to_rest()
    assert house.get(before).status == Status.ACTIVE
    assert house.state(A).state == "drained"  # also after sweeps that find it well
    house.draining.open([A])
    assert house.one().region == A


def test_when_all_is_drained_no_region_is_ready(house: House) -> None:
    house.draining.drain(["*"], "night")
    with pytest.raises(NoRegionReady):
        house.one()


def test_a_providers_name_stands_for_all_of_its_regions(house: House) -> None:
    drained = house.draining.drain(["alpha"], "works")
    assert [it.region for it in drained] == [A, B]
    assert {it.region for it in house.create(4)} == {C}
    assert {it.state for it in house.draining.drain(["alpha"], "works")} == {"drained"}
    opened = house.draining.open(["alpha"])
    assert {(it.region, it.state) for it in opened} == {(A, "up"), (B, "up")}
    assert [it.region for it in house.draining.open(["*"])] == [A, B, C]


def test_a_slip_of_the_pen_drains_nothing(house: House) -> None:
    for act in (lambda: house.draining.drain([A, "alhpa"], ""), lambda: house.draining.open(["x"])):
        with pytest.raises(Invalid):
            act()
    assert {house.state(name).state for name in house.clouds} == {"up"}


def test_what_fails_elsewhere_does_not_move_into_a_drained_region(house: House) -> None:
    made = house.one(regions=[A])
    other = house.one(regions=[A, B], strategy="priority")
    house.draining.drain([B], "works")
    house.clouds[A].build_fault = NO_HOST
    house.come_to_rest()
    assert {house.get(it).status for it in (made, other)} == {Status.ERROR}
    assert "create" not in house.clouds[B].calls


def test_who_waits_is_not_served_by_a_drained_region(make_house: Any) -> None:
    house = make_house({A: 1, B: 1})
    first, _ = house.create(2)
    house.settle()
    house.sweep()
    (waiting,) = house.create(1, on_full="queue")
    house.draining.drain([first.region], "works")
    house.destroy(first)
    house.come_to_rest()
    assert house.get(waiting).status == Status.QUEUED
    assert house.state(first.region).held.instances == 0


# ---------------------------------------------------------------- who waits for an answer


def hold(house: House, owners: Sequence[str]) -> ExitStack:
    """Take a place of those for requests that sleep, for each owner; all were free for them."""
    with ExitStack() as held:
        for owner in owners:
            assert held.enter_context(house.room.place(owner))
        return held.pop_all()


@pytest.mark.parametrize(
    "holders",
    [["alice"] * 4, [f"owner-{it // 4}" for it in range(16)]],
    ids=["as many of theirs", "as many of all"],
)
def test_bounded_who_finds_as_many_waiting_is_answered_at_once(
    make_house: Any, holders: list[str]
) -> None:
    house = make_house({A: 1})
    house.one(owner="zoe")
    with hold(house, holders):
        began = time.monotonic()
        (queued,) = house.create(1, on_full="queue", wait_s=60, key="k")
        (again,) = house.create(1, on_full="queue", wait_s=60, key="k")
        assert time.monotonic() - began < 60
    assert (queued.status, again.id) == (Status.QUEUED, queued.id)
    with hold(house, holders):
        pass  # each had given its place back


def test_bounded_one_who_waits_takes_a_place_and_gives_it_back(make_house: Any) -> None:
    house = make_house({A: 1})
    first = house.one(owner="zoe")
    with hold(house, ["alice"] * 3), ThreadPoolExecutor(1) as pool:
        waits = pool.submit(house.create, 1, on_full="queue", wait_s=60)
        while house.room.is_free_for("alice"):
            assert not waits.done()
        assert house.room.is_free_for("bob")
        (waiting,) = house.ledger.queue()
        house.destroy(house.get(waiting.instance_id))
        waits.result(60)
        assert house.room.is_free_for("alice")
    assert house.get(first).status != Status.DELETED


# ---------------------------------------------------------------- the queue


def test_bounded_who_finds_the_queue_full_gets_nothing(make_house: Any) -> None:
    bounds = {"queue": {"max": 2, "max_per_owner": 1}}
    house = make_house({A: 1}, file=FleetFile.model_validate(bounds))
    with pytest.raises(OwnerQuotaExceeded, match="at most 1 of one owner's"):
        house.create(3, on_full="queue")
    house.assert_idle()
    assert len(house.create(2, on_full="queue")) == 2
    house.create(1, on_full="queue", owner="bob")
    with pytest.raises(QueueFull, match="at most 2"):
        house.create(1, on_full="queue", owner="cleo")


def test_a_bad_order_is_refused_and_does_not_wait(make_house: Any) -> None:
    house = make_house({A: 1})
    house.clouds[A].fails(OrderRefused("400: Invalid user_data"), "create")
    with pytest.raises(Invalid):
        house.create(3, on_full="queue")
    assert house.ledger.queue() == []
    house.come_to_rest()
    house.assert_idle()


def test_who_waited_in_vain_ends_and_its_story_says_so(make_house: Any) -> None:
    house = make_house({A: 1}, file=FleetFile.model_validate({"queue": {"max_wait": 1}}))
    house.one(owner="bob")
    (waiting,) = house.create(1, on_full="queue", ttl=900)
    threading.Event().wait(1.1)
    house.reaping.reap()
    assert house.get(waiting).status == Status.DELETED
    assert house.ledger.events(waiting.id)[-1]["why"] == "it waited in vain for a slot"
    assert house.ledger.queue() == []


# ---------------------------------------------------------------- building, starting


def test_no_more_is_built_at_once_than_the_operator_allows(make_house: Any) -> None:
    file = FleetFile.model_validate({"regions": {A: {"max_building": 2}}})
    house = make_house({A: 6}, file=file)
    made = house.create(5, on_full="queue")
    for started in (2, 4, 5):
        assert house.clouds[A].calls.count("create") == started
        assert house.state(A).building <= 2
        house.settle()
        house.sweep()
    assert {house.get(it).status for it in made} == {Status.ACTIVE}
    assert house.state(A).building == 0


def test_no_more_is_started_in_a_minute_than_the_operator_allows(make_house: Any) -> None:
    file = FleetFile.model_validate({"regions": {A: {"starts_per_minute": 12}}})
    house = make_house({A: 20}, file=file)
    assert len(house.create(9, partial=True)) == 2  # ten seconds' worth at once
    with pytest.raises(CapacityExhausted):
        house.one()


# ---------------------------------------------------------------- ERROR after 202


def test_bounded_tries_end_with_the_regions_that_failed(make_house: Any) -> None:
    names = [f"p{n}/R" for n in range(FAILING_REGIONS_MAX + 3)]
    house = make_house(dict.fromkeys(names, 2))
    for cloud in house.clouds.values():
        cloud.build_fault = NO_HOST
    made = house.one()
    for _ in range(len(names) + 2):
        house.settle()
        house.sweep()
    failed = house.get(made)
    assert (failed.id, failed.status) == (made.id, Status.ERROR)
    assert failed.attempt == len(failed.tried) == FAILING_REGIONS_MAX
    told = [what for what, _, _ in house.story(made)]
    assert told.count("placed") == told.count("failed") == FAILING_REGIONS_MAX
    assert told[-1] == "error"
    house.come_to_rest()
    house.assert_idle()
