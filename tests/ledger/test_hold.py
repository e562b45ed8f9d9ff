"""hold.lua: a server with our marks that holds no slot."""

import pytest

from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Instance, Resources, Status
from openmultistack.ledger import Attempt
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
NEED = Resources(instances=1, vcpus=2, ram_mb=512)


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Two regions are up."""
    desk.open(A, B)


def found(attempt: int = 1, region: str = A, **more: object) -> Instance:
    """Return what a server's marks tell."""
    plain = Instance(
        id="i-000901",
        identity=Identity("bob", "ci", {"job": "7"}, 1_700_000_000_000, 4_000_000_000_000),
        status=Status.BUILD,
        region=region,
        server_id=f"srv-{attempt}",
        image="debian",
        flavor="small",
        attempt=attempt,
    )
    said = {name: more.pop(name) for name in Identity._fields if name in more}
    return plain._replace(identity=plain.identity._replace(**said), **more)


def test_a_server_that_the_ledger_does_not_know_is_adopted_from_its_marks(desk: Desk) -> None:
    """Losing the whole of Redis loses nothing."""
    assert desk.ledger.hold(found(), NEED)
    assert desk.get("i-000901") == found(promised=True, had={(1, A): "srv-1"})
    slot = desk.slots(A)["i-000901", 1]
    assert (slot.need, slot.server_id, slot.lease_until_ms) == (NEED, "srv-1", None)
    assert desk.held(A) == [1]
    assert desk.members(desk.keys.live("bob")) == ["i-000901"]
    assert desk.members(desk.keys.labelled("bob", "job", "7")) == ["i-000901"]
    assert desk.redis.zscore(desk.keys.due, "i-000901") == 4_000_000_000_000
    assert desk.events(Attempt("i-000901", 1, A)) == ["adopted"]


def test_an_adopted_server_that_is_past_its_expiry_is_due(desk: Desk) -> None:
    desk.ledger.hold(found(expires_at_ms=1_700_000_060_000), NEED)
    assert desk.ledger.due(10) == ["i-000901"]


def test_holding_it_again_counts_it_once(desk: Desk) -> None:
    assert desk.ledger.hold(found(), NEED)
    assert not desk.ledger.hold(found(), NEED)
    (state,) = desk.ledger.regions([A])
    assert state.held == NEED


def test_a_server_is_held_even_beyond_the_cap(desk: Desk) -> None:
    desk.open(A, instances=0)
    assert desk.ledger.hold(found(), NEED)
    assert desk.held(A) == [1]
    assert desk.place(A).attempts == ()


def test_a_server_of_a_destroyed_instance_is_counted_and_stays_unwanted(desk: Desk) -> None:
    first = desk.placed(A, ids=["i-000901"], owner="bob")
    desk.ledger.destroy(desk.get(first), why="its owner")
    desk.end(first)
    assert not desk.ledger.hold(found(), NEED)
    assert not desk.ledger.hold(found(attempt=2, region=B), NEED)
    assert desk.get(first).status == Status.DELETED
    assert desk.held(A, B) == [1, 1]
    assert desk.members(desk.keys.live("bob")) == []


def test_a_server_of_an_instance_being_destroyed_is_counted_and_stays_unwanted(desk: Desk) -> None:
    first = desk.placed(A, ids=["i-000901"], owner="bob")
    desk.ledger.destroy(desk.get(first), why="its owner")
    assert not desk.ledger.hold(found(attempt=2, region=B), NEED)
    assert (desk.get(first).status, desk.get(first).attempt) == (Status.DELETING, 1)
    assert desk.held(B) == [1]


def test_a_superseded_attempts_server_is_counted_and_the_newer_attempt_stays(desk: Desk) -> None:
    first = desk.placed(A, ids=["i-000901"], owner="bob")
    desk.move(first, B)
    assert desk.held(A, B) == [0, 1]
    assert not desk.ledger.hold(found(), NEED)
    assert desk.held(A, B) == [1, 1]
    assert (desk.get(first).attempt, desk.get(first).region) == (2, B)
    assert desk.get(first).server_id is None


def test_after_a_loss_the_newer_attempt_wins_whichever_is_seen_first(desk: Desk) -> None:
    assert desk.ledger.hold(found(attempt=1, region=A), NEED)
    assert desk.ledger.hold(found(attempt=2, region=B), NEED)
    newer = desk.get("i-000901")
    assert (newer.attempt, newer.region, newer.server_id) == (2, B, "srv-2")
    desk.redis.flushall()
    desk.open(A, B)
    assert desk.ledger.hold(found(attempt=2, region=B), NEED)
    assert not desk.ledger.hold(found(attempt=1, region=A), NEED)
    assert desk.get("i-000901") == newer
    assert desk.held(A, B) == [1, 1]


def test_a_newer_attempt_leaves_nothing_of_the_older_ones_end(desk: Desk) -> None:
    """The ledger was restored from an old copy, in which the older attempt had failed."""
    first = desk.placed(A, ids=["i-000901"], owner="bob")
    desk.ledger.fail(first, "no region worked")
    assert desk.ledger.hold(found(attempt=2, region=B), NEED)
    assert (desk.get(first).status, desk.get(first).error) == (Status.BUILD, None)


def test_what_was_adopted_lives_like_any_other(desk: Desk) -> None:
    desk.ledger.hold(found(), NEED)
    attempt = Attempt("i-000901", 1, A)
    desk.ledger.observe(attempt, server_id="srv-1", status=Status.ACTIVE, addresses=())
    assert desk.get(attempt).status == Status.ACTIVE
    assert desk.ledger.renew("i-000901", 5000)
    assert desk.ledger.destroy(desk.get(attempt), why="its owner") == "DELETING"
    assert desk.end(attempt)
    assert desk.held(A) == [0]
    assert desk.members(desk.keys.gone("bob")) == ["i-000901"]
