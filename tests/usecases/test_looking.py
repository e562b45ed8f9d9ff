"""An empty ledger serves its first create: where nobody has looked, the create looks by itself."""

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress

import pytest

from openmultistack.domain.cloud_errors import AccountBroken
from openmultistack.domain.errors import (
    CapacityExhausted,
    Invalid,
    LedgerUnavailable,
    NoRegionReady,
)
from openmultistack.domain.models import Catalogue, Status
from openmultistack.domain.pace import PACE
from openmultistack.usecases.looking import Looking
from tests.support.waiting import until

A, B, C = "alpha/One", "alpha/Two", "beta/One"


def surveys(house, region=A):
    """Return how often a region was looked at."""
    return Counter(house.clouds[region].calls)["survey"]


def test_an_empty_ledger_serves_its_first_create(make_house) -> None:
    house = make_house(swept=False)
    made = house.create(12)
    assert Counter(it.region for it in made) == {A: 4, B: 4, C: 4}
    house.assert_agreement()


def test_many_first_creates_of_several_processes_look_once(make_house) -> None:
    first = make_house({A: 40}, swept=False)
    houses = [first, first.another()]
    owners = [f"owner-{n}" for n in range(8)]
    with ThreadPoolExecutor(16) as pool:
        acts = [pool.submit(it.create, owner=o) for it in houses for o in owners]
        made = [one for it in acts for one in it.result()]
    assert len(made) == 16
    assert surveys(first) == 1
    first.assert_agreement()


def test_servers_that_are_there_are_known_before_any_is_placed_beside_them(make_house) -> None:
    house = make_house({A: 4})
    before = house.create(3)
    house.redis.flushall()
    (made,) = house.another().create()
    with pytest.raises(CapacityExhausted):
        house.create()
    assert {it.id for it in before} < {it[0] for it in house.slots(made.region)}
    house.assert_agreement()


def test_a_region_that_came_is_looked_at_when_the_others_are_full(make_house) -> None:
    house = make_house({A: 1, B: 1}, swept=False)
    house.sweep(A)
    assert [house.one().region for _ in range(2)] == [A, B]
    with pytest.raises(CapacityExhausted):
        house.one()
    assert (surveys(house, A), surveys(house, B)) == (1, 1)


def test_only_regions_that_the_command_may_go_to_are_looked_at(make_house) -> None:
    house = make_house(swept=False)
    assert house.one(regions=["beta/*"]).region == C
    assert (surveys(house, A), surveys(house, B), surveys(house, C)) == (0, 0, 1)


def test_an_image_that_only_the_region_has_that_nobody_looked_at(make_house) -> None:
    house = make_house({A: 4, B: 4}, swept=False)
    house.clouds[A].offered = Catalogue()
    house.sweep(A)
    assert house.one().region == B
    with pytest.raises(Invalid):
        house.one(image="of nobody")


def test_what_waits_has_the_others_looked_at_and_is_served_there(make_house) -> None:
    house = make_house({A: 1, B: 4}, swept=False)
    house.sweep(A)
    first, second = house.one(), house.one(on_full="queue")
    assert (first.region, second.status) == (A, Status.QUEUED)
    until(lambda: house.get(second).region == B)


def test_a_region_that_fails_is_told_and_not_looked_at_by_each_create(
    make_house,
) -> None:
    house = make_house({A: 4}, swept=False)
    house.clouds[A].fails(AccountBroken("the password is wrong"))
    for _ in range(5):
        with pytest.raises(NoRegionReady) as told:
            house.one()
        assert told.value.regions == {A: "is down: the password is wrong"}
    looks = surveys(house) + Counter(house.clouds[A].calls)["place"]
    assert looks <= 2  # the first create's, and one that nobody waited for
    house.clouds[A].fails(None)
    house.ledger.end_turn(f"look {A}")  # as half a minute later
    with suppress(NoRegionReady):  # nobody waits for that look, which may be quick
        house.one()
    until_looked(house, A)
    assert house.one().region == A


def test_a_look_that_is_not_due_leaves_the_lock_to_the_reaper(make_house, monkeypatch) -> None:
    """A flood of creates that are refused kept every sweep from such a region."""
    house = make_house({A: 4}, swept=False)
    house.clouds[A].fails(AccountBroken("the password is wrong"))
    its, locked, lock = looking(house, look_within_s=60), [], house.ledger.sweeping

    def taking(region: str, **more):
        locked.append(region)
        return lock(region, **more)

    monkeypatch.setattr(house.ledger, "sweeping", taking)
    for _ in range(5):
        assert its.look([A], "alice") is False
        until(lambda: not any(it.name == "look" for it in threading.enumerate()))
    assert locked == [A, A]  # as nobody had tried it, and once in half a minute


def test_a_cloud_that_hangs_holds_a_create_up_for_a_bounded_time_and_others_not_at_all(
    make_house,
) -> None:
    house = make_house({A: 4, B: 4}, swept=False)
    answers = threading.Event()
    house.clouds[A].fault = lambda _: hang(answers)
    impatient = looking(house)
    try:
        assert impatient.look([A, B], "alice")
        assert house.one().region == B
        assert impatient.look([A], "alice") is False
    finally:
        answers.set()
    until_looked(house, A)


def test_who_finds_no_place_to_wait_is_answered_at_once(make_house) -> None:
    house = make_house({A: 4}, swept=False)
    answers = threading.Event()
    house.clouds[A].fault = lambda _: hang(answers)
    try:
        with ThreadPoolExecutor(5) as pool:
            acts = [pool.submit(house.create) for _ in range(5)]
            first = next(as_completed(acts))
            assert isinstance(first.exception(), NoRegionReady)
            answers.set()
            told = [it.exception() for it in acts]
    finally:
        answers.set()
    assert Counter(map(type, told)) == {type(None): 4, NoRegionReady: 1}


def test_no_more_regions_are_looked_at_at_once_than_are_swept_at_once(make_house) -> None:
    """A large fleet's first create must not take all threads of its machine."""
    names = [f"alpha/{n}" for n in range(9)]
    house = make_house(dict.fromkeys(names, 1), swept=False)
    answers = threading.Event()
    for it in names:
        house.clouds[it].fault = lambda _: hang(answers)
    few = looking(house, sweeps_at_once=3)
    try:
        assert few.look(names, "alice") is False
        under_way = [it for it in threading.enumerate() if it.name == "look"]
        assert len(under_way) == 3
    finally:
        answers.set()
    for it in under_way:
        it.join(60)
    # Those that nobody has tried come first.
    while not all(it in house.ledger.catalogues(names) for it in names):
        assert few.look([it for it in names if it not in house.ledger.catalogues(names)], "alice")


def test_a_look_that_fails_by_itself_is_told_in_the_log_alone(
    make_house, monkeypatch, capsys
) -> None:
    house = make_house({A: 4}, swept=False)
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    for fault in (LedgerUnavailable("it does not answer"), KeyError("a fault of ours")):
        assert looking(house, fails=fault).look([A], "alice") is False
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (line["event"], line["region"]) == ("look failed", A)
    assert raised == []


def test_a_region_whose_sweep_fails_by_a_fault_of_ours_is_not_looked_at_by_each_create(
    make_house, capsys
) -> None:
    house = make_house({A: 4}, swept=False)
    house.clouds[A].fails(KeyError("a fault of ours"))
    its = looking(house, look_within_s=60)
    for _ in range(5):
        assert its.look([A], "alice") is False
        until(lambda: not any(it.name == "look" for it in threading.enumerate()))
    assert capsys.readouterr().out.count('"sweep failed"') == 2
    house.clouds[A].fails(None)
    house.sweep(A)
    assert its.look([A], "alice")


def test_where_no_thread_is_to_be_had_the_next_create_looks(make_house, monkeypatch) -> None:
    house = make_house({A: 4}, swept=False)
    its = looking(house, look_within_s=60)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert its.look([A], "alice") is False
    assert its.look([A], "alice")


def looking(house, *, fails: Exception | None = None, **pace) -> Looking:
    """Return what looks for a house's creates, and has no patience if nothing else is said."""

    def reaping():
        if fails:
            raise fails
        return house.reaping

    pace = PACE._replace(**{"look_within_s": 0.2, **pace})
    return Looking(house.ledger, house.fleet, reaping, house.room, pace)


def hang(answers: threading.Event) -> None:
    """Answer a call of a cloud late."""
    answers.wait(60)


def until_looked(house, region) -> None:
    """Return when a region has been looked at, which happens by itself."""
    until(lambda: region in house.ledger.catalogues(list(house.clouds)))
