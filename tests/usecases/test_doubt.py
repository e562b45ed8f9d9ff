"""Lost answers: a server may exist of which nobody heard, and never are there two of one."""

from typing import Any

import pytest

from openmultistack.domain.cloud_errors import AccountBroken, InDoubt, RateLimited, Unreachable
from openmultistack.domain.errors import NoRegionWorked
from openmultistack.domain.models import Status
from tests.support.house import ONE_BY_ONE, QUIET, House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
SILENCE = InDoubt("no answer within the time allowed")


def region_hash(house: House, region: str) -> dict[str, str]:
    """Return what the ledger keeps of a region, its breaker as well."""
    kept: dict[str, str] = house.redis.hgetall(house.keys.region(region))
    return kept


# ---------------------------------------------------------------- found


def test_no_double_a_server_whose_answer_was_lost_is_looked_for_and_kept(house: House) -> None:
    house.clouds[A].answers = "lost"
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, made.attempt, made.status) == (A, 1, Status.BUILD)
    assert made.server_id == house.server(made).id
    assert house.held() == {A: 1, B: 0, C: 0}
    assert "create" not in house.clouds[B].calls
    assert house.story(made) == [("placed", A, 1), ("accepted", A, 1)]
    house.assert_agreement()
    house.come_to_rest()
    assert house.get(made).status == Status.ACTIVE


def test_a_lost_answer_whose_server_is_found_is_no_failure_of_its_region(house: House) -> None:
    house.clouds[A].answers = "lost"
    for _ in range(4):  # more than open a breaker
        assert house.one(regions=[A]).region == A
    assert (house.state(A).state, house.state(A).last_error) == ("up", None)
    assert "failures" not in region_hash(house, A)
    house.assert_agreement()


def test_all_of_a_large_command_are_found(house: House) -> None:
    for cloud in house.clouds.values():
        cloud.answers = "lost"
    made = house.create(12)
    assert {it.attempt for it in made} == {1}
    assert house.servers() == 12
    house.assert_agreement()


def test_what_shows_up_at_the_second_look_is_kept_as_well(make_house: Any) -> None:
    house = make_house(pace=QUIET._replace(looks_s=(0.0, 0.05)))
    cloud = house.clouds[A]
    cloud.answers, find = "late", cloud.find

    def slow(marks: Any) -> Any:
        found = find(marks)
        cloud.arrive()
        return found

    cloud.find = slow
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, made.attempt) == (A, 1)
    assert cloud.calls.count("find") == 2
    house.assert_agreement()


def test_who_is_destroyed_while_its_answer_is_lost_loses_the_server_that_is_found(
    house: House,
) -> None:
    cloud = house.clouds[A]
    cloud.answers = "lost"
    cloud.meanwhile = lambda order: house.destroy(house.get(order.marks.instance_id))
    made = house.one(regions=[A, B], strategy="priority", ssh_public_key=SSH_KEY)
    assert (made.status, made.region, made.attempt) == (Status.DELETING, A, 1)
    assert "create" not in house.clouds[B].calls
    assert cloud.keypairs == set()
    house.come_to_rest()
    assert house.get(made).status == Status.DELETED
    house.assert_idle()


# ---------------------------------------------------------------- not found (yet)


def test_what_is_not_found_keeps_its_slot_and_the_instance_goes_elsewhere(house: House) -> None:
    house.clouds[A].answers = "late"
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, made.attempt) == (B, 2)
    assert house.held() == {A: 1, B: 1, C: 0}
    assert [it[0] for it in house.story(made)] == ["placed", "failed", "placed", "accepted"]
    assert (house.state(A).state, region_hash(house, A)["failures"]) == ("up", "1")


def test_no_double_the_server_that_came_too_late_is_deleted_and_one_is_left(house: House) -> None:
    house.clouds[A].answers = "late"
    made = house.one(regions=[A, B], strategy="priority", ssh_public_key=SSH_KEY)
    house.clouds[A].arrive()
    assert house.servers() == 2
    assert house.sweep(A)["deleted"] == 1
    assert house.held()[A] == 1  # until the cloud is seen to have no such server
    house.settle()
    assert house.sweep(A)["released"] == 1
    assert house.held() == {A: 0, B: 1, C: 0}
    assert house.clouds[A].keypairs == set()
    house.sweep(B)
    assert house.get(made).status == Status.ACTIVE
    assert list(house.clouds[B].ours()) == [(made.id, 2)]
    house.assert_agreement()


def test_a_doubtful_attempt_that_made_nothing_is_released_when_its_lease_is_over(
    house: House,
) -> None:
    house.clouds[A].fails(SILENCE, "create")
    made = house.one(regions=[A, B], strategy="priority")
    house.sweep(A)
    assert house.held()[A] == 1
    house.lapse()
    assert house.sweep(A)["released"] == 1
    assert house.held() == {A: 0, B: 1, C: 0}
    assert house.get(made).status == Status.BUILD


def test_a_server_that_comes_after_its_slot_was_freed_is_deleted(house: House) -> None:
    house.clouds[A].answers = "late"
    house.one(regions=[A, B], strategy="priority")
    house.lapse()
    house.sweep(A)
    assert house.held()[A] == 0
    house.clouds[A].arrive()
    house.come_to_rest()
    assert house.held() == {A: 0, B: 1, C: 0}
    house.assert_agreement()


def test_doubt_everywhere_is_an_error_and_whatever_came_about_is_settled(house: House) -> None:
    for cloud in house.clouds.values():
        cloud.answers = "late"
    with pytest.raises(NoRegionWorked) as refusal:
        house.create()
    assert set(refusal.value.regions) == {A, B, C}
    assert house.held() == {A: 1, B: 1, C: 1}
    for cloud in house.clouds.values():
        cloud.arrive()
    assert house.servers() == 3
    house.come_to_rest()
    house.assert_idle()


@pytest.mark.parametrize("doubts", [1, 2, 3, 4])
def test_the_third_doubt_in_a_row_gives_the_region_a_rest(house: House, doubts: int) -> None:
    house.clouds[A].fails(SILENCE, "create")
    for _ in range(doubts):
        house.one(regions=[A, C], strategy="priority")
    sent = min(doubts, 3)
    assert house.clouds[A].calls.count("create") == sent
    assert house.state(A).state == ("resting" if doubts >= 3 else "up")
    assert house.held()[A] == sent


def test_an_acceptance_between_doubts_counts_them_anew(house: House) -> None:
    answers = iter([SILENCE, SILENCE, None, SILENCE, SILENCE])
    house.clouds[A].fault = lambda call: next(answers, None) if call == "create" else None
    for _ in range(3):
        house.one(regions=[A, C], strategy="priority")
    assert "failures" not in region_hash(house, A)
    house.lapse()
    house.sweep(A)
    for _ in range(2):
        house.one(regions=[A, C], strategy="priority")
    assert house.state(A).state == "up"


# ---------------------------------------------------------------- the look-up fails as well


@pytest.mark.parametrize(
    "error",
    [Unreachable("connection refused"), SILENCE, AccountBroken("401"),
     RateLimited("429", retry_after_s=9)],
)  # fmt: skip
def test_a_region_that_does_not_answer_the_look_gets_nothing_more_of_the_command(
    make_house: Any, error: Any
) -> None:
    house = make_house({A: 4, B: 8}, pace=ONE_BY_ONE)
    house.clouds[A].answers = "lost"
    house.clouds[A].fails(error, "find")
    made = house.create(8)
    assert {it.region for it in made} == {B}
    assert house.clouds[A].calls.count("create") == 1
    assert house.held()[A] == 1  # of the one in doubt alone
    house.clouds[A].fails(None)
    house.come_to_rest()
    assert house.servers() == 8
    house.assert_agreement()


def test_what_was_not_looked_for_is_settled_by_the_sweep(house: House) -> None:
    house.clouds[A].answers = "lost"
    house.clouds[A].fails(Unreachable("connection refused"), "find")
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.region, house.servers()) == (B, 2)
    house.clouds[A].fails(None)
    house.come_to_rest()
    assert house.servers() == 1
    assert house.get(made).status == Status.ACTIVE
    house.assert_agreement()
