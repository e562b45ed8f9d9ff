"""What leaves is looked after: its slot is in use again a moment after the cloud let go of it."""

import threading
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import InDoubt, RateLimited, Unreachable
from openmultistack.domain.models import Status
from openmultistack.domain.pace import PACE
from tests.support.house import House
from tests.support.waiting import soon

A, B, C = "alpha/One", "alpha/Two", "beta/One"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
# As an operator or another tool of the same project may name theirs.
OTHERS = ["laptop", "oms-laptop", "oms-another-i-" + "0" * 26 + "-1"]


def looking(house: House, **otherwise: Any) -> House:
    """Return the same fleet where one looks after what leaves, in some way."""
    leaving = PACE.leaving._replace(**otherwise)
    return house.another(pace=house.pace._replace(leaving=leaving))


@pytest.fixture
def followed(house: House) -> House:
    """Return a house that looks after what leaves, when a test has it look."""
    return looking(house, poll_s=0.05)


@pytest.fixture
def still(house: House) -> House:
    """Return a house that looks only when it is told to."""
    return looking(house, poll_s=60.0)


def threads() -> list[threading.Thread]:
    """Return the threads that look after what leaves."""
    return [it for it in threading.enumerate() if it.name == "leaving"]


# ---------------------------------------------------------------- looking on


def test_a_slot_is_free_with_the_first_look_after_the_cloud_let_go(still: House) -> None:
    made = still.active()
    still.destroy(made)
    still.look()
    assert still.held()[made.region] == 1  # the cloud still counts the server
    still.settle()
    still.look()
    assert still.held()[made.region] == 0
    assert still.get(made).status == Status.DELETED
    assert still.ledger.events(made.id)[-1]["why"] == "the cloud has no such server any more"
    still.assert_idle()


def test_it_happens_without_anybodys_doing_and_then_the_threads_end(followed: House) -> None:
    before = set(threads())
    made = [followed.active(regions=[region]) for region in (A, A, B)]
    for it in made:
        followed.destroy(it)
    started = set(threads()) - before
    assert len(started) == 2  # one a region
    followed.settle()
    assert soon(lambda: not any(followed.held().values()))
    nothing_left(followed)
    assert soon(lambda: not any(thread.is_alive() for thread in started))


def test_a_region_that_does_not_answer_keeps_no_slot_of_another(
    followed: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = threading.Event()
    for region in (A, B):
        followed.destroy(followed.active(regions=[region]))
    monkeypatch.setattr(followed.clouds[A], "present", lambda: stuck.wait(30) and frozenset())
    followed.settle()
    assert soon(lambda: followed.held() == {A: 1, B: 0, C: 0})
    stuck.set()
    nothing_left(followed)


def nothing_left(house: House) -> None:
    """Check that nothing is followed any more."""
    assert soon(lambda: not house.leaving._followed)  # noqa: SLF001


def test_who_waits_gets_the_slot_with_the_same_look(make_house: Any) -> None:
    house = looking(make_house({A: 1}), poll_s=60.0)
    first = house.active(owner="bob")
    (waiting,) = house.create(1, on_full="queue")
    house.destroy(first)
    house.settle()
    house.look()
    assert (house.get(waiting).status, house.get(waiting).region) == (Status.BUILD, A)
    house.assert_agreement()


@pytest.mark.parametrize(
    "error", [Unreachable("away"), InDoubt("500"), RateLimited("429", retry_after_s=1)]
)
@pytest.mark.parametrize("call", ["present", "show"])
def test_a_cloud_that_errs_is_looked_at_again(still: House, error: Any, call: str) -> None:
    made, other = still.active(regions=[A]), still.active(regions=[B])
    for it in (made, other):
        still.destroy(it)
    still.settle()
    still.clouds[A].fails(error, call)
    still.look()
    assert still.held() == {A: 1, B: 0, C: 0}  # one sick region does not hinder another
    still.clouds[A].fails(None)
    still.look()
    still.assert_idle()


def test_a_list_that_is_behind_frees_no_slot(still: House) -> None:
    made = still.active()
    still.destroy(made)
    still.clouds[made.region].present = frozenset  # it shows nothing; yet the server is there
    still.look()
    assert still.held()[made.region] == 1
    assert still.get(made).status == Status.DELETING


def test_what_a_sweep_deletes_is_followed_as_well(still: House) -> None:
    made = still.one(regions=[A, B], strategy="priority")
    still.clouds[A].build_fault = "No valid host was found. "
    still.settle()
    still.sweep(A)
    assert still.held()[A] == 1
    still.settle()
    still.look()
    assert still.held() == {A: 0, B: 1, C: 0}
    assert still.get(made).status == Status.BUILD


def test_no_more_are_followed_than_may_be_and_the_sweep_has_the_rest(house: House) -> None:
    still = looking(house, poll_s=60.0, at_most=2)
    made = still.create(4)
    for it in made:
        still.destroy(it)
    still.settle()
    still.look()
    assert sum(still.held().values()) == 2
    threading.Event().wait(0.01)
    still.sweep()
    still.assert_idle()


def test_what_never_goes_is_left_to_the_sweep_after_a_while(house: House) -> None:
    followed = looking(house, poll_s=0.05, follow_s=0.2)
    before = set(threads())
    made = followed.active()
    followed.destroy(made)
    assert soon(lambda: not set(threads()) - before)
    assert followed.held()[made.region] == 1
    followed.settle()
    followed.sweep()
    followed.assert_idle()


def test_a_slot_is_released_once_whoever_sees_it_first(still: House) -> None:
    made = still.active()
    still.destroy(made)
    still.settle()
    still.sweep()
    still.look()
    assert [what for what, _, _ in still.story(made)].count("deleted") == 1
    still.assert_idle()


# ---------------------------------------------------------------- keypairs


def test_no_leak_the_keypair_of_a_server_deleted_behind_our_back_is_forgotten(house: House) -> None:
    made = house.active(ssh_public_key=SSH_KEY)
    cloud = house.clouds[made.region]
    cloud.servers.clear()
    house.sweep()
    house.sweep()  # the slot went with the first
    assert cloud.keypairs == set()


def test_keypairs_of_users_and_of_other_fleets_are_never_touched(house: House) -> None:
    house.active(ssh_public_key=SSH_KEY)
    for cloud in house.clouds.values():
        cloud.fleet = house.name
        cloud.keypairs |= set(OTHERS)
        cloud.servers.clear()
    for _ in range(3):
        house.come_to_rest()
    assert all(cloud.keypairs == set(OTHERS) for cloud in house.clouds.values())


def test_a_keypair_whose_attempt_holds_a_slot_is_kept_though_no_server_is_seen(
    house: House,
) -> None:
    """Its POST may be under way: the keypair is made before it."""
    house.clouds[A].fails(InDoubt("no answer"), "create")
    made = house.one(regions=[A, B], strategy="priority", ssh_public_key=SSH_KEY)
    house.clouds[A].fails(None)
    name = house.keypair(made)
    house.clouds[A].keypairs.add(name)
    house.sweep()
    assert house.clouds[A].keypairs == {name}
    house.lapse()
    house.sweep()
    house.sweep()
    assert house.clouds[A].keypairs == set()
    assert len(house.clouds[B].keypairs) == 1  # of the attempt that lives


def test_a_keypair_whose_server_is_there_is_kept_though_the_ledger_was_lost(house: House) -> None:
    made = house.active(ssh_public_key=SSH_KEY)
    house.redis.flushdb()
    house.come_to_rest()
    assert house.clouds[made.region].keypairs == {house.keypair(made, region=made.region)}


def test_a_keypair_that_its_cloud_keeps_hinders_nothing_else(house: House) -> None:
    made, other = house.create(2, regions=[A], ssh_public_key=SSH_KEY)
    cloud = house.clouds[A]
    house.settle()
    del cloud.servers[house.server(made).id]
    threading.Event().wait(0.01)
    house.sweep(A)
    cloud.fails(InDoubt("500: keypairs are away"), "forget_keypair")
    assert house.reaping.sweep(A)["outcome"] == "swept"
    assert (house.state(A).state, house.state(A).last_error) == ("up", "500: keypairs are away")
    assert house.get(other).status == Status.ACTIVE
    cloud.fails(None)
    house.sweep(A)
    assert cloud.keypairs == {house.keypair(other)}
