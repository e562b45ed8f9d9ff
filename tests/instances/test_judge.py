"""What a sweep does about a slot, for everything that ledger and cloud can show of it."""

import itertools
from typing import Any

import pytest

from openmultistack.clouds import Marks, Server
from openmultistack.judging import judge
from openmultistack.ledger import Slot
from openmultistack.models import Address, Instance, Resources, Status

HERE, THERE = "alpha/One", "beta/One"
NOW, EXPIRES = 1_000_000, 2_000_000
ADDRESS = Address(address="192.0.2.1", version=4, network="net")
MARKS = Marks(
    fleet="f",
    instance_id="i-1",
    attempt=1,
    owner="alice",
    name="ci",
    labels={},
    created_at_ms=0,
    expires_at_ms=EXPIRES,
)


BUILD_TIMEOUT_MS = 5000


def slot(**more: Any) -> Slot:
    """Return the slot of attempt 1: proven long ago, unless said otherwise."""
    fields = {
        "instance_id": "i-1",
        "attempt": 1,
        "owner": "alice",
        "vcpus": 1,
        "ram_mb": 1,
        "since_ms": NOW - 1000,
        "lease_until_ms": None,
        "server_id": "s-1",
    }
    return Slot(**fields | more)


def pending(lease_until_ms: int, **more: Any) -> Slot:
    """Return the slot of an attempt of which nothing is known yet."""
    return slot(lease_until_ms=lease_until_ms, server_id=None, **more)


def instance(status: Status = Status.ACTIVE, **more: Any) -> Instance:
    """Return the instance at its attempt 1, here."""
    fields = {
        "id": "i-1",
        "name": "ci",
        "status": status,
        "owner": "alice",
        "region": HERE,
        "server_id": "s-1",
        "image": "debian",
        "flavor": "small",
        "addresses": (ADDRESS,),
        "attempt": 1,
        "created_at_ms": 0,
        "expires_at_ms": EXPIRES,
    }
    return Instance(**fields | more)


def server(status: Status = Status.ACTIVE, **more: Any) -> Server:
    """Return the server of attempt 1."""
    fields = {
        "id": "s-1",
        "status": status,
        "flavor": "small",
        "image": "x",
        "need": Resources(instances=1),
        "addresses": (ADDRESS,),
        "marks": MARKS,
    }
    return Server(**fields | more)


def said(*shown: Any) -> str | None:
    """Return what is done about a slot."""
    act = judge(HERE, *shown, NOW, BUILD_TIMEOUT_MS)
    return act.what if act else None


def test_a_server_that_is_built_for_too_long_is_tried_elsewhere() -> None:
    """As when a cloud lost its own order to build it."""
    for age_ms, wanted in ((BUILD_TIMEOUT_MS, None), (BUILD_TIMEOUT_MS + 1, "retry")):
        shown = slot(since_ms=NOW - age_ms), instance(Status.BUILD), server(Status.BUILD)
        assert said(*shown) == wanted
    running = slot(since_ms=NOW - 10 * BUILD_TIMEOUT_MS), instance(), server()
    assert said(*running) is None


MISSING = [
    # (the slot, what is done while the cloud shows no server, and what if it is of the current
    # attempt at a promised instance that is to be built)
    (slot(), "release", "release"),
    (slot(since_ms=NOW - 1), "release", "release"),
    (slot(since_ms=NOW), None, None),  # committed while the cloud was being asked
    (slot(since_ms=NOW + 1), None, None),
    (pending(NOW + 1), None, None),
    (pending(NOW), "release", "retry"),
    (pending(NOW - 1), "release", "retry"),
]


@pytest.mark.parametrize(("held", "what", "promised"), MISSING)
@pytest.mark.parametrize("known", [None, *Status])
def test_a_slot_without_a_server_goes_by_its_age_its_lease_and_what_was_promised(
    held: Slot, what: str | None, promised: str | None, known: Status | None
) -> None:
    assert said(held, instance(known) if known else None, None) == what
    if known:
        followed_up = promised if known == Status.BUILD else what
        assert said(held, instance(known, promised=True), None) == followed_up


@pytest.mark.parametrize("newer", [{"attempt": 2, "region": THERE}, {"attempt": 2}])
def test_an_earlier_attempt_of_a_promised_instance_is_not_followed_up(
    newer: dict[str, Any],
) -> None:
    """What the client was told of goes on elsewhere: a second retry would make a second server."""
    held, known = pending(NOW - 1), instance(Status.BUILD, promised=True, **newer)
    assert said(held, known, None) == "release"


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("held", [slot(), pending(NOW + 1), pending(NOW - 1)])
def test_a_server_whose_instance_is_unknown_is_left_alone(status: Status, held: Slot) -> None:
    assert said(held, None, server(status)) is None


@pytest.mark.parametrize("known", Status)
def test_a_server_shown_as_deleted_is_on_its_way_already(known: Status) -> None:
    assert said(slot(), instance(known), server(Status.DELETED)) is None


@pytest.mark.parametrize(
    ("known", "status"),
    [it for it in itertools.product(Status, Status) if it[1] != Status.DELETED],
)
@pytest.mark.parametrize("newer", [{"attempt": 2, "region": THERE}, {"attempt": 2}])
def test_the_server_of_a_superseded_attempt_is_deleted(
    known: Status, status: Status, newer: dict[str, Any]
) -> None:
    assert said(slot(), instance(known, **newer), server(status)) == "delete"


CURRENT = [
    # (the instance, its server's status, what is done)
    (instance(Status.BUILD), Status.BUILD, None),
    (instance(Status.BUILD), Status.ACTIVE, "observe"),
    (instance(Status.BUILD), Status.ERROR, "retry"),
    (instance(Status.ACTIVE), Status.BUILD, None),
    (instance(Status.ACTIVE), Status.ACTIVE, None),
    (instance(Status.ACTIVE), Status.ERROR, "fail"),
    *((instance(Status.DELETING), status, "delete") for status in Status if status != "DELETED"),
    *((instance(Status.DELETED), status, "delete") for status in Status if status != "DELETED"),
    # Failed while it was built: of no use. Failed later: its owner decides.
    *((instance(Status.ERROR, tried={HERE: "x"}), it, "delete") for it in ("BUILD", "ERROR")),
    *((instance(Status.ERROR, tried={THERE: "x"}), it, None) for it in ("ACTIVE", "ERROR")),
    *((instance(Status.ERROR), it, None) for it in ("BUILD", "ACTIVE", "ERROR")),
]


@pytest.mark.parametrize(("known", "status", "what"), CURRENT)
def test_the_server_of_the_current_attempt(
    known: Instance, status: Status, what: str | None
) -> None:
    assert said(slot(), known, server(Status(status))) == what


@pytest.mark.parametrize(
    ("held", "known", "shown"),
    [
        (pending(NOW + 1), instance(Status.BUILD, server_id=None), server(Status.BUILD)),
        (pending(NOW - 1), instance(Status.BUILD, server_id=None), server(Status.BUILD)),
        (slot(server_id="s-0"), instance(Status.BUILD), server(Status.BUILD)),
        (slot(), instance(Status.BUILD, server_id=None), server(Status.BUILD)),
        (slot(), instance(addresses=()), server()),
        (slot(), instance(), server(cloud_status="SHUTOFF")),
        (slot(), instance(cloud_status="SHUTOFF"), server()),
        (slot(), instance(), server(Status.DELETING, cloud_status="SOFT_DELETED")),
        (slot(), instance(cloud_status=""), server(Status.BUILD, cloud_status="UNKNOWN")),
    ],
)
def test_what_the_ledger_does_not_have_yet_is_taken_over(
    held: Slot, known: Instance, shown: Server
) -> None:
    assert said(held, known, shown) == "observe"


def test_an_expiry_that_moved_is_written_on_the_server() -> None:
    moved = MARKS._replace(expires_at_ms=EXPIRES + 1)
    assert said(slot(), instance(), server(marks=moved)) == "mark"
    assert said(slot(), instance(Status.DELETING), server(marks=moved)) == "delete"


def test_positive_delete_nothing_is_deleted_but_what_is_known_to_be_unwanted() -> None:
    """Over everything: a delete has an instance that is over, failed here, or gone elsewhere."""
    helds = [slot(), pending(NOW - 1), pending(NOW + 1)]
    instances = [
        None,
        *(
            instance(status, attempt=attempt, region=region, tried=tried, promised=promised)
            for status, attempt, region, tried, promised in itertools.product(
                Status, (1, 2), (HERE, THERE), ({}, {HERE: "x"}), (True, False)
            )
        ),
    ]
    servers = [server(status, marks=marks) for status in Status for marks in (MARKS, None)]
    deleted = 0
    for held, known, shown in itertools.product(helds, instances, servers):
        if said(held, known, shown) == "delete":
            deleted += 1
            assert known is not None
            superseded = (known.attempt, known.region) != (held.attempt, HERE)
            over = known.status in (Status.DELETING, Status.DELETED)
            failed_here = known.status == Status.ERROR and HERE in known.tried
            assert superseded or over or failed_here
    assert deleted > 100


@pytest.mark.parametrize(("order", "what"), [("{}", "retry"), (None, None)])
def test_a_server_that_never_gets_an_address_is_given_up_only_where_it_can_be_made_elsewhere(
    order: str | None, what: str | None
) -> None:
    held = slot(since_ms=0)
    bare = server(Status.ACTIVE, addresses=()).seen(without_address=False)
    known = instance(Status.BUILD, order=order, addresses=())
    assert said(held, known, bare) == "observe"
    observed = known._replace(cloud_status="ACTIVE")
    assert said(held, observed, bare) == what
