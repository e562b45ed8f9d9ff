"""A ledger that went back in time learns from the clouds, and nothing that lives is deleted."""

import itertools
import threading
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import Unreachable
from openmultistack.domain.models import Instance, Resources, Status
from openmultistack.fleet.config import FleetFile
from openmultistack.usecases.renew import renew
from tests.support.house import House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
NO_HOST = "No valid host was found. "
ORDERS = list(itertools.permutations([A, B, C]))


def asked_to_go(house: House) -> int:
    """Return how often any cloud was asked to delete a server."""
    return sum(cloud.calls.count("delete") for cloud in house.clouds.values())


def forget_calls(house: House) -> None:
    """Count what is asked of clouds from now on."""
    for cloud in house.clouds.values():
        cloud.calls.clear()


def move_on(house: House, made: Instance) -> Instance:
    """Let an instance fail where it is, and be built elsewhere."""
    cloud = house.clouds[house.get(made).region]
    cloud.build_fault = NO_HOST
    house.settle()
    house.sweep()
    cloud.build_fault = None
    house.come_to_rest()
    return house.get(made)


def assert_kept(house: House, kept: Instance) -> None:
    """One server is left of an instance, the one it had; and the books are exact."""
    shown = house.get(kept)
    assert (shown.status, shown.region) == (Status.ACTIVE, kept.region)
    assert shown.attempt == kept.attempt
    assert shown.server_id == kept.server_id == house.server(kept).id
    house.assert_agreement()
    used = {it: house.ledger.usage([it])[it] for it in ("alice", "bob")}
    assert sum(used.values(), Resources()) == sum(
        (house.state(it).held for it in house.clouds), Resources()
    )


@pytest.mark.parametrize("order", ORDERS)
def test_no_loss_what_moved_since_is_kept_where_it_lives(
    house: House, order: tuple[str, ...]
) -> None:
    made = house.one(regions=[A, B], strategy="priority", labels={"job": "7"}, key="k")
    past = house.past()
    moved = move_on(house, made)
    assert (moved.region, moved.attempt) == (B, 2)
    past.come_back()
    forget_calls(house)
    for region in (*order, *order):
        house.sweep(region)
    house.come_to_rest()
    assert asked_to_go(house) == 0
    assert_kept(house, moved)
    assert house.story(made)[-2][0] == "adopted"
    keys, redis = house.keys, house.redis
    for index in (keys.live("alice"), keys.labelled("alice", "job", "7")):
        assert redis.zrange(index, 0, -1) == [made.id]
    assert redis.zrange(keys.gone("alice"), 0, -1) == []
    assert redis.zscore(keys.due, made.id) == moved.identity.expires_at_ms
    again = house.one(regions=[A, B], strategy="priority", labels={"job": "7"}, key="k")
    assert again.id == made.id
    assert house.servers() == 1


@pytest.mark.parametrize("order", ORDERS)
def test_no_loss_what_left_the_queue_since_is_kept_where_it_lives(
    make_house: Any, order: tuple[str, ...]
) -> None:
    """Another one waits as well, and gets the slot that is free now."""
    house = make_house({A: 1, B: 1, C: 1})
    fill = house.create(3, owner="bob")
    house.come_to_rest()
    waits = house.one(on_full="queue")
    past = house.past()
    (here,) = [it for it in fill if it.region == B]
    house.destroy(here)
    house.settle()
    house.sweep(B)
    house.come_to_rest()
    served = house.get(waits)
    assert (served.status, served.region, served.attempt) == (Status.ACTIVE, B, 1)
    past.come_back()
    forget_calls(house)
    for region in (*order, *order):
        house.sweep(region)
    house.come_to_rest()
    assert asked_to_go(house) == 0
    assert_kept(house, served)
    assert house.ledger.queue() == []


@pytest.mark.parametrize("slow", [A, B])
def test_of_the_same_number_in_two_regions_one_is_kept_and_only_after_it_is_seen(
    make_house: Any, slow: str
) -> None:
    """It waits again, and is served elsewhere before the region where it lives is swept."""
    house = make_house({A: 1, B: 1})
    fill = {it.region: it for it in house.create(2, owner="bob")}
    house.come_to_rest()
    waits = house.one(on_full="queue")
    past = house.past()
    house.destroy(fill[B])
    house.settle()
    house.sweep(B)
    house.come_to_rest()
    past.come_back()
    house.destroy(house.get(fill[A]))
    house.settle()
    house.sweep(A)  # serves it, in A
    twin = house.get(waits)
    assert (twin.region, twin.attempt, house.servers()) == (A, 1, 2)
    house.clouds[slow].fails(Unreachable("away"))
    for region in (A, B, A, B):
        house.reaping.sweep(region)
    assert {it.region for it in house.ledger.regions() if it.state == "down"} == {slow}
    assert house.servers() == 2
    house.clouds[slow].fails(None)
    house.come_to_rest()
    assert house.servers() == 1
    assert_kept(house, house.get(twin))
    assert house.get(twin).region == A


@pytest.fixture
def twin(make_house: Any) -> Any:
    """An instance of two servers, attempt 1 in A and in B, as its first one was forgotten.

    With it the moment in which the ledger had that in A for its only one.
    """
    house = make_house({A: 1, B: 1})
    fill = {it.region: it for it in house.create(2, owner="bob")}
    house.come_to_rest()
    waits = house.one(on_full="queue")
    past = house.past()
    make_room(house, fill[A])
    house.come_to_rest()
    believed = house.past()
    past.come_back()
    make_room(house, fill[B])
    assert (house.get(waits).region, house.servers()) == (B, 2)
    return house, house.get(waits), believed


def make_room(house: House, instance: Instance) -> None:
    """Have an instance destroyed, and its slot given on."""
    house.destroy(instance)
    house.settle()
    house.sweep(instance.region)


def test_what_is_built_already_goes_for_nothing_that_may_still_fail(twin: Any) -> None:
    house, waits, _ = twin
    forget_calls(house)
    house.sweep(A)
    assert asked_to_go(house) == 0, "in B it is still being built"
    house.clouds[B].build_fault = NO_HOST
    house.settle()
    house.sweep(A)
    assert asked_to_go(house) == 0, "in B it has failed"
    house.clouds[B].build_fault = None
    house.come_to_rest()
    assert house.servers() == 1
    assert house.get(waits).status == Status.ACTIVE
    house.assert_agreement()


def test_nothing_goes_for_one_that_only_the_ledger_believes_in(twin: Any) -> None:
    """It is the one that lives which is asked for, not what is written of it."""
    house, waits, believed = twin
    house.come_to_rest()
    lives = house.get(waits)
    assert (lives.region, house.servers()) == (B, 1)
    believed.come_back()
    assert (house.get(waits).status, house.get(waits).region) == (Status.ACTIVE, A)
    forget_calls(house)
    for region in (B, A, B):
        house.sweep(region)
    house.come_to_rest()
    assert not house.clouds[B].calls.count("delete")
    assert_kept(house, lives)


def test_a_higher_attempt_is_adopted_at_once_and_nothing_is_made_beside_it(house: House) -> None:
    made = house.one(regions=[A, B], strategy="priority")
    past = house.past()
    moved = move_on(house, made)
    past.come_back()
    house.sweep(B)
    assert (house.get(made).attempt, house.get(made).region) == (2, B)
    house.come_to_rest()
    assert_kept(house, moved)


def test_the_release_of_a_twin_never_ends_the_live_one(house: House) -> None:
    made = house.active(regions=[A])
    other = house.server(made)
    house.clouds[B].servers["twin"] = other._replace(id="twin")
    house.sweep(B)
    assert house.slots(B).keys() == {(made.id, 1)}
    house.clouds[B].servers.clear()
    pause()
    house.sweep(B)
    assert house.held() == {A: 1, B: 0, C: 0}
    assert_kept(house, made)


def pause() -> None:
    """Let a few ms pass: what was accepted in the millisecond of a sweep is too young for it."""
    threading.Event().wait(0.01)


def test_what_vanished_comes_back_with_a_living_attempt(house: House) -> None:
    made = house.active(labels={"job": "7"})
    server = house.server(made)
    house.clouds[made.region].servers.clear()
    pause()
    house.sweep()
    assert (house.get(made).status, house.get(made).ended) == (Status.DELETED, "vanished")
    house.clouds[made.region].servers[server.id] = server
    house.come_to_rest()
    assert house.get(made).ended is None
    assert_kept(house, made)
    assert "though it was taken for gone" in house.ledger.events(made.id)[-2]["why"]


@pytest.mark.parametrize("again", [True, False])
def test_what_was_destroyed_comes_back_with_an_old_ledger_until_its_owner_says_so_again(
    house: House, *, again: bool
) -> None:
    made = house.active()
    server = house.server(made)
    past = house.past()
    house.destroy(made)
    past.come_back()
    assert house.get(made).status == Status.ACTIVE
    house.settle()
    pause()
    house.sweep()
    assert house.get(made).status == Status.DELETED
    if again:
        house.destroy(house.get(made))
    house.clouds[made.region].servers[server.id] = server
    house.come_to_rest()
    assert (house.servers() == 0) == again


def test_an_expiry_that_was_put_off_since_counts_though_the_ledger_has_the_older_one(
    house: House,
) -> None:
    """After a backup of an hour ago, whatever is renewed in time would be over at once."""
    made, over = house.active(ttl=1), house.active(ttl=1)
    past = house.past()
    renewed = renew(house.ledger, FleetFile(), "alice", made.id, 3600)
    house.sweep()
    past.come_back()
    house.redis.hset(house.keys.record(made.id), "expires_at_ms", 1)
    for it in (made, over):
        house.redis.zadd(house.keys.due, {it.id: 1})
        house.redis.hset(house.keys.record(it.id), "expires_at_ms", 1)
    marks = house.server(over).marks
    marks = marks._replace(identity=marks.identity._replace(expires_at_ms=1))
    house.clouds[over.region].mark(over.server_id, marks)
    assert house.reaping.reap()["expired"] == 2
    house.come_to_rest()
    assert house.get(over).status == Status.DELETED
    assert_kept(house, renewed)
    assert house.get(made).identity.expires_at_ms == renewed.identity.expires_at_ms


def test_a_renewal_is_taken_over_from_the_server_and_a_shorter_one_is_written_on_it(
    house: House,
) -> None:
    made = house.active(ttl=600)
    past = house.past()
    renewed = renew(house.ledger, FleetFile(), "alice", made.id, 3600)
    house.sweep()
    past.come_back()
    house.sweep()
    assert house.get(made).identity.expires_at_ms == renewed.identity.expires_at_ms
    shorter = renew(house.ledger, FleetFile(), "alice", made.id, 60)
    house.sweep()
    assert house.server(made).marks.identity.expires_at_ms == shorter.identity.expires_at_ms
    assert house.get(made).identity.expires_at_ms == shorter.identity.expires_at_ms


def test_never_over_a_copy_of_an_attempts_server_counts_and_is_left_alone(house: House) -> None:
    made = house.active(regions=[A])
    cloud = house.clouds[A]
    cloud.servers["copy"] = house.server(made)._replace(id="copy", created_at="z")
    forget_calls(house)
    house.come_to_rest()
    assert asked_to_go(house) == 0
    assert {"copy", made.server_id} == set(cloud.servers)
    assert (house.state(A).held.instances, house.state(A).foreign.instances) == (1, 1)
    assert house.get(made).server_id == made.server_id
    assert house.state(A).free().instances == 2


def test_a_newer_attempt_that_failed_since_is_an_error_for_its_owner_to_decide(
    house: House,
) -> None:
    made = house.one(regions=[A, B], strategy="priority")
    past = house.past()
    moved = move_on(house, made)
    cloud, server = house.clouds[B], house.server(moved)
    cloud.servers[server.id] = server._replace(status=Status.ERROR, fault="disk gone")
    past.come_back()
    forget_calls(house)
    house.sweep(B)
    house.come_to_rest()
    shown = house.get(made)
    assert (shown.status, shown.error, shown.region) == (Status.ERROR, "disk gone", B)
    assert server.id in cloud.servers
    house.destroy(shown)
    house.come_to_rest()
    house.assert_idle()
