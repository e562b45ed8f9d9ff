"""clouds.yaml and fleet.yaml change while instances run: nothing running is lost."""

from collections.abc import Callable, Mapping
from itertools import pairwise, permutations
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import AccountBroken, PlaceMoved, RateLimited
from openmultistack.domain.errors import (
    CapacityExhausted,
    Invalid,
    NoRegionWorked,
    ProviderRemoved,
)
from openmultistack.domain.models import Instance, Status
from openmultistack.domain.pace import PACE
from openmultistack.fleet.config import Fleet
from openmultistack.ledger import Attempt
from openmultistack.provision.leaving import Leaver
from openmultistack.usecases.retire import Retiring
from tests.support.house import QUIET, House
from tests.support.sky import Sky

A, B, C = "alpha/One", "alpha/Two", "beta/One"
RENAMED = "beta-prod/One"
ONE_SWEEP = QUIET._replace(sweeps_at_once=1)


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
    assert [it[0] for it in after.story(renamed)] == ["placed", "accepted", "active", "renamed"]
    assert after.story(renamed)[-1] == ("renamed", RENAMED, 1)
    assert after.ledger.events(renamed.id)[-1]["why"] == f"{C} is now {RENAMED}"
    assert after.state(RENAMED).last_error is None
    # Whoever still has the old files does no harm, and can have it destroyed.
    assert house.destroy(renamed).status == Status.DELETING
    reap(after)
    assert after.get(renamed).status == Status.DELETED


def test_only_what_was_there_tells_of_a_rename_and_of_the_last_few(
    house: House, running: list[Instance]
) -> None:
    left, stays = (it for it in running if it.region == C)
    house.destroy(left)
    reap(house)
    names = [f"beta-{number}/One" for number in range(7)]
    for name in names:
        after = house.changed({A: house.clouds[A], B: house.clouds[B], name: house.clouds[C]})
        reap(after)
    came = after.one(regions=[names[-1]])
    told = [it["why"] for it in after.ledger.events(stays.id) if it["what"] == "renamed"]
    assert told == [f"{was} is now {is_}" for was, is_ in pairwise(names[1:])]
    for it in (left, came, next(it for it in running if it.region == A)):
        assert "renamed" not in {it[0] for it in after.story(it)}
    at_ms = [it["at_ms"] for it in after.ledger.events(stays.id)]
    assert at_ms == sorted(at_ms)


@pytest.mark.parametrize(
    "act",
    [
        lambda it: it.draining.open([A]),
        lambda it: it.draining.drain([A], "works"),
        lambda it: it.ledger.report(A, "it said no", ""),
        lambda it: it.ledger.unsuit(A, "kind", "it said no"),
        lambda it: it.ledger.catalogue_age_ms(A),
        lambda it: it.serving.serve(A),
    ],
)
def test_what_a_process_does_first_is_done_to_the_place_that_the_name_stands_for(
    house: House, act: Any
) -> None:
    house.draining.drain([A], "repairs")
    before = set(house.redis.keys(f"*{house.name}*"))
    act(house.another())
    new = set(house.redis.keys(f"*{house.name}*")) - before
    assert not [it for it in new if "One" in it], new
    house.another().draining.open([A])
    assert house.state(A).drained is None


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
    for it in running:
        told = [one["why"] for one in after.ledger.events(it.id) if one["what"] == "renamed"]
        now = exchanged[it.region]
        assert told == ([f"{it.region} is now {now}"] if now != it.region else [])


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
    leaver = Leaver(Attempt(one.id, 1, A), one.identity.owner, house.get(one), one.server_id)
    with pytest.raises(PlaceMoved):
        house.leaving.release(A, [leaver])
    assert after.held() == held
    reap(after)
    assert after.get(one).status == Status.DELETED


def exchange(house: House) -> House:
    """Exchange two names, of which everybody hears; return the fleet by its new files."""
    after = house.changed({A: house.clouds[C], B: house.clouds[B], C: house.clouds[A]})
    after.reaping.reap()
    house.ledger.regions()
    assert house.ledger.place_of(A) == house.clouds[C].is_at.id
    return after


def while_created(house: House, region: str, act: Callable[[], Any]) -> None:
    """Do something once, while a create is under way in a region."""
    cloud = house.clouds[region]

    def once(_: Any) -> None:
        cloud.meanwhile = lambda _: None
        act()

    cloud.meanwhile = once


def test_names_are_exchanged_while_a_create_is_under_way(house: House) -> None:
    while_created(house, A, lambda: exchange(house))
    made = house.one(regions=[A])
    assert made.status == Status.BUILD, "it is wanted on"
    assert house.clouds[A].calls.count("delete") == 0
    after = exchange(house)
    reap(after)
    assert living(after, [after.get(made)]) == {made.id: C}
    after.assert_agreement()


def test_a_create_fails_whose_name_was_exchanged_meanwhile(house: House) -> None:
    """What is said of it, and its slot that is free again, are those of its place."""
    while_created(house, A, lambda: exchange(house))
    house.clouds[A].quota = house.clouds[A].quota._replace(instances=0)
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, made.attempt) == (B, 2)
    after = exchange(house)
    assert after.held() == {A: 0, B: 1, C: 0}
    assert house.story(made)[:3] == [("placed", C, 1), ("renamed", C, 1), ("failed", C, 1)]


@pytest.mark.parametrize("order", list(permutations([A, B, C])))
def test_exchanged_names_are_all_known_after_one_run_in_whatever_order_it_sweeps(
    house: House, running: list[Instance], order: tuple[str, ...]
) -> None:
    """One that is swept while another still has its name is swept again at the end."""
    house = house.another(pace=ONE_SWEEP)
    clouds = {A: house.clouds[B], B: house.clouds[C], C: house.clouds[A]}
    after = house.changed({name: clouds[name] for name in order})
    swept = after.reaping.reap()["regions"]
    assert [it["outcome"] for it in swept] == ["swept"] * 3
    after.reaping.reap()
    moved = {A: C, B: A, C: B}
    assert living(after, running) == {it.id: moved[it.region] for it in running}
    stories = {what for it in running for what, _, _ in after.story(it)}
    assert "renamed" in stories
    assert "stranded" not in stories


def test_what_is_wanted_no_more_goes_in_its_own_cloud_only(house: House) -> None:
    """The entry leads to another cloud by the time of the answer."""
    cloud = house.clouds[A]
    create, place = cloud.create, cloud.is_at

    def create_and_move(order: Any, **more: Any) -> str:
        server_id = str(create(order, **more))
        house.ledger.destroy(house.get(order.marks.instance_id), why="enough")
        if moves:
            cloud.is_at = place._replace(project="another")
        return server_id

    cloud.create = create_and_move
    for moves in (False, True):
        cloud.calls.clear()
        assert house.one(regions=[A]).status == Status.DELETING
        assert cloud.calls.count("delete") == (not moves)
    cloud.is_at = place
    reap(house)
    house.assert_idle()


def test_what_is_looked_after_is_written_down_for_its_own_place_only(house: House) -> None:
    building = PACE.building._replace(poll_s=60.0)
    house = house.another(pace=QUIET._replace(building=building))
    made = house.one(regions=[A])
    house.clouds[C].servers["twin"] = house.server(made)._replace(id="twin")
    after = exchange(house)
    after.reaping.reap()
    assert after.slots(A)[made.id, 1].server_id == "twin"
    house.settle()
    house.arriving.look(A)
    assert after.slots(A)[made.id, 1].server_id == "twin"


def test_a_catalogue_that_is_read_anew_is_kept_for_its_own_place_only(house: House) -> None:
    cloud = house.clouds[A]
    images = (cloud.offered.images[0]._replace(id="replaced"),)
    cloud.offered = cloud.offered._replace(images=images)
    while_created(house, A, lambda: exchange(house))
    with pytest.raises((NoRegionWorked, CapacityExhausted)):
        house.one(regions=[A])
    after = exchange(house)
    assert after.ledger.catalogues([A])[A].images == house.clouds[C].offered.images


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


def test_a_run_that_empties_a_place_leaves_it_its_name(
    house: House, running: list[Instance]
) -> None:
    """The earlier line may have it from the next run on; until then both are told of."""
    house = house.another(pace=ONE_SWEEP)
    after = house.changed(dict.fromkeys(("twin/One", A), house.clouds[A]) | house.clouds)
    reap(after)
    after.destroying.destroy_ids("alice", [it.id for it in running])
    house.settle()
    after.reaping.reap()
    states = {it.region: it for it in after.ledger.regions()}
    assert (states[A].state, states["twin/One"].state) == ("up", "duplicate")
    assert states[A].held.instances == 0


def test_of_two_empty_names_the_earlier_line_stays(make_house: Callable[..., House]) -> None:
    house = make_house({A: 4}, swept=False)
    after = house.changed({"first/One": house.clouds[A], A: house.clouds[A]})
    after.reaping.sweep(A)
    assert after.state(A).state == "up"
    reap(after)
    assert (after.state("first/One").state, after.state(A).state) == ("up", "duplicate")


REFUSALS = [
    (AccountBroken("the login was refused"), "down"),
    (RateLimited("come back later", retry_after_s=30), "unknown"),
]


@pytest.fixture
def beside(make_house: Callable[..., House]) -> Callable[[House, Exception], Sky]:
    """Return what makes another account of a house's, in which every call is refused."""

    def make(house: House, refusal: Exception) -> Sky:
        cloud = make_house({C: 4}, swept=False, fleet_name=house.name).clouds[C]
        cloud.fails(refusal)
        return cloud

    return make


@pytest.mark.parametrize(("refusal", "state"), REFUSALS)
@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("empty", [True, False])
def test_a_name_of_before_whose_first_login_is_refused_is_told_of_by_itself(
    house: House, beside: Any, refusal: Exception, state: str, *, stays: bool, empty: bool
) -> None:
    """Whether the place that it stood for goes on under another name, or is out of reach."""
    held = 0 if empty else len(house.create(1, regions=[C]))
    house.come_to_rest()
    left = {A: house.clouds[A], B: house.clouds[B]}
    reap(house.changed(left | {RENAMED: house.clouds[C]}))
    renamed = {RENAMED: house.clouds[C]} if stays else {}
    reap(house.changed(left | renamed))
    account = beside(house, refusal)
    after = house.changed(left | {C: account} | renamed)
    house.ledger.regions()
    for _ in range(2):
        reap(after, 1)
        told = {it.region: it for it in after.ledger.regions()}
        assert (told[C].state, told[C].last_error, told[C].held.instances) == (
            state, str(refusal), 0,
        )  # fmt: skip
    if stays:
        assert (told[RENAMED].state, told[RENAMED].last_error) == ("up", None)
        assert told[RENAMED].held.instances == held
    else:
        assert (RENAMED in told) == (held > 0)
        assert held == 0 or told[RENAMED].state == "removed"
    house.ledger.regions()
    assert house.ledger.place_of(C) == C, "all processes hear of it"
    # What an operator says of the name is said of nothing else, and the account is as any other.
    after.draining.drain([C], "works")
    assert not stays or after.state(RENAMED).state == "up"
    account.fails(None)
    reap(after)
    assert (after.state(C).state, after.state(C).drained) == ("drained", "works")
    after.draining.open([C])
    assert after.one(regions=[C]).region == C
    assert len(account.ours()) == 1


@pytest.mark.parametrize(("refusal", "state"), REFUSALS)
@pytest.mark.parametrize("before", ["removed", "forgotten", "retired"])
def test_a_name_that_comes_back_and_is_refused_is_shown_with_the_reason(
    house: House, refusal: Exception, state: str, before: str
) -> None:
    if before == "removed":
        house.active(regions=[C])
    disabled = (C,) if before == "retired" else ()
    left = dict(house.clouds) if disabled else {A: house.clouds[A], B: house.clouds[B]}
    gone = house.changed(left, *disabled)
    reap(gone)
    states = {it.region: it.state for it in gone.ledger.regions()}
    assert states.get(C) == ("removed" if before == "removed" else None)
    house.clouds[C].fails(refusal)
    reap(house)
    told = {it.region: (it.state, it.last_error) for it in house.ledger.regions()}
    assert told[C] == (state, str(refusal))
    house.clouds[C].fails(None)
    reap(house)
    assert house.state(C).state == {"down": "up", "unknown": "resting"}[state]
    house.assert_agreement()


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


def without(house: House, *names: str) -> Fleet:
    """Return the house's fleet as it was before regions came."""
    kept = {name: it for name, it in house.fleet.regions.items() if name not in names}
    return Fleet(regions=kept, file=house.fleet.file)


def test_a_run_that_began_before_a_region_came_says_nothing_of_it(
    house: House, running: list[Instance]
) -> None:
    before = without(house, C)
    where = living(house, running)
    Retiring(house.ledger, before, certain=lambda: house.fleet).strand()
    assert living(house, running) == where
    assert house.state(C).state == "up"
    # Whoever reads bad files does not know what there is.
    Retiring(house.ledger, before, certain=lambda: None).strand()
    assert house.state(C).state == "up"
    Retiring(house.ledger, before).strand()
    assert house.state(C).state == "removed"


def test_a_region_whose_login_is_not_to_be_had_fails_alone(
    house: House, running: list[Instance]
) -> None:
    """The two files disagree, or changed while a run is under way."""
    assert running
    lost = house.fakes.clouds.pop(A)
    done = {it["region"]: it for it in house.reaping.reap()["regions"]}
    assert {name: it["outcome"] for name, it in done.items()} == {
        A: "failed", B: "swept", C: "swept",
    }  # fmt: skip
    assert done[A]["error"] == f"no entry of clouds.yaml leads to {A}"
    house.fakes.clouds[A] = lost
    reap(house)
    assert living(house, running)
