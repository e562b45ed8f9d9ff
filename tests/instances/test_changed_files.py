"""clouds.yaml and fleet.yaml change while instances run: nothing running is lost."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from openmultistack.errors import (
    CapacityExhausted,
    Invalid,
    NoRegionReady,
    NoRegionWorked,
    PlaceMoved,
    ProviderRemoved,
)
from openmultistack.leaving import Leaver
from openmultistack.ledger import Attempt
from openmultistack.models import Instance, Status

House = Sky = Any  # conftest's own; test modules do not import one another
A, B, C = "alpha/One", "alpha/Two", "beta/One"
RENAMED = "beta-prod/One"


def of(house: House, **names: str) -> Mapping[str, Sky]:
    """Return the house's clouds; `names` give another name to some."""
    return {names.get(name, name): cloud for name, cloud in house.clouds.items()}


def reap(house: House, times: int = 2) -> None:
    """Let time pass and reap, as the schedule does."""
    for _ in range(times):
        house.settle()
        house.reaping.reap()


def living(house: House, before: list[Instance]) -> dict[str, str]:
    """Return of each of these instances where it is; each has its server of before there."""
    now = {it.id: it for it in house.ledger.get([it.id for it in before])}
    for it in before:
        server = house.clouds[now[it.id].region].servers[it.server_id or ""]
        assert (now[it.id].status, server.status) == (Status.ACTIVE, Status.ACTIVE)
        assert now[it.id].error is None
    return {it.id: now[it.id].region for it in before}


@pytest.fixture
def running(house: House) -> list[Instance]:
    """Six instances over three regions."""
    made = house.create(6)
    house.come_to_rest()
    return list(house.ledger.get([it.id for it in made]))


def test_a_renamed_provider_keeps_what_runs_there_under_its_new_name(
    house: House, running: list[Instance]
) -> None:
    after = house.changed({A: house.clouds[A], B: house.clouds[B], RENAMED: house.clouds[C]})
    for _ in range(2):
        reap(after, 1)
        where = living(after, running)
    assert sorted(set(where.values())) == [A, B, RENAMED]
    assert {it.region for it in after.ledger.regions()} == {A, B, RENAMED}
    assert sum(after.held().values()) == 6
    after.assert_agreement()
    renamed = next(it for it in running if where[it.id] == RENAMED)
    assert after.story(renamed)[0] == ("placed", RENAMED, 1)
    assert "stranded" not in {it[0] for it in after.story(renamed)}
    assert after.state(RENAMED).last_error is None
    # Whoever still has the old files does no harm, and can have it destroyed.
    assert house.destroy(renamed).status == Status.DELETING
    reap(after)
    assert after.get(renamed).status == Status.DELETED


def test_names_that_were_exchanged_follow_their_clouds(
    house: House, running: list[Instance]
) -> None:
    after = house.changed({A: house.clouds[C], B: house.clouds[B], C: house.clouds[A]})
    reap(after, 3)
    where = living(after, running)
    before = {it.id: it.region for it in running}
    exchanged = {A: C, C: A, B: B}
    assert where == {i: exchanged[region] for i, region in before.items()}
    after.assert_agreement()


def test_nothing_is_sent_where_a_name_leads_somewhere_else_than_the_slot(house: House) -> None:
    elsewhere = house.changed({A: house.clouds[C], B: house.clouds[C], C: house.clouds[C]})
    with pytest.raises(NoRegionWorked) as refused:
        elsewhere.create(regions=[A])
    assert refused.value.regions == {A: "the region is another one now"}
    assert house.servers() == 0


def test_what_another_cloud_does_not_have_is_not_taken_for_gone(
    house: House, running: list[Instance]
) -> None:
    """Names were exchanged, and somebody still has the old files."""
    after = house.changed({A: house.clouds[C], B: house.clouds[B], C: house.clouds[A]})
    reap(after, 3)
    one = next(it for it in running if it.region == C)
    assert house.destroy(house.get(one)).status == Status.DELETING
    held = after.held()
    leaver = Leaver(Attempt(one.id, 1, A), one.owner, house.get(one), one.server_id)
    with pytest.raises(PlaceMoved):
        house.leaving.release(A, [leaver])
    assert after.held() == held
    reap(after)
    assert after.get(one).status == Status.DELETED


@pytest.mark.parametrize("order", [(A, "twin/One"), ("twin/One", A)])
def test_two_names_for_one_project_are_one_place(
    house: House, running: list[Instance], order: tuple[str, str]
) -> None:
    both = dict.fromkeys(order, house.clouds[A])
    after = house.changed(both | {B: house.clouds[B], C: house.clouds[C]})
    reap(after, 3)
    living(after, running)
    states = {it.region: it for it in after.ledger.regions()}
    assert states[A].state == "up"
    assert states[A].held.instances == sum(it.region == A for it in running)
    twin = states["twin/One"]
    assert (twin.state, twin.free().instances, twin.held.instances) == ("duplicate", 0, 0)
    assert twin.last_error == f"repeats {A}: the same project at the same endpoint"
    # Each place counts once: what is left of twelve slots.
    made = after.create(6)
    assert len(made) == 6
    with pytest.raises(CapacityExhausted):
        after.create()
    swept = {it["region"]: it for it in after.reaping.reap()["regions"]}
    assert swept["twin/One"]["outcome"] == "refused"
    assert A in swept["twin/One"]["error"]


def test_of_two_empty_names_the_earlier_line_stays(make_house: Callable[..., House]) -> None:
    house = make_house({A: 4}, swept=False)
    after = house.changed({"first/One": house.clouds[A], A: house.clouds[A]})
    after.reaping.sweep(A)
    assert after.state(A).state == "up"
    reap(after)
    assert (after.state("first/One").state, after.state(A).state) == ("up", "duplicate")


def test_a_disabled_region_is_swept_until_it_is_empty_and_takes_nothing(
    house: House, running: list[Instance]
) -> None:
    after = house.changed(house.clouds, C)
    reap(after)
    living(after, running)
    state = after.state(C)
    assert (state.state, state.free().instances) == ("retiring", 0)
    assert {it.region for it in after.create(4)} <= {A, B}
    there = [it for it in running if it.region == C]
    for it in there:
        assert after.destroy(it).status == Status.DELETING
    reap(after)
    assert {after.get(it).status for it in there} == {Status.DELETED}
    assert after.clouds[C].ours() == {}
    assert C not in {it.region for it in after.ledger.regions()}
    asked = len(after.clouds[C].calls)
    reap(after)
    assert len(after.clouds[C].calls) == asked, "what is empty is left alone"
    # With the ledger lost it is looked at again.
    after.redis.flushall()
    reap(after)
    assert len(after.clouds[C].calls) > asked


def test_a_disabled_region_comes_back(house: House, running: list[Instance]) -> None:
    reap(house.changed(house.clouds, C))
    reap(house)
    living(house, running)
    assert house.state(C).state == "up"


def test_what_runs_in_a_provider_that_was_taken_out_is_told_of_and_others_go_on(
    house: House, running: list[Instance]
) -> None:
    left = {A: house.clouds[A], B: house.clouds[B]}
    after = house.changed(left)
    reap(after)
    there = [it for it in running if it.region == C]
    living(after, [it for it in running if it.region != C])
    for it in there:
        found = after.get(it)
        assert (found.region, found.status) == (C, Status.ACTIVE)
        assert found.error == "unreachable: provider removed"
    state = after.state(C)
    assert (state.state, state.free().instances) == ("removed", 0)
    with pytest.raises(ProviderRemoved) as refused:
        after.destroying.destroy_ids("alice", [running[0].id, *(it.id for it in there)])
    assert set(refused.value.members()["unreachable"]) == {it.id for it in there}
    reap(after)
    assert after.get(running[0]).status in (Status.DELETED, Status.DELETING)
    # The place comes back under any name: what its owner said of it meanwhile is done.
    back = house.changed(left | {RENAMED: house.clouds[C]})
    reap(back, 3)
    assert {back.get(it).status for it in there} == {Status.DELETED}
    assert house.clouds[C].ours() == {}


def test_a_provider_that_comes_back_has_its_instances_again(
    house: House, running: list[Instance]
) -> None:
    reap(house.changed({A: house.clouds[A], B: house.clouds[B]}))
    reap(house.changed(house.clouds))
    living(house, running)
    assert (house.state(C).state, house.state(C).last_error) == ("up", None)
    house.assert_agreement()


def test_out_of_reach_and_its_time_up_ends_as_an_error(
    house: House, running: list[Instance]
) -> None:
    (one, *_) = [it for it in running if it.region == C]
    assert house.ledger.renew(one.id, 1)
    after = house.changed({A: house.clouds[A], B: house.clouds[B]})
    reap(after)
    found = after.get(one)
    assert (found.status, found.error) == (Status.ERROR, "unreachable: provider removed")
    assert after.ledger.due(10) == [], "it is not looked at again and again"
    # With its provider back it is ended as its time is up.
    back = house.changed(house.clouds)
    reap(back, 1)
    back.redis.zadd(back.keys.due, {one.id: 1})
    reap(back, 3)
    assert back.get(one).status == Status.DELETED


def test_a_removed_region_is_forgotten_only_by_name_and_its_servers_come_back_with_it(
    house: House, running: list[Instance]
) -> None:
    after = house.changed({A: house.clouds[A], B: house.clouds[B]})
    reap(after)
    with pytest.raises(Invalid, match="is no removed region"):
        after.draining.forget([A])
    (forgotten,) = after.draining.forget([C])
    there = [it for it in running if it.region == C]
    assert forgotten.held.instances == len(there)
    assert C not in {it.region for it in after.ledger.regions()}
    assert {after.get(it).status for it in there} == {Status.DELETED}
    assert after.ledger.usage(["alice"])["alice"].instances == len(running) - len(there)
    back = house.changed(house.clouds)
    reap(back)
    living(back, running)
    back.assert_agreement()


def test_a_cloud_that_has_another_address_keeps_its_instances(
    house: House, running: list[Instance]
) -> None:
    cloud = house.clouds[C]
    cloud.is_at = cloud.is_at._replace(endpoint="another.example")
    after = house.changed(house.clouds)
    reap(after, 3)
    living(after, running)
    after.assert_agreement()
    assert {it.region for it in after.ledger.regions()} == {A, B, C}


def test_a_region_that_was_never_looked_at_is_ready_for_nobody(
    make_house: Callable[..., House],
) -> None:
    house = make_house({A: 4}, swept=False)
    with pytest.raises(NoRegionReady):
        house.create()
