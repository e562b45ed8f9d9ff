"""Idempotency keys: one command makes its instances once, however often it is sent."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from openmultistack.domain.models import Quota, Resources
from openmultistack.ledger import Admitted, Key, Waiting
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
KEY = Key("digest-of-key", "digest-of-body")
OTHER_BODY = KEY._replace(body="digest-of-another")
WAITING = Waiting(priority=10, max_queued=2, wait_ms=600_000, max_of_owner=2)
NEED = Resources(instances=1, vcpus=1, ram_mb=1)
DAY_MS = 24 * 3600 * 1000


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """Let one region be up."""
    desk.open(A)


def made(desk: Desk, owner: str = "alice") -> list[str]:
    """Return what the key stands for."""
    return list(desk.ledger.made_under(owner, KEY))


def test_the_same_key_and_body_stand_for_the_same_instances(desk: Desk) -> None:
    ids = desk.new_ids(12)
    assert desk.place(A, ids=ids, key=KEY).outcome == "placed"
    again = desk.place(A, count=12, key=KEY)
    assert (again.outcome, again.attempts, again.queued) == ("repeated", (), ())
    assert made(desk) == ids, "in the order of the command, beyond nine too"
    assert desk.held(A) == [12]


def test_another_body_with_the_same_key_is_a_conflict_and_does_nothing(desk: Desk) -> None:
    ids = desk.new_ids(1)
    desk.place(A, ids=ids, key=KEY)
    before = set(desk.redis.keys())
    assert desk.place(A, key=OTHER_BODY).outcome == "conflict"
    assert made(desk) == ids
    assert set(desk.redis.keys()) == before


def test_isolation_owners_do_not_share_keys(desk: Desk) -> None:
    desk.place(A, key=KEY)
    assert desk.place(A, key=OTHER_BODY, owner="bob").outcome == "placed"
    assert len(made(desk)) == len(made(desk, "bob")) == 1
    assert made(desk) != made(desk, "bob")
    assert made(desk, "carol") == []


def test_the_very_same_act_sent_again_gets_its_own_answer(desk: Desk) -> None:
    """The answer was lost, and the client of Redis tried again."""
    ids = desk.new_ids(2)
    first = desk.place(A, ids=ids, key=KEY)
    again = desk.place(A, ids=ids, key=KEY)
    assert (again.outcome, again.attempts) == ("placed", first.attempts)


def test_a_command_without_a_key_is_never_taken_for_a_repeat(desk: Desk) -> None:
    assert [desk.place(A).outcome for _ in range(2)] == ["placed", "placed"]
    assert desk.redis.keys(desk.keys.idempotency("*", "*")) == []


def test_a_key_stands_for_a_day(desk: Desk) -> None:
    desk.place(A, key=KEY)
    left_ms = desk.redis.pttl(desk.keys.idempotency("alice", KEY.digest))
    assert DAY_MS - 60_000 < left_ms <= DAY_MS


@pytest.mark.parametrize(
    ("ask", "outcome"),
    [
        ({"count": 99}, "full"),
        ({"count": 2, "quota": Quota(instances=1)}, "quota"),
        ({"count": 2, "quota": Quota(creates_per_minute=1)}, "rate"),
        ({"count": 23, "waiting": WAITING._replace(max_of_owner=9)}, "queue_full"),
        ({"count": 23, "waiting": WAITING}, "owner_queue_full"),
    ],
)
def test_a_refused_command_leaves_no_key(desk: Desk, ask: dict[str, Any], outcome: str) -> None:
    assert desk.place(A, key=KEY, **ask).outcome == outcome
    assert made(desk) == []
    assert desk.place(A, key=OTHER_BODY).outcome == "placed"


def test_a_repeat_is_told_as_such_however_full_it_is_meanwhile(desk: Desk) -> None:
    quota = Quota(instances=1, creates_per_minute=1)
    desk.place(A, key=KEY, quota=quota)
    desk.open(A, instances=0)
    assert desk.place(A, key=KEY, quota=quota).outcome == "repeated"


def test_those_who_wait_were_made_under_the_key_as_well(desk: Desk) -> None:
    ids = desk.new_ids(3)
    desk.open(A, instances=1)
    admitted = desk.place(A, ids=ids, key=KEY, waiting=WAITING)
    assert list(admitted.queued) == ids[1:]
    assert made(desk) == ids


def test_of_a_partial_command_the_key_stands_for_what_was_placed(desk: Desk) -> None:
    desk.open(A, instances=2)
    ids = desk.new_ids(4)
    desk.place(A, ids=ids, key=KEY, partial=True)
    assert made(desk) == ids[:2]


# ------------------------------------------------------------------ giving it back


def test_a_key_that_is_given_back_can_be_used_anew(desk: Desk) -> None:
    ids = desk.new_ids(2)
    desk.place(A, ids=ids, key=KEY)
    desk.ledger.give_key_back("alice", KEY, ids)
    assert made(desk) == []
    assert desk.place(A, key=OTHER_BODY).outcome == "placed"


def test_only_the_command_that_a_key_stands_for_can_give_it_back(desk: Desk) -> None:
    first, second = desk.new_ids(1), desk.new_ids(1)
    desk.place(A, ids=first, key=KEY)
    desk.ledger.give_key_back("alice", KEY, first)
    desk.place(A, ids=second, key=KEY)
    desk.ledger.give_key_back("alice", KEY, first)
    desk.ledger.give_key_back("bob", KEY, second)
    assert made(desk) == second


def test_a_key_whose_instances_were_promised_to_a_repeat_is_kept(desk: Desk) -> None:
    """Else a third repeat would make others, beside those that the second was told of."""
    ids = desk.new_ids(2)
    desk.place(A, ids=ids, key=KEY)
    desk.ledger.promise("alice", KEY, ids)
    desk.ledger.give_key_back("alice", KEY, ids)
    assert made(desk) == ids
    desk.ledger.give_key_back("alice", KEY, ids, even_promised=True)
    assert made(desk) == []


# ------------------------------------------------------------------ promises


def test_a_repeat_has_the_instances_kept_whoever_makes_them(desk: Desk) -> None:
    ids = desk.new_ids(2)
    desk.place(A, ids=ids, key=KEY)
    assert not any(desk.get(it).promised for it in ids)
    assert desk.ledger.promise("alice", KEY, ids)
    assert all(desk.get(it).promised for it in ids)
    answers = [
        desk.ledger.destroy(desk.get(it), why="given up", only_if="unpromised") for it in ids
    ]
    assert answers == ["WANTED", "WANTED"]
    assert desk.ledger.destroy(desk.get(ids[0]), why="its owner") == "DELETING"


def test_a_command_that_was_given_up_cannot_be_promised(desk: Desk) -> None:
    ids = desk.new_ids(1)
    desk.place(A, ids=ids, key=KEY)
    desk.ledger.give_key_back("alice", KEY, ids)
    assert not desk.ledger.promise("alice", KEY, ids)
    assert not desk.get(ids[0]).promised
    answer = desk.ledger.destroy(desk.get(ids[0]), why="given up", only_if="unpromised")
    assert answer == "DELETING"


def test_a_promise_does_not_bring_back_what_is_forgotten(desk: Desk) -> None:
    ids = desk.new_ids(1)
    desk.place(A, ids=ids, key=KEY)
    desk.redis.delete(desk.keys.record(ids[0]))
    assert desk.ledger.promise("alice", KEY, ids)
    assert desk.ledger.get(ids) == []
    assert not desk.redis.exists(desk.keys.record(ids[0]))


# ------------------------------------------------------------------ after a loss


def test_after_a_loss_the_servers_marks_bring_the_key_back(desk: Desk) -> None:
    ids = desk.new_ids(2)
    desk.place(A, ids=ids, key=KEY)
    servers = [desk.get(it)._replace(server_id=f"srv-{it}") for it in ids]
    assert [it.identity.idempotency for it in servers] == [
        f"{KEY.digest}:{KEY.body}:{n}" for n in (1, 2)
    ]
    desk.redis.flushdb()
    desk.open(A)
    for server in reversed(servers):
        assert desk.ledger.hold(server, NEED)
    assert made(desk) == ids
    assert desk.redis.pttl(desk.keys.idempotency("alice", KEY.digest)) > DAY_MS - 60_000
    assert desk.place(A, count=2, key=KEY).outcome == "repeated"
    assert desk.place(A, key=OTHER_BODY).outcome == "conflict"
    assert desk.get(ids[0]).identity.idempotency == servers[0].identity.idempotency


# ------------------------------------------------------------------ races


def test_of_eight_who_send_one_command_at_once_one_makes_its_instances(desk: Desk) -> None:
    orders = [desk.new_ids(3) for _ in range(8)]

    def send(ids: list[str]) -> Admitted:
        return desk.place(A, ids=ids, key=KEY)

    with ThreadPoolExecutor(len(orders)) as pool:
        answers = list(pool.map(send, orders))
    assert sorted(it.outcome for it in answers) == ["placed"] + 7 * ["repeated"]
    (placed,) = (it for it in answers if it.outcome == "placed")
    assert made(desk) == [it.instance_id for it in placed.attempts]
    assert desk.members(desk.keys.live("alice")) == made(desk)
    assert desk.held(A) == [3]
