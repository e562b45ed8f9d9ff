"""A reap puts counts right that are out of step, once in a while for the whole fleet."""

from typing import Any

import pytest

from openmultistack.domain.errors import OwnerQuotaExceeded
from openmultistack.domain.models import Resources
from openmultistack.fleet.config import FleetFile
from tests.support.house import House

A, B = "alpha/One", "beta/One"
ALICE = FleetFile.model_validate({"owners": {"alice": {"quota": {"instances": 3}}}})


@pytest.fixture
def house(make_house: Any) -> House:
    """Return a fleet in which alice has two of her three."""
    house: House = make_house({A: 4, B: 4}, file=ALICE)
    house.create(2)
    house.come_to_rest()
    house.reaping.reap()
    return house


def reap_a_minute_later(house: House) -> None:
    """Reap when it is somebody's turn to count."""
    house.redis.delete(house.keys.turn("recount"))
    house.reaping.reap()


@pytest.mark.parametrize("counter", ["held_vcpus", "held_ram_mb", "building"])
def test_a_regions_counter_is_right_after_a_reap(house: House, counter: str) -> None:
    right = house.state(A)
    house.redis.hincrby(house.keys.region(A), counter, 10**9)
    reap_a_minute_later(house)
    assert house.state(A)._replace(swept_at_ms=0) == right._replace(swept_at_ms=0)


@pytest.mark.parametrize("counter", ["instances", "vcpus", "ram_mb"])
def test_what_an_owner_holds_is_right_after_a_reap(house: House, counter: str) -> None:
    right = house.ledger.usage(["alice"])
    house.redis.hincrby(house.keys.usage("alice"), counter, 7)
    house.reaping.reap()
    assert house.ledger.usage(["alice"]) != right, "not each reap counts"
    reap_a_minute_later(house)
    assert house.ledger.usage(["alice"]) == right
    assert house.one()


def test_an_owner_who_was_refused_for_what_they_do_not_hold_is_let_in_after_a_reap(
    house: House,
) -> None:
    for instance in house.ledger.get(
        house.ledger.page("alice", label=None, gone=False, after=None, limit=9)
    ):
        house.destroy(instance)
    house.come_to_rest()
    for _ in range(2):
        reap_a_minute_later(house)
    house.redis.hset(house.keys.usage("alice"), "instances", 3)
    with pytest.raises(OwnerQuotaExceeded):
        house.one()
    reap_a_minute_later(house)
    assert house.one()
    assert house.ledger.usage(["alice"])["alice"] == Resources(1, 2, 2048)
