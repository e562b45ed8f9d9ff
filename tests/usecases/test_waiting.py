"""The queue: who waits gets the room that comes free, in fair order, and is not forgotten."""

import threading
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import CatalogueStale, InDoubt, RegionFull, Unreachable
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.kinds import Asked, kind_of
from openmultistack.domain.models import ALL_OF_IT, Offer, Status
from openmultistack.fleet.config import FleetFile
from openmultistack.provision.dequeuing import LOTS
from openmultistack.usecases.read import place_in_queue
from openmultistack.usecases.renew import renew
from tests.support.house import House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
NO_HOST = "No valid host was found. "


@pytest.fixture
def full(make_house: Any) -> House:
    """Return two regions of two places each, all taken by bob."""
    house = make_house({A: 2, B: 2})
    house.create(4, owner="bob")
    house.settle()
    house.sweep()
    return house


def queued(house: House, count: int = 1, **more: Any) -> list[Any]:
    """Create what may wait, and return what does."""
    made = house.create(count, on_full="queue", **more)
    return [it for it in made if it.status == Status.QUEUED]


def held_by(house: House, region: str) -> Any:
    """Return an instance that is built in a region."""
    (instance_id, _), *_ = house.clouds[region].ours()
    return house.get(instance_id)


# ---------------------------------------------------------------- into the queue


def test_what_finds_no_place_waits_and_the_rest_is_made_at_once(make_house: Any) -> None:
    house = make_house({A: 2, B: 1})
    made = house.create(5, on_full="queue")
    assert [it.status for it in made] == [Status.BUILD] * 3 + [Status.QUEUED] * 2
    assert [it.region for it in made[3:]] == ["", ""]
    assert [it.attempt for it in made[3:]] == [0, 0]
    assert house.servers() == 3
    house.assert_agreement()


def test_a_region_that_turns_out_full_sends_its_order_back_to_the_queue(make_house: Any) -> None:
    house = make_house({A: 2})
    house.clouds[A].fails(RegionFull("403: Quota exceeded"), "create")
    (made,) = house.create(1, on_full="queue")
    assert (made.status, made.region) == (Status.QUEUED, "")
    house.clouds[A].fails(None)
    house.sweep()
    assert house.get(made).status == Status.BUILD
    house.come_to_rest()
    assert house.get(made).status == Status.ACTIVE
    house.assert_agreement()


# ---------------------------------------------------------------- out of the queue


def test_a_slot_freed_by_a_destroy_is_filled_by_the_sweep_that_sees_it_free(full: House) -> None:
    (waiting,) = queued(full)
    full.destroy(held_by(full, A))
    full.sweep()
    assert full.get(waiting).status == Status.QUEUED  # the cloud still counts the server
    full.settle()
    assert full.sweep()["served"] == 1
    served = full.get(waiting)
    assert (served.status, served.region, served.attempt) == (Status.BUILD, A, 1)
    assert full.story(waiting) == [("queued", "", 0), ("placed", A, 1), ("accepted", A, 1)]
    full.come_to_rest()
    assert full.get(waiting).status == Status.ACTIVE
    full.assert_agreement()


def test_what_is_gone_behind_our_back_makes_room(full: House) -> None:
    waiting = queued(full, 2)
    full.clouds[B].servers.clear()
    threading.Event().wait(0.01)
    assert full.sweep()["served"] == 2
    assert {full.get(it).region for it in waiting} == {B}


def test_room_that_others_leave_is_used(make_house: Any) -> None:
    house = make_house({A: 1}, swept=False)
    foreign = house.clouds[A].add_foreign(house.clouds[A].quota._replace(instances=1))
    house.sweep()
    (waiting,) = queued(house)
    del house.clouds[A].servers[foreign]
    assert house.sweep()["served"] == 1
    assert house.get(waiting).status == Status.BUILD


@pytest.mark.parametrize("error", [Unreachable("connection refused"), RegionFull("403: Quota")])
def test_a_region_that_recovered_serves_who_waits(make_house: Any, error: Any) -> None:
    house = make_house({A: 2})
    house.clouds[A].fails(error)
    house.reaping.reap()
    waiting = queued(house, 2)
    assert len(waiting) == 2
    house.clouds[A].fails(None)
    assert house.sweep()["served"] == 2
    assert {house.get(it).status for it in waiting} == {Status.BUILD}
    house.assert_agreement()


def test_an_opened_region_serves_who_waits(full: House) -> None:
    full.draining.drain([A], "works")
    (waiting,) = queued(full)
    full.destroy(held_by(full, A))
    full.come_to_rest()
    assert full.get(waiting).status == Status.QUEUED
    full.draining.open([A])
    assert (full.get(waiting).status, full.get(waiting).region) == (Status.BUILD, A)


def test_a_lost_answer_to_who_was_served_is_looked_for_as_well(full: House) -> None:
    (waiting,) = queued(full)
    full.destroy(held_by(full, A))
    full.settle()
    full.clouds[A].answers = "lost"
    full.sweep()
    assert full.get(waiting).server_id == full.server(full.get(waiting)).id
    full.assert_agreement()


def test_each_gets_only_what_suits_it(full: House) -> None:
    only_b, any_one = queued(full, regions=[B])[0], queued(full)[0]
    full.destroy(held_by(full, A))
    full.come_to_rest()
    assert full.get(only_b).status == Status.QUEUED
    assert full.get(any_one).region == A


def test_a_refusal_of_its_labels_alone_holds_up_no_other_with_the_same_order(full: House) -> None:
    labelled, plain = queued(full, labels={"job": "7"})[0], queued(full)[0]
    full.ledger.unsuit(A, "metadata:4", "403: Maximum number of metadata items exceeds 3")
    full.destroy(held_by(full, A))
    full.come_to_rest()
    assert full.get(labelled).status == Status.QUEUED
    assert full.get(plain).region == A


def test_what_is_refused_to_one_owner_holds_up_no_other_with_the_same_order(full: House) -> None:
    asked = {"image": "debian", "size": "small", "on_full": "queue"}
    command, offered = CreateInstances.model_validate(asked), full.clouds[A].offered
    offer = Offer(A, offered.flavors[0], offered.images[0], offered.networks[0])
    first, second = queued(full, owner="alice")[0], queued(full, owner="carol")[0]
    refused = kind_of(ALL_OF_IT, Asked(offer, command, command.identity("alice")))
    full.ledger.unsuit(A, refused, "403: who knows")
    full.destroy(held_by(full, A))
    full.come_to_rest()
    assert full.get(first).status == Status.QUEUED
    assert full.get(second).region == A


def test_after_the_wait_an_instance_lives_its_whole_time(full: House) -> None:
    (waiting,) = queued(full, ttl=900)
    threading.Event().wait(0.2)
    full.destroy(held_by(full, A))
    full.come_to_rest()
    served = full.get(waiting)
    assert served.identity.expires_at_ms >= served.identity.created_at_ms + 900_000 + 200
    assert full.server(served).marks.identity.expires_at_ms == served.identity.expires_at_ms


def test_what_is_served_tells_its_cloud_at_once_until_when_it_lives(full: House) -> None:
    (waiting,) = queued(full, ttl=86_000)
    full.destroy(held_by(full, A))
    full.settle()
    before = full.past()
    assert full.sweep(A)["served"] == 1
    served = full.get(waiting)
    assert served.identity.expires_at_ms > waiting.identity.expires_at_ms
    assert full.server(served).marks.identity.expires_at_ms == served.identity.expires_at_ms
    before.come_back()
    full.sweep(A)
    adopted = full.get(waiting)
    assert adopted.identity.expires_at_ms == served.identity.expires_at_ms, (
        "not when its wait was to be over"
    )


def test_a_renewal_while_it_waits_is_for_the_time_after(full: House) -> None:
    (waiting,) = queued(full, ttl=900)
    renew(full.ledger, FleetFile(), "alice", waiting.id, 5000)
    full.destroy(held_by(full, A))
    full.come_to_rest()
    served = full.get(waiting)
    assert served.identity.expires_at_ms >= served.identity.created_at_ms + 5_000_000


# ---------------------------------------------------------------- in what order


def test_owners_take_turns_whoever_came_first(full: House) -> None:
    order = [("carol", 3), ("dave", 2), ("erin", 1)]
    waiting = {owner: queued(full, count, owner=owner) for owner, count in order}
    served: list[str] = []
    for region in (A, A, B, B):
        full.destroy(held_by(full, region))
        full.settle()
        full.sweep()
        now = {it.id for its in waiting.values() for it in its
               if full.get(it).status != Status.QUEUED}  # fmt: skip
        served += [o for o, its in waiting.items() for it in its if it.id in now]
        waiting = {o: [it for it in its if it.id not in now] for o, its in waiting.items()}
    assert served[:3] == ["carol", "dave", "erin"]
    assert served[3] == "carol"


def test_a_preferred_owner_goes_first(make_house: Any) -> None:
    file = FleetFile.model_validate({"owners": {"boss": {"priority": -1}}})
    house = make_house({A: 1}, file=file)
    first = house.one(owner="bob")
    other, boss = queued(house, owner="carol")[0], queued(house, owner="boss")[0]
    house.destroy(first)
    house.come_to_rest()
    assert (house.get(boss).region, house.get(other).status) == (A, Status.QUEUED)


def test_who_waits_is_told_its_place_and_why(full: House) -> None:
    first, second = queued(full, 2)
    third = queued(full, owner="carol")[0]
    places = [place_in_queue(full.ledger, it) for it in (first, third, second)]
    assert [(it.place, it.waiting) for it in places] == [(1, 3), (2, 3), (3, 3)]
    assert places[0].why == "no region that can serve it has a free slot"
    assert place_in_queue(full.ledger, held_by(full, A)) is None


# ---------------------------------------------------------------- no more


def test_who_is_destroyed_while_it_waits_is_gone_at_once_and_gets_no_slot(full: House) -> None:
    gone, stays = queued(full, 2)
    assert full.destroy(gone).status == Status.DELETED
    assert [it.instance_id for it in full.ledger.queue()] == [stays.id]
    assert full.destroy(gone).status == Status.DELETED
    full.destroy(held_by(full, A))
    full.come_to_rest()
    assert full.get(stays).status == Status.ACTIVE
    assert full.get(gone).status == Status.DELETED
    full.assert_agreement()


def test_what_no_region_can_serve_any_more_waits_and_holds_nobody_up(full: House) -> None:
    stuck, other = queued(full, image="debian", regions=[A])[0], queued(full, regions=[B])[0]
    offered = full.clouds[A].offered
    full.clouds[A].offered = offered._replace(images=())
    full.redis.hset(full.keys.region(A), "catalogue_at_ms", 1)
    for region in (A, B):
        full.destroy(held_by(full, region))
    full.come_to_rest()
    assert full.get(stuck).status == Status.QUEUED
    assert full.get(other).status == Status.ACTIVE
    full.clouds[A].offered = offered
    full.redis.hset(full.keys.region(A), "catalogue_at_ms", 1)
    full.come_to_rest()
    assert full.get(stuck).status == Status.ACTIVE


# ---------------------------------------------------------------- and back into it


def test_who_fails_where_it_was_made_waits_again_when_nothing_else_is_free(full: House) -> None:
    (waiting,) = queued(full)
    full.destroy(held_by(full, A))
    full.settle()
    full.sweep(A)
    full.clouds[A].build_fault = NO_HOST
    full.settle()
    full.sweep(A)
    back = full.get(waiting)
    assert (back.status, back.attempt, set(back.tried)) == (Status.QUEUED, 1, {A})
    full.clouds[A].build_fault = None
    full.destroy(held_by(full, B))
    full.come_to_rest()
    served = full.get(waiting)
    assert (served.status, served.region, served.attempt) == (Status.ACTIVE, B, 2)
    full.assert_agreement()


@pytest.mark.parametrize("error", [InDoubt("no answer"), CatalogueStale("400: no flavor")])
def test_who_is_served_by_a_sick_region_goes_on_waiting(full: House, error: Any) -> None:
    (waiting,) = queued(full)
    full.destroy(held_by(full, A))
    full.settle()
    full.clouds[A].fails(error, "create")
    full.sweep(A)
    assert full.get(waiting).status == Status.QUEUED
    full.clouds[A].fails(None)
    full.lapse()
    full.destroy(held_by(full, B))
    full.come_to_rest()
    assert full.get(waiting).status == Status.ACTIVE
    full.assert_agreement()


def test_who_is_killed_while_it_serves_forgets_nobody(full: House) -> None:
    (waiting,) = queued(full)
    full.destroy(held_by(full, A))
    full.settle()
    full.serving._attempts.pursue_all = lambda _: []  # noqa: SLF001  killed after `serve`
    full.sweep(A)
    assert (full.get(waiting).status, full.servers()) == (Status.BUILD, 3)
    full.lapse()
    assert full.another().sweep(A)["retried"] == 1
    full.come_to_rest()
    assert full.get(waiting).status == Status.ACTIVE
    full.assert_agreement()


# ---------------------------------------------------------------- a long queue


def read_in(house: House, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return, as they come, the ways in which the queue is read."""
    ways: list[str] = []
    first, whole = house.ledger.next_in_queue, house.ledger.queue
    monkeypatch.setattr(
        house.ledger, "next_in_queue", lambda limit: ways.append(str(limit)) or first(limit)
    )
    monkeypatch.setattr(house.ledger, "queue", lambda: ways.append("whole") or whole())
    return ways


def test_a_slot_is_given_on_by_reading_the_first_in_the_queue_only(
    full: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = queued(full, 3 * sum(LOTS))
    ways = read_in(full, monkeypatch)
    full.destroy(held_by(full, A))
    full.come_to_rest()
    assert full.get(waiting[0]).region == A
    assert set(ways) == {str(LOTS[0])}


@pytest.mark.parametrize("ahead", [LOTS[0], LOTS[1] + 1, sum(LOTS) + 101])
def test_who_suits_gets_the_slot_however_many_stand_before_that_do_not(
    full: House, ahead: int
) -> None:
    for _ in range(ahead):
        queued(full, owner="dave", regions=[B])
    (last,) = queued(full, owner="dave", regions=[A])
    full.destroy(held_by(full, A))
    full.come_to_rest()
    assert full.get(last).region == A
    full.assert_agreement()
