"""What is being built is looked after: it is ACTIVE a moment after the cloud built it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import InDoubt, RateLimited, Unreachable
from openmultistack.domain.models import Status
from openmultistack.domain.pace import PACE
from tests.support.house import House
from tests.support.waiting import soon

A, B, C = "alpha/One", "alpha/Two", "beta/One"


def looking(house: House, **otherwise: Any) -> House:
    """Return the same fleet where one looks after what is being built, in some way."""
    building = PACE.building._replace(**otherwise)
    return house.another(pace=house.pace._replace(building=building))


@pytest.fixture
def followed(house: House) -> House:
    """Return a house that looks after what is being built."""
    return looking(house, poll_s=0.05)


@pytest.fixture
def still(house: House) -> House:
    """Return a house that looks only when it is told to."""
    return looking(house, poll_s=60.0)


def look(house: House) -> None:
    """Look once after what is being built in any region."""
    for region in house.clouds:
        house.arriving.look(region)


def count_calls(house: House, monkeypatch: pytest.MonkeyPatch, call: str) -> list[str]:
    """Return a list to which each region's name is added when that call comes to it."""
    calls: list[str] = []

    def counting(region: str, act: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *its: calls.append(region) or act(*its)

    for region, cloud in house.clouds.items():
        monkeypatch.setattr(cloud, call, counting(region, getattr(cloud, call)))
    return calls


def test_it_is_active_with_the_first_look_after_it_was_built(still: House) -> None:
    made = still.create(6)
    look(still)
    assert {still.get(it).status for it in made} == {Status.BUILD}
    still.settle()
    look(still)
    assert {still.get(it).status for it in made} == {Status.ACTIVE}
    assert all(still.get(it).addresses for it in made)
    assert still.story(made[0])[-1][0] == "active"
    still.assert_agreement()


def test_all_of_a_region_are_looked_for_by_one_call(
    still: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    still.create(12)
    lists, shows = (count_calls(still, monkeypatch, it) for it in ("active", "show"))
    still.settle()
    look(still)
    assert (sorted(lists), shows) == ([A, B, C], [])


def test_it_happens_without_anybodys_doing_and_then_the_threads_end(followed: House) -> None:
    before = set(threading.enumerate())
    made = followed.create(9)
    started = {it for it in threading.enumerate() if it.name == "arriving"} - before
    assert len(started) == 3  # one a region
    followed.settle()
    assert soon(lambda: all(followed.get(it).status == Status.ACTIVE for it in made))
    assert soon(lambda: not any(thread.is_alive() for thread in started))
    assert not followed.arriving._followed  # noqa: SLF001
    (more,) = followed.create(1)
    followed.settle()
    assert soon(lambda: followed.get(more).status == Status.ACTIVE)


@pytest.mark.parametrize(
    "error", [Unreachable("away"), InDoubt("500"), RateLimited("429", retry_after_s=1)]
)
def test_a_cloud_that_errs_is_looked_at_again(still: House, error: Any) -> None:
    made = still.create(12)
    still.settle()
    still.clouds[A].fails(error, "active")
    look(still)
    states = {it.region: still.get(it).status for it in made}
    assert states == {A: Status.BUILD, B: Status.ACTIVE, C: Status.ACTIVE}
    still.clouds[A].fails(None)
    look(still)
    assert {still.get(it).status for it in made} == {Status.ACTIVE}


def test_what_was_destroyed_while_it_was_built_stays_on_its_way_out(still: House) -> None:
    made = still.one()
    still.clouds[made.region].settle()
    still.destroy(made)
    look(still)
    assert still.get(made).status == Status.DELETING
    still.come_to_rest()
    assert still.get(made).status == Status.DELETED


def test_it_is_given_up_after_a_time_and_left_to_the_sweep(house: House) -> None:
    followed = looking(house, poll_s=0.05, follow_s=0.2)
    made = followed.one()
    assert soon(lambda: not followed.arriving._followed)  # noqa: SLF001
    followed.settle()
    assert followed.get(made).status == Status.BUILD
    followed.sweep()
    assert followed.get(made).status == Status.ACTIVE


def test_so_many_are_followed_at_most(house: House) -> None:
    still = looking(house, poll_s=60.0, at_most=2)
    made = still.create(5)
    still.settle()
    look(still)
    states = [still.get(it).status for it in made]
    assert sorted(states) == [Status.ACTIVE] * 2 + [Status.BUILD] * 3
    still.create(1)
    still.settle()
    look(still)
    assert [still.get(it).status for it in made] == states


def test_who_repeats_a_command_and_waits_sees_what_a_dead_one_had_made(make_house: Any) -> None:
    dead = make_house()
    made = dead.create(2, key="k")
    dead.settle()
    repeated = looking(dead, poll_s=0.05).create(2, key="k", wait_s=10)
    assert [it.id for it in repeated] == [it.id for it in made]
    assert {it.status for it in repeated} == {Status.ACTIVE}


def test_what_never_comes_is_looked_for_less_and_less_often(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = looking(house, poll_s=0.005)
    lists = count_calls(followed, monkeypatch, "active")
    followed.one()
    threading.Event().wait(1.5)
    # Ten for each time that its age is multiplied by e, and not one every 5 ms.
    assert 5 < len(lists) < 90


def test_it_is_active_only_with_an_address(still: House) -> None:
    made = still.one()
    still.settle()
    cloud, server = still.clouds[made.region], still.server(made)
    cloud.servers[server.id] = server._replace(addresses=())
    look(still)
    assert still.get(made).status == Status.BUILD
    cloud.servers[server.id] = server
    look(still)
    assert (still.get(made).status, still.get(made).addresses) == (
        Status.ACTIVE, server.addresses,
    )  # fmt: skip
