"""Many at once: what a region answered to one instance of a command spares the others the same."""

import threading
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import (
    AccountBroken,
    CatalogueStale,
    InDoubt,
    RateLimited,
    RegionFull,
    Unreachable,
)
from openmultistack.domain.errors import CapacityExhausted, Invalid, NoRegionWorked
from openmultistack.domain.pace import PACE
from tests.support.house import ONE_BY_ONE, House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
SICK = [
    Unreachable("connection refused"),
    AccountBroken("401"),
    RegionFull("403: Quota exceeded"),
    CatalogueStale("400: Flavor could not be found"),
    RateLimited("429", retry_after_s=60),
]


@pytest.fixture
def wide(make_house: Any) -> House:
    """Return two regions; all twelve of a command have a place in either."""
    return make_house({A: 12, B: 12})


@pytest.mark.parametrize("error", SICK, ids=lambda it: type(it).__name__)
def test_a_sick_region_gets_at_most_as_many_calls_as_go_side_by_side(
    wide: House, error: Any
) -> None:
    together = threading.Barrier(PACE.creates_at_once)

    def fault(call: str) -> Any:
        return error if call == "create" else None

    def meanwhile(_: object) -> None:
        together.wait(10)  # all that may be under way are, before the first is answered

    wide.clouds[A].fault = fault
    wide.clouds[A].meanwhile = meanwhile
    made = wide.create(12, strategy="priority")
    assert [it.region for it in made] == [B] * 12
    assert wide.clouds[A].calls.count("create") == PACE.creates_at_once
    wide.clouds[A].fails(None)
    wide.assert_agreement()


@pytest.mark.parametrize("error", SICK, ids=lambda it: type(it).__name__)
def test_nothing_is_sent_to_a_region_once_its_answer_is_known(wide: House, error: Any) -> None:
    house = wide.another(pace=ONE_BY_ONE)
    house.clouds[A].fails(error, "create")
    assert len(house.create(12, strategy="priority")) == 12
    assert house.clouds[A].calls.count("create") == 1
    assert house.held() == {A: 0, B: 12}


@pytest.mark.parametrize("error", SICK, ids=lambda it: type(it).__name__)
def test_what_nobody_takes_is_sent_once_to_each_and_all_slots_come_back(
    make_house: Any, error: Any
) -> None:
    house = make_house({A: 12, B: 12}, pace=ONE_BY_ONE)
    for cloud in house.clouds.values():
        cloud.fails(error, "create")
    with pytest.raises((NoRegionWorked, CapacityExhausted, Invalid)):
        house.create(12)
    assert [cloud.calls.count("create") for cloud in house.clouds.values()] == [1, 1]
    house.assert_idle()


def test_a_doubt_says_nothing_of_the_siblings(make_house: Any) -> None:
    house = make_house({A: 4, B: 4}, pace=ONE_BY_ONE)
    answers = iter([InDoubt("no answer")])
    house.clouds[A].fault = lambda call: next(answers, None) if call == "create" else None
    made = house.create(4, strategy="priority")
    assert sorted(it.region for it in made) == [A, A, A, B]


def test_a_later_command_is_not_spared_by_what_an_earlier_one_heard(wide: House) -> None:
    """Only the ledger carries answers from one command to another."""
    wide.clouds[A].fails(RegionFull("403: Quota exceeded"), "create")
    wide.create(2, strategy="priority")
    wide.clouds[A].fails(None)
    wide.sweep(A)
    assert wide.one(strategy="priority").region == A


# ---------------------------------------------------------------- rate limits


def test_a_rate_limit_pauses_the_region_for_every_process_that_shares_the_ledger(
    wide: House,
) -> None:
    wide.clouds[A].fails(RateLimited("429", retry_after_s=120), "create")
    assert wide.one(strategy="priority").region == B
    other = wide.another()
    assert other.state(A).state == "resting"
    assert 100_000 < other.state(A).resting_ms <= 120_000
    wide.clouds[A].fails(None)
    wide.clouds[A].calls.clear()
    assert other.one(strategy="priority").region == B
    assert wide.clouds[A].calls == []
    other.sweep(A)  # a sweep that goes well does not shorten what the provider asked for
    assert other.one(strategy="priority").region == B


def test_after_its_pause_a_region_is_used_again(wide: House) -> None:
    wide.clouds[A].fails(RateLimited("429", retry_after_s=0.2), "create")
    wide.one(strategy="priority")
    wide.clouds[A].fails(None)
    assert wide.state(A).state == "resting"
    threading.Event().wait(0.3)
    assert wide.state(A).state == "up"
    assert wide.one(strategy="priority").region == A


@pytest.mark.parametrize("call", ["survey", "delete", "forget_keypair"])
def test_a_sweep_that_is_rate_limited_pauses_its_region_and_does_not_call_it_down(
    wide: House, call: str
) -> None:
    leaving = wide.create(2, regions=[A])
    wide.clouds[A].fails(Unreachable("refused"), "delete")
    for it in leaving:
        wide.destroy(it)
    left_over = [wide.keypair(f"i-{n:026}") for n in (1, 2)]
    wide.clouds[A].keypairs |= set(left_over)
    wide.clouds[A].calls.clear()
    wide.clouds[A].fails(RateLimited("429: slow down", retry_after_s=60), call)
    swept = wide.reaping.sweep(A)
    assert (swept["outcome"], swept["error"]) == ("failed", "429: slow down")
    assert wide.clouds[A].calls.count(call) == 1
    assert wide.state(A).state == "resting"
    assert wide.one(strategy="priority").region == B


def test_a_rate_limit_is_no_step_towards_an_open_breaker(wide: House) -> None:
    for _ in range(4):
        wide.clouds[A].fails(RateLimited("429", retry_after_s=0.01), "create")
        wide.one(strategy="priority")
        threading.Event().wait(0.03)
    wide.clouds[A].fails(None)
    assert wide.state(A).state == "up"
    assert wide.one(strategy="priority").region == A
