"""What a sweep does about a slot, for everything that ledger and cloud can show of it."""

import itertools
from typing import Any

import pytest

from openmultistack.clouds import Marks, Server
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Address, Instance, Resources, Status
from openmultistack.ledger import Slot
from openmultistack.usecases.judging import has_taken_over, judge, sort_marked

HERE, THERE = "alpha/One", "beta/One"
NOW, EXPIRES = 1_000_000, 2_000_000
ADDRESS = Address(address="192.0.2.1", version=4, network="net")
MARKS = Marks(
    fleet="f", instance_id="i-1", attempt=1, identity=Identity("alice", "ci", {}, 0, EXPIRES)
)


BUILD_TIMEOUT_MS = 5000


def slot(**more: Any) -> Slot:
    """Return the slot of attempt 1: proven long ago, unless said otherwise."""
    fields = {
        "instance_id": "i-1",
        "attempt": 1,
        "owner": "alice",
        "need": Resources(1, 1, 1),
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
        "identity": MARKS.identity,
        "status": status,
        "region": HERE,
        "server_id": "s-1",
        "image": "debian",
        "flavor": "small",
        "addresses": (ADDRESS,),
        "attempt": 1,
    }
    return Instance(**fields | more)


def expiring(it: Any, at_ms: int) -> Any:
    """Return marks, or an instance, with another expiry."""
    return it._replace(identity=it.identity._replace(expires_at_ms=at_ms))


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


OTHERS = [{"attempt": 2, "region": THERE}, {"attempt": 2}, {"attempt": 1, "region": THERE}]
PLACED = [Status.BUILD, Status.ACTIVE, Status.ERROR]
SHOWN = [Status.BUILD, Status.ACTIVE, Status.ERROR]


@pytest.mark.parametrize("known", [*PLACED, Status.DELETED])
@pytest.mark.parametrize("status", [Status.BUILD, Status.ACTIVE])
@pytest.mark.parametrize("present", OTHERS)
def test_a_server_of_another_attempt_goes_only_once_the_present_one_is_seen(
    known: Status, status: Status, present: dict[str, Any]
) -> None:
    """An attempt is a number and a region: the same number elsewhere is another attempt."""
    assert said(slot(), instance(known, server_id="s-2", **present), server(status)) == "yield"


@pytest.mark.parametrize("known", Status)
@pytest.mark.parametrize("status", SHOWN)
@pytest.mark.parametrize("present", OTHERS)
def test_positive_delete_the_present_server_is_left_under_whatever_name_it_is_met(
    known: Status, status: Status, present: dict[str, Any]
) -> None:
    """As when its provider was renamed: only the end of its instance is a reason."""
    met = said(slot(), instance(known, **present), server(status))
    assert met == ("delete" if known == Status.DELETING else None)


@pytest.mark.parametrize("known", [*PLACED, Status.DELETED, Status.QUEUED])
@pytest.mark.parametrize("present", [{"attempt": 2, "region": THERE}, {"attempt": 2}])
def test_what_failed_its_instance_and_was_superseded_is_deleted(
    known: Status, present: dict[str, Any]
) -> None:
    moved = instance(known, server_id="s-2", **present)
    assert said(slot(), moved, server(Status.ERROR)) == "delete"
    for status in SHOWN:
        assert said(slot(), moved._replace(tried={HERE: "x"}), server(status)) == "delete"
    # In doubt, it was not known to the ledger when it failed its instance.
    doubtful = said(pending(NOW + 1), moved._replace(tried={HERE: "x"}), server(Status.ACTIVE))
    assert doubtful == "yield"


@pytest.mark.parametrize("status", SHOWN)
@pytest.mark.parametrize("present", [{}, *OTHERS])
@pytest.mark.parametrize("ended", ["destroyed", "expired", "refused", "vanished", "failed", None])
def test_only_an_end_for_good_justifies_deleting_a_server(
    ended: str | None, present: dict[str, Any], status: Status
) -> None:
    over = instance(Status.DELETED, server_id=None, ended=ended, **present)
    for_good = ended in ("destroyed", "expired", "refused")
    superseded = status == Status.ERROR and over.attempt > 1
    what = said(slot(), over, server(status))
    assert (what == "delete") == (for_good or superseded)


def test_an_expiry_is_no_end_if_the_server_tells_of_a_later_one_than_the_ledger_knew() -> None:
    later = server(marks=expiring(MARKS, EXPIRES + 5))
    for status in (Status.DELETING, Status.DELETED):
        expired = instance(status, ended="expired")
        assert said(slot(), expired, later) is None
        assert said(slot(), expired._replace(was_due_ms=(EXPIRES + 5,)), later) == "delete"
        assert said(slot(), expired._replace(ended="destroyed"), later) == "delete"
        assert said(slot(), expiring(expired, EXPIRES + 5), later) == "delete"
        past = server(marks=expiring(MARKS, NOW))
        assert said(slot(), expiring(expired, NOW - 1), past) == "delete"


def test_a_later_expiry_than_the_ledger_knew_is_taken_over_and_an_older_one_overwritten() -> None:
    later = server(marks=expiring(MARKS, EXPIRES + 5))
    assert said(slot(), instance(), later) == "prolong"
    assert said(slot(), instance(was_due_ms=(EXPIRES + 9, EXPIRES + 5)), later) == "mark"


FOR_GOOD = ("destroyed", "expired", "refused")
CURRENT = [
    # (the instance, its server's status, what is done)
    (instance(Status.BUILD), Status.BUILD, None),
    (instance(Status.BUILD), Status.ACTIVE, "observe"),
    (instance(Status.BUILD), Status.ERROR, "retry"),
    (instance(Status.ACTIVE), Status.BUILD, None),
    (instance(Status.ACTIVE), Status.ACTIVE, None),
    (instance(Status.ACTIVE), Status.ERROR, "fail"),
    *((instance(Status.DELETING), status, "delete") for status in Status if status != "DELETED"),
    *((instance(Status.DELETED, ended=end), "ACTIVE", "delete") for end in FOR_GOOD),
    # It had vanished: it is adopted again.
    *((instance(Status.DELETED, ended=end), "ACTIVE", None) for end in ("vanished", None)),
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
    moved = expiring(MARKS, EXPIRES - 1)
    assert said(slot(), instance(), server(marks=moved)) == "mark"
    assert said(slot(), instance(Status.DELETING), server(marks=moved)) == "delete"


@pytest.mark.parametrize(
    "other",
    [{"name": "x"}, {"labels": {"a": "1"}}, {"has_keypair": True}, {"idempotency": "a:b:1"}],
)
def test_marks_that_tell_another_identity_than_the_ledger_are_written_anew(
    other: dict[str, Any],
) -> None:
    """Functions of before write marks without what they do not know of."""
    marks = MARKS._replace(identity=MARKS.identity._replace(**other))
    assert said(slot(), instance(), server(marks=marks)) == "mark"


def test_positive_delete_nothing_is_deleted_but_what_is_known_to_be_unwanted() -> None:
    """Over everything: a delete has an instance that is over, or failed here."""
    helds = [slot(), slot(server_id="s-0"), pending(NOW - 1), pending(NOW + 1)]
    instances = [
        None,
        *(
            instance(status, attempt=number, region=region, tried=tried, ended=ended, server_id=own)
            for status, number, region, tried, ended, own in itertools.product(
                Status, (1, 2), (HERE, THERE), ({}, {HERE: "x"}), ("expired", "vanished", None),
                ("s-1", "s-2", None),
            )
        ),
    ]  # fmt: skip
    servers = [server(status, marks=marks) for status in Status for marks in (MARKS, None)]
    deleted = 0
    for held, known, shown in itertools.product(helds, instances, servers):
        if said(held, known, shown) == "delete":
            deleted += 1
            assert known is not None
            failed_here = HERE in known.tried and (
                held.server_id == shown.id or known.status == Status.ERROR
            )
            superseded = known.attempt > held.attempt or known.status == Status.QUEUED
            in_error = shown.status == Status.ERROR and superseded
            assert known.is_over or failed_here or in_error
            if known.server_id == shown.id and not known.is_over:
                assert (known.attempt, known.region, known.status) == (1, HERE, Status.ERROR)
    assert deleted > 100


def other(status: Status, **more: Any) -> Server:
    """Return the server of another attempt at the instance."""
    marks = MARKS._replace(attempt=2)
    return server(status, id="s-2", marks=marks)._replace(**more)


@pytest.mark.parametrize(
    ("present", "rival", "goes"),
    [
        (server(Status.ACTIVE), Status.ACTIVE, True),
        (server(Status.ACTIVE), Status.BUILD, True),
        (server(Status.BUILD), Status.BUILD, True),
        (server(Status.BUILD), Status.ACTIVE, False),  # it may still fail
        (server(Status.ERROR), Status.ERROR, True),
        (server(Status.ERROR), Status.BUILD, False),
        (server(Status.DELETED), Status.ERROR, False),  # it is leaving
        (server(Status.DELETING), Status.ERROR, False),
        (server(Status.ACTIVE), Status.DELETING, True),  # who may bring it back has another
        (server(Status.ERROR), Status.DELETING, False),
        (server(marks=None), Status.BUILD, False),
        (server(marks=MARKS._replace(attempt=3)), Status.BUILD, False),
        (server(marks=MARKS._replace(instance_id="i-2")), Status.BUILD, False),
        (server(id="s-2"), Status.BUILD, False),  # itself
        (None, Status.BUILD, False),
    ],
)
def test_a_server_is_outdone_by_one_that_has_come_as_far(
    present: Server | None, rival: Status, *, goes: bool
) -> None:
    assert has_taken_over(instance(), present, other(rival)) == goes


def test_of_servers_of_one_attempt_the_ledgers_is_kept_else_the_oldest() -> None:
    old, new = server(id="s-9", created_at="1"), server(id="s-1", created_at="2")
    gone = server(Status.DELETED, id="s-0", created_at="0")
    foreign = server(id="s-f", marks=None)
    for servers in itertools.permutations([old, new, gone, foreign]):
        unknown = sort_marked(HERE, servers, [], {})
        assert dict(unknown.by_attempt) == {("i-1", 1): old}
        assert {it.id for it in unknown.copies} == {new.id, gone.id}
        held = sort_marked(HERE, servers, [slot()], {})
        assert dict(held.by_attempt) == {("i-1", 1): new}
        assert dict(sort_marked(HERE, servers, [], {"i-1": instance()}).by_attempt) == {
            ("i-1", 1): new
        }


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
