"""Which order the rules give to offers."""

import itertools

import pytest

from openmultistack.domain.models import Flavor, Image, Network, Offer
from openmultistack.domain.placement import STRATEGIES, Ranked, by_priority


def ranked(region: str, *, priority: int = 0, price: float = 0.0) -> Ranked:
    """Return an offer of a region with what the operator says of it."""
    offer = Offer(
        region=region,
        flavor=Flavor(id="f", name="f", vcpus=1, ram_mb=1, disk_gb=1),
        image=Image(id="i", name="i"),
        network=Network(id="n", name="n"),
    )
    return Ranked(offer=offer, priority=priority, price=price)


def test_priority_goes_before_price_and_price_before_name() -> None:
    offers = [
        ranked("a/late", priority=1),
        ranked("c/dear", price=2.0),
        ranked("d/cheap", price=0.5),
        ranked("b/also-cheap", price=0.5),
        ranked("z/first", priority=-1, price=9.0),
    ]
    names = [it.offer.region for it in by_priority(offers)]
    assert names == ["z/first", "b/also-cheap", "d/cheap", "c/dear", "a/late"]


def test_the_order_does_not_hang_on_the_order_that_offers_came_in() -> None:
    offers = [ranked("a/1"), ranked("a/2", price=1), ranked("b/1", priority=3)]
    orders = [by_priority(shuffled) for shuffled in itertools.permutations(offers)]
    assert all(order == orders[0] for order in orders)


def test_no_offers_give_no_order() -> None:
    assert by_priority([]) == []


@pytest.mark.parametrize(
    ("name", "pick"), [("spread", "freest"), ("priority", "first"), ("pack", "fullest")]
)
def test_each_strategy_is_known_by_its_name(name: str, pick: str) -> None:
    assert STRATEGIES[name].pick == pick


def test_every_strategy_keeps_every_offer() -> None:
    offers = [ranked("a/1", price=3), ranked("b/1"), ranked("b/2", priority=-2)]
    for strategy in STRATEGIES.values():
        assert sorted(it.offer.region for it in strategy.order(offers)) == ["a/1", "b/1", "b/2"]
