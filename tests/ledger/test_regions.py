"""survey, report and the readings of regions."""

import pytest

from openmultistack.domain.models import Catalogue, Flavor, Resources
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
CAP = Resources(instances=20, vcpus=40, ram_mb=51200)
FOREIGN = Resources(instances=3, vcpus=6, ram_mb=4096)


def catalogue(name: str) -> Catalogue:
    """Return a catalogue that can be told from others."""
    return Catalogue(flavors=(Flavor(id="1", name=name, vcpus=1, ram_mb=1, disk_gb=1),))


def test_a_sweep_that_saw_a_region_well_sets_its_counts_and_lets_it_up(desk: Desk) -> None:
    before = desk.ledger.now_ms()
    desk.ledger.survey(A, cap=CAP, foreign=FOREIGN, catalogue=None)
    (state,) = desk.ledger.regions()
    assert (state.region, state.state, state.cap, state.foreign) == (A, "up", CAP, FOREIGN)
    assert state.held == Resources()
    assert before <= state.swept_at_ms <= desk.ledger.now_ms()
    assert state.full is False


def test_a_later_sweep_counts_and_leaves_what_is_held(desk: Desk) -> None:
    desk.ledger.survey(A, cap=CAP, foreign=FOREIGN, catalogue=None)
    desk.placed(desk.offer(A, 2, 512))
    desk.ledger.survey(A, cap=Resources(instances=1), foreign=Resources(), catalogue=None)
    (state,) = desk.ledger.regions()
    assert (state.cap, state.foreign) == (Resources(instances=1), Resources())
    assert state.held == Resources(instances=1, vcpus=2, ram_mb=512)
    assert desk.held(A) == [1]


def test_a_quota_without_bound_can_be_written_down(desk: Desk) -> None:
    most = Resources(instances=2**31, vcpus=2**31, ram_mb=2**53)
    desk.ledger.survey(A, cap=most, foreign=Resources(), catalogue=None)
    assert desk.ledger.regions()[0].cap == most
    assert desk.placed(A)


def test_regions_asked_for_are_told_even_if_never_swept(desk: Desk) -> None:
    desk.open(A)
    states = desk.ledger.regions([B, A])
    assert [(state.region, state.state) for state in states] == [(A, "up"), (B, "unknown")]
    assert desk.ledger.regions([]) == []
    assert [state.region for state in desk.ledger.regions()] == [A]


@pytest.mark.parametrize(
    ("means", "state", "full"),
    [("down", "down", False), ("full", "up", True), ("stale", "up", False), ("", "up", False)],
)
def test_what_a_region_said_is_kept_with_what_follows(
    desk: Desk, means: str, state: str, *, full: bool
) -> None:
    desk.open(A)
    before = desk.ledger.now_ms()
    desk.ledger.report(A, "quota exceeded", means)
    (told,) = desk.ledger.regions()
    assert (told.state, told.full, told.last_error) == (state, full, "quota exceeded")
    assert told.last_error_at_ms >= before


def test_a_sweep_ends_what_was_reported_and_the_last_error_stays_to_be_read(desk: Desk) -> None:
    desk.open(A)
    for means in ("down", "full"):
        desk.ledger.report(A, "no", means)
    desk.open(A)
    (told,) = desk.ledger.regions()
    assert (told.state, told.full, told.last_error) == ("up", False, "no")


def test_a_region_that_only_ever_failed_is_known_and_not_up(desk: Desk) -> None:
    desk.ledger.report(A, "login refused", "down")
    assert [(it.region, it.state) for it in desk.ledger.regions()] == [(A, "down")]


def test_a_catalogue_is_kept_until_another_is_read(desk: Desk) -> None:
    assert desk.ledger.catalogue_age_ms(A) is None
    desk.ledger.survey(A, cap=CAP, foreign=FOREIGN, catalogue=catalogue("m1"))
    assert desk.ledger.catalogues([A]) == {A: catalogue("m1")}
    desk.ledger.survey(A, cap=CAP, foreign=FOREIGN, catalogue=None)
    assert desk.ledger.catalogues([A]) == {A: catalogue("m1")}
    assert 0 <= desk.ledger.catalogue_age_ms(A) < 10_000
    desk.ledger.survey(A, cap=CAP, foreign=FOREIGN, catalogue=catalogue("m2"))
    assert desk.ledger.catalogues([A]) == {A: catalogue("m2")}


def test_a_stale_catalogue_has_no_age_and_is_used_until_the_next_sweep(desk: Desk) -> None:
    desk.ledger.survey(A, cap=CAP, foreign=FOREIGN, catalogue=catalogue("m1"))
    desk.ledger.report(A, "no such flavor", "stale")
    assert desk.ledger.catalogue_age_ms(A) is None
    assert desk.ledger.catalogues([A]) == {A: catalogue("m1")}
    desk.ledger.survey(A, cap=CAP, foreign=FOREIGN, catalogue=catalogue("m1"))
    assert desk.ledger.catalogue_age_ms(A) is not None


def test_an_unchanged_catalogue_is_not_read_again(desk: Desk) -> None:
    desk.ledger.survey(A, cap=CAP, foreign=FOREIGN, catalogue=catalogue("m1"))
    first = desk.ledger.catalogues([A])
    desk.redis.delete(desk.keys.catalogue(A))
    assert desk.ledger.catalogues([A]) == first


def test_regions_without_a_catalogue_are_left_out(desk: Desk) -> None:
    desk.open(A)
    assert desk.ledger.catalogues([A, B]) == {}


def test_a_view_holds_the_slots_of_a_region_and_the_instances_of_these_and_of_those_seen(
    desk: Desk,
) -> None:
    desk.open(A, B)
    here, there, over = desk.placed(A), desk.placed(B), desk.placed(A)
    desk.end(over)
    view = desk.ledger.view(A, [there.instance_id, over.instance_id, "i-unknown"])
    assert [slot.instance_id for slot in view.slots] == [here.instance_id]
    assert set(view.instances) == {here.instance_id, there.instance_id, over.instance_id}


def test_a_view_of_a_region_without_slots_is_empty(desk: Desk) -> None:
    view = desk.ledger.view(A, [])
    assert (view.slots, view.instances) == ((), {})
