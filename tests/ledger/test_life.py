"""commit, observe and fail: an instance comes into being, or does not."""

from typing import Any

import pytest

from openmultistack.domain.models import Address, Status
from openmultistack.ledger import Attempt, Seen
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
HERE = Address(address="10.0.0.5", version=4, network="private")


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Two regions are up."""
    desk.open(A, B)


def observe(desk: Desk, attempt: Attempt, status: Status = Status.ACTIVE, **more: object) -> None:
    """Let the cloud show an attempt's server."""
    desk.ledger.observe(
        attempt, **{"server_id": "srv", "status": status, "addresses": [HERE]} | more
    )


def destroyed(desk: Desk, attempt: Attempt, **more: object) -> str:
    """Destroy an instance as it is known now."""
    return str(desk.ledger.destroy(desk.get(attempt), **{"why": "its owner"} | more))


# ------------------------------------------------------------------ commit


def test_an_accepted_server_is_written_down_and_its_lease_ends(desk: Desk) -> None:
    attempt = desk.placed(A)
    assert desk.ledger.commit(attempt, "srv")
    slot = desk.slots(A)[attempt.instance_id, 1]
    assert (slot.server_id, slot.lease_until_ms) == ("srv", None)
    assert (desk.get(attempt).server_id, desk.get(attempt).status) == ("srv", Status.BUILD)
    assert desk.held(A) == [1]


def test_the_time_of_a_slot_is_that_of_its_commit(desk: Desk) -> None:
    """A sweep that asked the cloud before the commit must not take the server for gone."""
    attempt = desk.placed(A)
    asked_ms = desk.ledger.now_ms()
    while desk.ledger.now_ms() == asked_ms:
        pass
    desk.ledger.commit(attempt, "srv")
    assert desk.slots(A)[attempt.instance_id, 1].since_ms > asked_ms


def test_a_repeated_commit_says_the_same_and_is_told_once(desk: Desk) -> None:
    attempt = desk.placed(A)
    assert [desk.ledger.commit(attempt, "srv") for _ in range(2)] == [True, True]
    assert desk.events(attempt) == ["placed", "accepted"]
    observe(desk, attempt)
    assert desk.ledger.commit(attempt, "srv")
    assert desk.get(attempt).status == Status.ACTIVE


def test_a_server_of_an_instance_destroyed_meanwhile_is_unwanted_and_its_slot_is_held(
    desk: Desk,
) -> None:
    attempt = desk.placed(A)
    assert destroyed(desk, attempt) == "DELETING"
    assert not desk.ledger.commit(attempt, "srv")
    assert desk.slots(A)[attempt.instance_id, 1].server_id == "srv"
    assert desk.get(attempt).server_id == "srv"


def test_a_server_of_a_superseded_attempt_is_unwanted_and_does_not_pose_as_the_instances(
    desk: Desk,
) -> None:
    first = desk.placed(A)
    second = desk.move(first, B, keep=True).attempt
    assert not desk.ledger.commit(first, "late")
    assert desk.slots(A)[first.instance_id, 1].server_id == "late"
    assert desk.get(first).server_id is None
    assert desk.ledger.commit(second, "srv")
    assert desk.get(first).server_id == "srv"


def test_a_server_that_comes_after_its_lease_was_released_is_kept_for_a_sweep_to_adopt(
    desk: Desk,
) -> None:
    attempt = desk.placed(A)
    desk.end(attempt)
    assert desk.ledger.commit(attempt, "srv")
    assert desk.held(A) == [0]
    assert desk.get(attempt).status == Status.DELETED


@pytest.mark.parametrize("ended", ["destroyed", "expired", "refused"])
def test_a_server_whose_instance_ended_for_good_is_unwanted(desk: Desk, ended: Any) -> None:
    attempt = desk.placed(A)
    desk.ledger.destroy(desk.get(attempt), why="w", ended=ended)
    assert not desk.ledger.commit(attempt, "srv")
    desk.end(attempt)
    assert not desk.ledger.commit(attempt, "srv")


def test_a_server_of_a_later_attempt_than_the_ledger_knows_is_kept(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.ledger.commit(attempt, "srv")
    assert desk.ledger.commit(attempt._replace(number=2, region=B), "srv-2")
    assert (desk.get(attempt).attempt, desk.get(attempt).server_id) == (1, "srv")
    # Of the same number elsewhere it is another attempt, and the ledger's is kept.
    assert not desk.ledger.commit(attempt._replace(region=B), "srv-3")
    assert desk.get(attempt).server_id == "srv"


def test_a_server_of_an_instance_in_error_is_unwanted(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.ledger.fail(attempt, "no region worked")
    assert not desk.ledger.commit(attempt, "srv")


# ------------------------------------------------------------------ observe


def test_what_the_cloud_shows_goes_into_the_ledger(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.ledger.commit(attempt, "srv")
    observe(desk, attempt, Status.BUILD, addresses=[])
    assert desk.get(attempt).status == Status.BUILD
    assert desk.get(attempt).order is not None
    observe(desk, attempt)
    instance = desk.get(attempt)
    assert (instance.status, instance.addresses) == (Status.ACTIVE, (HERE,))
    assert instance.order is None
    assert desk.events(attempt) == ["placed", "accepted", "active"]


def test_an_active_instance_does_not_go_back_to_build(desk: Desk) -> None:
    attempt = desk.active(A)
    observe(desk, attempt, Status.BUILD)
    observe(desk, attempt, Status.ACTIVE, addresses=[])
    # What was known of its addresses stays, while the cloud tells of none.
    assert (desk.get(attempt).status, desk.get(attempt).addresses) == (Status.ACTIVE, (HERE,))
    assert desk.events(attempt).count("active") == 1


def test_an_unproven_attempt_is_adopted_when_its_server_is_seen(desk: Desk) -> None:
    attempt = desk.placed(A)
    observe(desk, attempt)
    slot = desk.slots(A)[attempt.instance_id, 1]
    assert (slot.server_id, slot.lease_until_ms) == ("srv", None)
    assert desk.get(attempt).server_id == "srv"
    assert desk.events(attempt) == ["placed", "adopted", "active"]
    observe(desk, attempt)
    assert desk.events(attempt) == ["placed", "adopted", "active"]


def test_a_superseded_attempts_server_does_not_change_the_instance(desk: Desk) -> None:
    first = desk.placed(A)
    desk.move(first, B, keep=True)
    observe(desk, first)
    instance = desk.get(first)
    assert (instance.status, instance.server_id, instance.addresses) == (Status.BUILD, None, ())
    assert desk.slots(A)[first.instance_id, 1].server_id == "srv"


@pytest.mark.parametrize("ended", ["DELETING", "ERROR"])
def test_a_server_seen_does_not_bring_an_ended_instance_back(desk: Desk, ended: str) -> None:
    attempt = desk.placed(A)
    if ended == "DELETING":
        destroyed(desk, attempt)
    else:
        desk.ledger.fail(attempt, "broken")
    observe(desk, attempt)
    assert (desk.get(attempt).status, desk.get(attempt).addresses) == (ended, ())


def test_another_server_than_the_one_that_was_committed_is_not_observed(desk: Desk) -> None:
    """A sweep may have read the slot before its server was known."""
    desk.open(A)
    attempt = desk.placed(A)
    desk.ledger.commit(attempt, "its-own")
    desk.ledger.observe(attempt, server_id="a-copy", status=Status.ACTIVE, addresses=[])
    its = desk.get(attempt)
    assert (its.server_id, its.status) == ("its-own", Status.BUILD)
    (slot,) = desk.ledger.view(A, []).slots
    assert slot.server_id == "its-own"


def test_what_holds_no_slot_is_not_observed(desk: Desk) -> None:
    attempt = desk.placed(A)
    desk.end(attempt)
    observe(desk, attempt)
    assert (desk.get(attempt).status, desk.get(attempt).addresses) == (Status.DELETED, ())
    observe(desk, Attempt("i-unknown", 1, A))
    assert desk.held(A) == [0]


# ------------------------------------------------------------------ fail


def test_an_instance_that_no_region_is_left_for_is_in_error_and_says_why(desk: Desk) -> None:
    attempt = desk.placed(A)
    assert desk.ledger.fail(attempt, "no region worked") == Status.ERROR
    instance = desk.get(attempt)
    assert (instance.status, instance.error) == (Status.ERROR, "no region worked")
    assert instance.order is None
    assert desk.held(A) == [1]
    assert desk.members(desk.keys.live("alice")) == [attempt.instance_id]


def test_a_failure_of_an_old_attempt_or_an_unwanted_instance_changes_nothing(desk: Desk) -> None:
    first = desk.placed(A)
    second = desk.move(first, B).attempt
    assert desk.ledger.fail(first, "late") == Status.BUILD
    destroyed(desk, second)
    assert desk.ledger.fail(second, "late") == Status.DELETING
    assert desk.get(second).error is None
    assert desk.ledger.fail(Attempt("i-unknown", 1, A), "x") is None


def test_the_clouds_own_word_is_kept_told_of_and_taken_back(desk: Desk) -> None:
    attempt = desk.active(A)
    for word in ("SHUTOFF", "SHUTOFF", ""):
        seen = Seen(attempt, "srv", Status.ACTIVE, [HERE], word)
        desk.ledger.observe_all([seen])
        assert desk.get(attempt).cloud_status == word
    assert desk.events(attempt).count("changed") == 2
