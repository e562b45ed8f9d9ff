"""What one owner can make the ledger hold is bounded."""

from base64 import b64encode
from typing import Any

import pytest

from openmultistack.domain.models import Resources, Status
from openmultistack.ledger import Gone, Key, Waiting, ending, idempotency
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
NEED = Resources(instances=1, vcpus=2, ram_mb=2048)
LONG, SHORT = "x" * 40_000, "#!/bin/sh"


@pytest.fixture(autouse=True)
def regions(desk: Desk) -> None:
    """One region has room."""
    desk.open(A, instances=100)


def size(desk: Desk) -> int:
    """Return the bytes of all that the fleet has in Redis."""
    return sum(desk.redis.memory_usage(key, samples=0) for key in desk.redis.scan_iter())


def orders(desk: Desk) -> dict[str, str]:
    """Return the orders that are kept apart from their instances."""
    found: dict[str, str] = desk.redis.hgetall(desk.keys.orders)
    return found


def release(desk: Desk, attempt: Any, instance_id: str = "") -> None:
    """End an instance, as the cloud has no server of it."""
    instance = desk.get(instance_id or attempt.instance_id)
    desk.ledger.release_all([Gone(attempt, "alice", instance, "gone", end=True)])


def test_a_long_order_is_kept_once_for_all_instances_of_its_command(desk: Desk) -> None:
    admitted = desk.place(A, count=100, user_data=LONG)
    assert size(desk) < 3 * len(LONG) + 100 * 4000
    (ref,) = {desk.get(it.instance_id).order for it in admitted.attempts}
    assert orders(desk).keys() == {ref, f"{ref}:n"}
    assert LONG in desk.ledger.order_of(desk.get(admitted.attempts[7].instance_id))


def test_a_short_order_stays_with_its_instance(desk: Desk) -> None:
    instance = desk.get(desk.placed(A, user_data=SHORT).instance_id)
    assert orders(desk) == {}
    assert desk.ledger.order_of(instance) == instance.order
    assert SHORT in instance.order


@pytest.mark.parametrize(
    ("rest", "having"),
    [({"partial": True}, 40), ({"waiting": Waiting(0, 50, 1000, 50)}, 60)],
)
def test_what_is_not_placed_and_does_not_wait_has_no_part_in_its_order(
    desk: Desk, rest: dict[str, Any], having: int
) -> None:
    desk.place(A, count=60, user_data=SHORT)
    desk.place(A, count=60, user_data=LONG, **rest)
    assert [it for name, it in orders(desk).items() if name.endswith(":n")] == [str(having)]


def test_an_order_goes_with_the_last_that_may_need_it(desk: Desk) -> None:
    first, second, third, fourth = desk.place(A, count=4, user_data=LONG).attempts
    for it in (first, second):
        desk.ledger.commit(it, f"s-{it.instance_id}")
        desk.ledger.observe(it, server_id=f"s-{it.instance_id}", status=Status.ACTIVE, addresses=())
    desk.ledger.fail(third, "no")
    assert orders(desk)
    release(desk, fourth)
    assert orders(desk) == {}
    release(desk, first)
    assert orders(desk) == {}
    assert desk.ledger.order_of(desk.get(third.instance_id)) is None


def test_a_move_takes_its_order_along_until_no_region_is_left(desk: Desk) -> None:
    desk.open(B)
    attempt = desk.placed(A, user_data=LONG)
    moved = desk.move(attempt, B).attempt
    assert LONG in desk.ledger.order_of(desk.get(attempt.instance_id))
    assert desk.move(moved).outcome == "none"
    assert orders(desk) == {}


def test_ended_instances_beyond_the_bound_are_forgotten_the_oldest_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "GONE_MAX", 3)
    before = set(desk.redis.keys())
    made = desk.place(A, count=5).attempts
    theirs = desk.placed(A, owner="bob")
    for it in reversed(made):
        release(desk, it)
    kept = [it.instance_id for it in made[-3:]]
    assert desk.members(desk.keys.gone("alice")) == kept
    assert [it.id for it in desk.ledger.get([it.instance_id for it in made])] == kept
    assert desk.get(theirs.instance_id).status == Status.BUILD
    there = set(desk.redis.keys()) - before
    assert not [it for it in there if made[0].instance_id in it]
    assert desk.redis.zscore(desk.keys.due, made[0].instance_id) is None


def test_keys_beyond_the_bound_are_refused_and_none_is_forgotten_for_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "KEYS_MAX", 2)
    for digest in ("one", "two"):
        assert desk.place(A, key=Key(digest, "b")).outcome == "placed"
    before = set(desk.redis.keys())
    assert desk.place(A, key=Key("three", "b")).outcome == "keys_full"
    assert set(desk.redis.keys()) == before
    assert desk.place(A, key=Key("one", "b")).outcome == "repeated"
    assert desk.place(A, key=Key("three", "b"), owner="bob").outcome == "placed"
    assert desk.place(A).outcome == "placed"
    desk.later_score(desk.keys.keyed("alice"), "one", idempotency.KEEP_KEY_MS + 1)
    assert desk.place(A, key=Key("three", "b")).outcome == "placed"


def test_a_key_that_is_given_back_is_not_counted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "KEYS_MAX", 1)
    key = Key("one", "b")
    ids = [it.instance_id for it in desk.place(A, key=key).attempts]
    desk.ledger.give_key_back("alice", key, ids)
    assert desk.place(A, key=Key("two", "b")).outcome == "placed"


def test_a_key_counts_once_for_every_ten_of_its_instances(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "KEYS_MAX", 4)
    many, one = Key("many", "b"), Key("one", "b")
    assert desk.place(A, count=41, key=many).outcome == "keys_full"
    ids = [it.instance_id for it in desk.place(A, count=31, key=many).attempts]
    assert desk.place(A, key=one).outcome == "keys_full"
    assert desk.place(A, count=31, key=many).outcome == "repeated"
    desk.ledger.give_key_back("alice", many, ids)
    assert desk.redis.zcard(desk.keys.keyed("alice")) == 0
    assert desk.place(A, key=one).outcome == "placed"


def test_keys_that_come_back_with_servers_of_a_lost_ledger_count_as_they_did(desk: Desk) -> None:
    digest = "d" * 32
    ids = [it.instance_id for it in desk.place(A, count=21, key=Key(digest, "b" * 32)).attempts]
    made, counted = desk.ledger.get(ids), desk.keys.keyed("alice")
    before = set(desk.redis.zrange(counted, 0, -1))
    assert len(before) == 3
    desk.redis.flushall()
    for it in made:
        desk.ledger.hold(it._replace(server_id=f"server-{it.id}"), NEED)
    assert set(desk.redis.zrange(counted, 0, -1)) == before
    assert desk.redis.pttl(counted) > 0
    assert desk.place(A, count=21, key=Key(digest, "b" * 32)).outcome == "repeated"


# What SECURITY.md says of one owner's: an instance that lives, one that ended, a key for each ten.
LIVING_BYTES, GONE_BYTES, KEY_BYTES = 150_000, 12_000, 700
MANY = 20


@pytest.fixture
def worst(desk: Desk) -> list[Any]:
    """Instances whose order, labels and stories are as long as an owner can make them."""
    before = size(desk)
    order = {
        "labels": {f"{n:02}" + "k" * 61: "v" * 63 for n in range(16)},
        "user_data": "x" * 49_000,
        "ssh_public_key": ssh_key(16_000),
        "regions": [f"{n:02}" + "*" * 253 for n in range(64)],
    }
    made = [desk.placed(A, ids=[f"i-{n:026}"], **order) for n in range(MANY)]
    for it in made:
        for _ in range(50):
            desk.ledger.renew(it.instance_id, 3_600_000)
    taken = size(desk) - before
    print(f"{taken / MANY:.0f} bytes for each that lives")
    assert taken < MANY * LIVING_BYTES
    return made


def ssh_key(chars: int) -> str:
    """Return a public key with a comment, so many characters in all."""
    name = b"ssh-ed25519"
    blob = len(name).to_bytes(4, "big") + name + (32).to_bytes(4, "big") + bytes(32)
    return f"ssh-ed25519 {b64encode(blob).decode()} ".ljust(chars, "c")


def test_an_instance_that_ended_occupies_no_more_than_the_documents_say(
    desk: Desk, worst: list[Any]
) -> None:
    for it in worst:
        release(desk, it)
    found = [it for it in desk.redis.scan_iter() if any(i.instance_id in it for i in worst)]
    taken = sum(desk.redis.memory_usage(it, samples=0) for it in found)
    print(f"{taken / MANY:.0f} bytes for each that ended")
    assert orders(desk) == {}
    assert taken < MANY * GONE_BYTES


@pytest.mark.parametrize("count", [1, 10, 11, 100])
def test_a_key_occupies_no_more_than_the_documents_say(desk: Desk, count: int) -> None:
    keys = [Key(f"{n:032}", "b" * 32) for n in range(MANY)]
    for n, key in enumerate(keys):
        ids = [f"i-{n:013}{i:013}" for i in range(count)]
        desk.place(A, ids=ids, key=key, waiting=Waiting(0, 9999, 1000, 9999))
    keyed = desk.keys.keyed("alice")
    names = [keyed, *(desk.keys.idempotency("alice", it.digest) for it in keys)]
    taken = sum(desk.redis.memory_usage(it, samples=0) for it in names)
    counted = desk.redis.zcard(keyed)
    print(f"{taken / counted:.0f} bytes for each that counts")
    assert counted == MANY * -(-count // 10)
    assert taken < counted * KEY_BYTES
