"""Idempotency keys: the same key and command are the same instances, whatever comes between."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import (
    CatalogueStale,
    InDoubt,
    OrderRefused,
    RegionFull,
    Unreachable,
)
from openmultistack.domain.errors import (
    IdempotencyConflict,
    InstancesEnded,
    Invalid,
    NoRegionWorked,
)
from openmultistack.domain.models import Status
from tests.support.house import QUIET, House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
# Who repeats a command does not wait long for the first.
IMPATIENT = QUIET._replace(repeat_wait_s=0.1)


class Killed(BaseException):
    """SIGKILL, as far as a process can do that to itself."""


def ids(instances: Any) -> list[str]:
    """Return the instances' ids."""
    return [it.id for it in instances]


def killed_after_place(house: House, count: int, **more: Any) -> list[str]:
    """Create under a key and be killed before anything is sent; return the ids in the ledger."""
    pursue = house.creating._attempts.pursue_all  # noqa: SLF001
    lost: list[str] = []

    def die(pursuits: Any) -> Any:
        lost.extend(it.attempt.instance_id for it in pursuits)
        raise Killed

    house.creating._attempts.pursue_all = die  # noqa: SLF001
    with pytest.raises(Killed):
        house.create(count, **more)
    house.creating._attempts.pursue_all = pursue  # noqa: SLF001
    return lost


def side_by_side(acts: list[Callable[[], Any]]) -> list[Any]:
    """Run acts in threads at once; return what each returned or raised."""
    results: list[Any] = [None] * len(acts)
    barrier = threading.Barrier(len(acts))

    def run(position: int) -> None:
        barrier.wait()
        try:
            results[position] = acts[position]()
        except Exception as error:  # noqa: BLE001  what came of it is looked at by the test
            results[position] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# ---------------------------------------------------------------- repeats


def test_no_double_a_repeat_returns_the_same_instances_and_makes_none(house: House) -> None:
    made = house.create(5, key="k")
    again = house.create(5, key="k")
    assert ids(again) == ids(made)
    assert [it.server_id for it in again] == [it.server_id for it in made]
    assert house.servers() == 5
    house.come_to_rest()
    assert {it.status for it in house.create(5, key="k")} == {Status.ACTIVE}
    house.assert_agreement()


def test_a_repeat_after_the_end_is_told_so_and_makes_none(house: House) -> None:
    made = house.create(2, key="k")
    house.destroy(made[0])
    assert ids(house.create(2, key="k")) == ids(made)  # one of them lives
    house.destroy(made[1])
    for _ in range(2):
        with pytest.raises(InstancesEnded) as refusal:
            house.create(2, key="k")
        assert refusal.value.members() == {"instances": ids(made)}
        house.come_to_rest()
    house.assert_idle()


def test_without_a_key_or_with_another_one_instances_are_others(house: House) -> None:
    made = [house.one(), house.one(), house.one(key="k"), house.one(key="l")]
    assert len(set(ids(made))) == 4


def test_isolation_a_key_is_its_owners_own(house: House) -> None:
    mine, theirs = house.one(key="k"), house.one(key="k", owner="bob", ttl=60)
    assert mine.id != theirs.id
    assert (mine.identity.owner, theirs.identity.owner) == ("alice", "bob")


@pytest.mark.parametrize(
    "other", [{"count": 2}, {"ttl": 60}, {"labels": {"a": "b"}}, {"on_full": "queue"}]
)
def test_the_same_key_with_another_command_is_a_conflict(
    house: House, other: dict[str, Any]
) -> None:
    made = house.one(key="k")
    with pytest.raises(IdempotencyConflict):
        house.create(**{"count": 1, "key": "k"} | other)
    assert house.servers() == 1
    assert house.one(key="k").id == made.id


def test_what_was_refused_leaves_its_key_free(house: House) -> None:
    with pytest.raises(Invalid):
        house.create(13, key="k")
    house.clouds[A].fails(OrderRefused("400: Invalid user_data"), "create")
    with pytest.raises(Invalid):
        house.one(key="k", regions=[A])
    house.clouds[A].fails(None)
    assert house.one(key="k").status == Status.BUILD


@pytest.mark.parametrize("error", [Unreachable("refused"), InDoubt("no answer")])
def test_what_no_region_took_leaves_its_key_free(house: House, error: Any) -> None:
    house.clouds[A].fails(error, "create")
    with pytest.raises(NoRegionWorked):
        house.one(key="k", regions=[A])
    house.clouds[A].fails(None)
    house.sweep()
    made = house.one(key="k", regions=[A])
    assert made.status == Status.BUILD
    assert house.one(key="k", regions=[A]).id == made.id


# ---------------------------------------------------------------- at once


def test_duplicates_at_once_share_one_set_of_instances(house: House) -> None:
    # As many as may wait for the one that came first.
    results = side_by_side([lambda: house.create(3, key="k") for _ in range(5)])
    assert len({tuple(ids(it)) for it in results}) == 1
    assert all(it.server_id for made in results for it in made)
    assert house.servers() == 3
    assert sum(cloud.calls.count("create") for cloud in house.clouds.values()) == 3
    house.assert_agreement()


def test_duplicates_at_once_of_what_waits_share_one_place(make_house: Any) -> None:
    house = make_house({A: 2})
    many = [lambda: house.create(4, key="k", on_full="queue") for _ in range(4)]
    results = side_by_side(many)
    assert len({tuple(ids(it)) for it in results}) == 1
    assert len(house.ledger.queue()) == 2


def test_when_the_first_is_given_up_while_a_duplicate_waits_the_duplicate_places_anew(
    make_house: Any,
) -> None:
    """What nobody but this order knows of is refused: the duplicate is not."""
    house = make_house({A: 4})
    sent, refuse, firsts = threading.Event(), threading.Event(), iter([True])
    given_up: list[str] = []

    def meanwhile(order: Any) -> None:
        if next(firsts, False):
            given_up.append(order.marks.instance_id)
            sent.set()
            refuse.wait(10)
            raise OrderRefused("400: Invalid user_data")

    def duplicate() -> Any:
        assert sent.wait(10)
        threading.Timer(0.3, refuse.set).start()
        return house.another().one(key="k")

    house.clouds[A].meanwhile = meanwhile
    refused, made = side_by_side([lambda: house.one(key="k"), duplicate])
    assert isinstance(refused, Invalid)
    assert (made.status, made.attempt) == (Status.BUILD, 1)
    assert made.id not in given_up
    assert house.one(key="k").id == made.id
    assert house.servers() == 1
    house.come_to_rest()
    house.assert_agreement()


def test_what_a_duplicate_was_told_of_is_kept_when_the_first_fails(
    make_house: Any,
) -> None:
    """The duplicate waits no longer than it may, and has had its answer by then."""
    house = make_house(pace=IMPATIENT)
    cloud, told = house.clouds[A], []

    def meanwhile(_: object) -> None:
        told.append(house.another().one(key="k", regions=[A]))
        raise CatalogueStale("400: Flavor could not be found")

    cloud.meanwhile = meanwhile
    first = house.create(1, key="k", regions=[A])
    cloud.meanwhile = lambda _: None
    (kept,) = told
    assert ids(first) == [kept.id]
    assert house.get(kept).status == Status.ERROR  # to be seen, with its story
    assert "Flavor could not be found" in house.get(kept).error


def test_a_repeat_shows_nothing_of_what_a_partial_command_left_out(make_house: Any) -> None:
    house = make_house({A: 4})
    refused_last = iter([None, None, None, RegionFull("403: Quota exceeded")])
    house.clouds[A].fault = lambda name: next(refused_last, None) if name == "create" else None
    made = house.create(4, partial=True, key="k")
    assert len(made) == 3
    assert ids(house.create(4, partial=True, key="k")) == sorted(ids(made))
    house.assert_agreement()


def test_what_a_duplicate_was_told_of_is_not_left_out_of_a_partial_command(
    make_house: Any,
) -> None:
    house, told = make_house({A: 1, B: 1}, pace=IMPATIENT), []
    made = iter([False, True])

    def meanwhile(_: object) -> None:
        if next(made, False):
            told.extend(house.another().create(2, partial=True, key="k"))
            raise CatalogueStale("400: Flavor could not be found")

    for cloud in house.clouds.values():
        cloud.meanwhile = meanwhile
    first = house.create(2, partial=True, key="k")
    assert sorted(ids(first)) == sorted(ids(told))
    assert sorted(ids(house.create(2, partial=True, key="k"))) == sorted(ids(told))
    assert {house.get(it).status for it in told} == {Status.BUILD, Status.ERROR}


# ---------------------------------------------------------------- killed in between


def test_who_repeats_after_a_crash_gets_the_same_and_a_sweep_makes_them(
    make_house: Any,
) -> None:
    house = make_house(pace=IMPATIENT)
    lost = killed_after_place(house, 3, key="k")
    assert ids(house.create(3, key="k")) == lost
    assert house.servers() == 0
    house.lapse()
    assert house.sweep()["retried"] == 3
    again = house.create(3, key="k")
    assert ids(again) == lost
    assert all(it.server_id for it in again)
    house.come_to_rest()
    assert {it.status for it in house.create(3, key="k")} == {Status.ACTIVE}
    house.assert_agreement()


def test_what_nobody_repeats_after_a_crash_is_released(house: House) -> None:
    killed_after_place(house, 3, key="k")
    house.lapse()
    house.sweep()
    house.assert_idle()
    assert house.servers() == 0


# ---------------------------------------------------------------- the ledger is lost


def test_a_key_outlives_the_ledger(house: House) -> None:
    made = house.create(5, key="k", ttl=900)
    house.redis.flushdb()
    house.sweep()
    house.sweep()
    assert ids(house.create(5, key="k", ttl=900)) == ids(made)
    assert house.servers() == 5
    with pytest.raises(IdempotencyConflict):
        house.create(5, key="k", ttl=901)
    assert house.one(key="k", owner="bob").id not in ids(made)


def test_a_command_is_the_same_to_its_key_as_it_was_before(house: House) -> None:
    """A repeat after an upgrade gives the same instances, whatever fields came with that."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
    made = house.one(name="ci", labels={"job": "7"}, ssh_public_key=key, key="k1")
    before = "6ab9f1eb8f7d3388f4f9d586f66e99fd:34f6644da7f3750ef2f37b75165431ac:1"
    assert house.get(made).identity.idempotency == before


def test_a_key_outlives_the_ledger_also_where_instances_went_elsewhere(house: House) -> None:
    house.clouds[A].fails(Unreachable("connection refused"), "create")
    made = house.create(4, key="k")
    house.clouds[A].fails(None)
    house.redis.flushdb()
    house.sweep()
    house.sweep()
    assert ids(house.create(4, key="k")) == ids(made)
    assert house.servers() == 4


def test_a_key_outlives_the_ledger_also_on_a_server_that_a_sweep_made(house: House) -> None:
    made = house.one(key="k", regions=[A, B], strategy="priority")
    house.clouds[A].build_fault = "No valid host was found. "
    house.settle()
    house.sweep(A)
    house.clouds[A].build_fault = None
    house.come_to_rest()
    house.redis.flushdb()
    house.sweep()
    again = house.one(key="k", regions=[A, B], strategy="priority")
    assert (again.id, again.region) == (made.id, B)


def test_positive_delete_a_commit_after_the_ledger_was_lost_deletes_nothing(house: House) -> None:
    cloud = house.clouds[A]
    cloud.meanwhile = lambda _: house.redis.flushdb()
    made = house.one(regions=[A], key="k")
    assert made.status == Status.BUILD
    assert "delete" not in cloud.calls
    cloud.meanwhile = lambda _: None
    house.come_to_rest()
    assert house.get(made).status == Status.ACTIVE
    assert house.one(regions=[A], key="k").id == made.id
    assert house.servers() == 1
    house.assert_agreement()
