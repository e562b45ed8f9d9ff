"""restock, unsuit: what a region offers by now, and which kinds of orders it refused."""

from typing import Any

import pytest

from openmultistack.domain.models import Catalogue, Flavor, Resources
from openmultistack.ledger import Ledger
from openmultistack.ledger.stocking import KINDS_KEPT
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
CAP = Resources(instances=20, vcpus=40, ram_mb=51200)


def catalogue(name: str) -> Catalogue:
    """Return a catalogue that can be told from others."""
    return Catalogue(flavors=(Flavor(id="1", name=name, vcpus=1, ram_mb=1, disk_gb=1),))


@pytest.fixture
def other(desk: Desk, redis: Any) -> Ledger:
    """Return the same ledger as another process has it."""
    return Ledger(redis, desk.fleet, lease_ms=1000)


def unsuited(ledger: Ledger) -> dict[str, dict[str, str]]:
    """Return what was refused, as it is now."""
    ledger.catalogues([A, B])
    return {region: dict(kinds) for region, kinds in ledger.unsuited().items()}


def test_what_a_region_refused_is_known_to_all_and_once(desk: Desk, other: Ledger) -> None:
    assert unsuited(other) == {}
    desk.ledger.unsuit(A, "flavor:1", "403: no disk")
    assert unsuited(other) == {A: {"flavor:1": "403: no disk"}}
    desk.ledger.unsuit(A, "flavor:1", "other words")
    desk.ledger.unsuit(A, "keyed:2", "403: no key")
    desk.ledger.unsuit(B, "keyed:2", "403: no key")
    assert unsuited(other) == {
        A: {"flavor:1": "403: no disk", "keyed:2": "403: no key"},
        B: {"keyed:2": "403: no key"},
    }


@pytest.mark.parametrize("how", ["restock", "survey"])
def test_what_a_region_refused_is_forgotten_when_its_catalogue_is_read(
    desk: Desk, other: Ledger, how: str
) -> None:
    for region in (A, B):
        desk.ledger.unsuit(region, "flavor:1", "403: no disk")
    assert set(unsuited(other)) == {A, B}
    desk.ledger.survey(A, cap=CAP, foreign=Resources(), catalogue=None)
    assert set(unsuited(other)) == {A, B}
    if how == "restock":
        desk.ledger.restock(A, catalogue("new"))
    else:
        desk.ledger.survey(A, cap=CAP, foreign=Resources(), catalogue=catalogue("new"))
    assert set(unsuited(other)) == {B}
    assert other.catalogues([A])[A] == catalogue("new")
    assert other.catalogue_age_ms(A) is not None
    desk.ledger.unsuit(A, "flavor:1", "403: no disk")
    assert set(unsuited(other)) == {A, B}


def test_what_was_read_anew_leaves_a_regions_state_as_it_is(desk: Desk) -> None:
    desk.ledger.survey(A, cap=CAP, foreign=Resources(), catalogue=catalogue("old"))
    desk.ledger.report(A, "401", "down")
    desk.ledger.restock(A, catalogue("new"))
    (state,) = desk.ledger.regions([A])
    assert (state.state, state.cap) == ("down", CAP)


def test_bounded_so_many_kinds_are_remembered(desk: Desk) -> None:
    for number in range(3 * KINDS_KEPT):
        desk.ledger.unsuit(A, f"key:{number}", "400: not this one")
    kept = unsuited(desk.ledger)[A]
    assert 0 < len(kept) <= KINDS_KEPT
    assert f"key:{3 * KINDS_KEPT - 1}" in kept
    assert 0 < desk.redis.pttl(desk.keys.refused(A)) <= 3600 * 1000
