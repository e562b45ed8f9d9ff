"""Clocks an hour off, either way: times are Redis' own, and nothing goes by a function's clock."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from ulid import ULID

from openmultistack.domain.commands import CreateInstances
from openmultistack.fleet.config import load_fleet
from openmultistack.ledger import Wish
from openmultistack.provision.planning import Candidates
from tests.support.clocks import Shifted

WITHIN_S = 180
BODY = {"image": "debian-12", "size": "m1.tiny"}


def seconds_from_now(text: str) -> float:
    """Return how far a time of the API's is from the true one."""
    return (datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds()


def sweeps_until(shifted: Shifted, holds: Any) -> None:
    """Sweep by both clocks in turn until something holds, or fail."""
    until = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < until
        for reaper in ("reap+", "reap-"):
            shifted.ask(reaper, "POST", "/reap")


@pytest.mark.parametrize("creator", ["create+", "create-"])
def test_an_instance_lives_as_long_as_it_should_whatever_the_clocks_say(
    shifted: Shifted, creator: str
) -> None:
    """It is ACTIVE and not reaped by either clock; renewed; and gone when its time is up."""
    (made,) = shifted.ask(creator, "POST", "/instances", BODY | {"ttl": 600})["instances"]
    # The id is of the function's own making, and shows that its clock is off indeed.
    off_s = ULID.from_str(made["id"].removeprefix("i-")).timestamp - time.time()
    assert abs(abs(off_s) - 3600) < WITHIN_S
    assert abs(seconds_from_now(made["created_at"])) < WITHIN_S
    assert abs(seconds_from_now(made["expires_at"]) - 600) < WITHIN_S

    def show() -> dict[str, Any]:
        return dict(shifted.ask("list-", "GET", f"/instances/{made['id']}"))

    sweeps_until(shifted, lambda: show()["status"] == "ACTIVE")
    for event in shifted.ask("list-", "GET", f"/instances/{made['id']}/events")["events"]:
        assert abs(seconds_from_now(event["at"])) < 2 * WITHIN_S
    renewed = shifted.ask("renew-", "PATCH", f"/instances/{made['id']}", {"ttl": 1})
    assert abs(seconds_from_now(renewed["expires_at"])) < WITHIN_S
    sweeps_until(shifted, lambda: show()["status"] == "DELETED")


def test_an_attempt_under_its_lease_is_left_alone_by_a_clock_that_is_ahead(
    shifted: Shifted,
) -> None:
    """A reaper an hour ahead does not take a lease of a minute for over."""
    command = CreateInstances(**BODY)
    fleet = load_fleet(shifted.sim.clouds_file, None)
    found = Candidates(shifted.ledger, fleet).of(command)
    instance_id = f"i-pending-{time.monotonic_ns()}"
    offers = found.able[:1]
    shifted.ledger.place(Wish("alice", command, [instance_id], offers, "first", 600_000))
    for reaper in ("reap+", "reap-"):
        shifted.ask(reaper, "POST", "/reap")
    (still,) = shifted.ledger.get([instance_id])
    assert still.status == "BUILD"
    shifted.ask("destroy+", "DELETE", f"/instances/{instance_id}")
    (ending,) = shifted.ledger.get([instance_id])
    assert ending.status == "DELETING"


def test_a_destroy_by_a_clock_that_is_off_frees_the_slot(shifted: Shifted) -> None:
    made = shifted.ask("create-", "POST", "/instances", BODY | {"count": 3})["instances"]
    for it in made:
        shifted.ask("destroy+", "DELETE", f"/instances/{it['id']}")
    ids = [it["id"] for it in made]
    sweeps_until(shifted, lambda: {it.status for it in shifted.ledger.get(ids)} == {"DELETED"})
