"""A record that cannot be read stops nobody: it is left out, and all others go on."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from openmultistack.domain.models import Instance, Status
from tests.support.house import House

A, B = "alpha/One", "beta/One"
ODD = ["", "{", "[7]", '"text"', "null", "[" * 9000, '{"a": 1e999}']
ODD_NUMBERS = ["", "many", "1e400", "nan", "-1", "1e300", "٣x"]


class Broken:
    """Bob's two instances, and alice's one, of which a record is about to be broken."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.redis, self.keys = house.redis, house.keys
        self.theirs = [house.active(owner="bob", regions=[it]) for it in (A, B)]
        self.mine: Instance = house.active(regions=[A])
        self.lived = {it: set(cloud.ours()) for it, cloud in house.clouds.items()}

    def record(self, field: str, value: str) -> None:
        """Have a field of alice's record say something else."""
        self.redis.hset(self.keys.record(self.mine.id), field, value)

    def region(self, field: str, value: str) -> None:
        """Have a field of A say something else."""
        self.redis.hset(self.keys.region(A), field, value)

    def slot(self, **fields: object) -> None:
        """Have fields of alice's slot say something else."""
        name = f"{self.mine.id}/{self.mine.attempt}"
        told = json.loads(self.redis.hget(self.keys.slots(A), name))
        self.redis.hset(self.keys.slots(A), name, json.dumps(told | fields))

    def slot_text(self, text: str) -> None:
        """Have alice's slot be some text."""
        name = f"{self.mine.id}/{self.mine.attempt}"
        self.redis.hset(self.keys.slots(A), name, text)

    def reap(self) -> dict[str, Any]:
        """Reap as if a minute had passed; return how each region went."""
        self.redis.delete(self.keys.turn("recount"))
        return {it["region"]: it["outcome"] for it in self.house.reaping.reap()["regions"]}

    def others_go_on(self) -> None:
        """Reaps, lists, creates and destroys of others work, and no server is lost."""
        house = self.house
        house.one(owner="bob")  # before any sweep had a chance to mend
        for _ in range(2):
            house.settle()
            assert self.reap() == {A: "swept", B: "swept"}
        assert {it.region for it in house.ledger.regions()} == {A, B}
        bobs = house.ledger.get(
            house.ledger.page("bob", label=None, gone=False, after=None, limit=9)
        )
        assert [it.status for it in bobs] == [Status.ACTIVE] * 3
        for region, lived in self.lived.items():
            assert lived <= set(house.clouds[region].ours())
        house.ledger.queue()
        house.destroy(self.theirs[0])
        house.settle()
        assert self.reap() == {A: "swept", B: "swept"}
        assert house.get(self.theirs[0]).status == Status.DELETED
        assert self.mine[0] in {it for it, _ in house.clouds[A].ours()}


@pytest.fixture
def broken(make_house: Any) -> Broken:
    """Return a house in which everybody's instances run."""
    return Broken(make_house({A: 9, B: 9}))


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("field", ["labels", "addresses", "tried", "quota"])
def test_broken_json_of_an_instance(broken: Broken, field: str, text: str) -> None:
    broken.record(field, text)
    broken.others_go_on()


@pytest.mark.parametrize("text", ODD_NUMBERS)
@pytest.mark.parametrize("field", ["attempt", "created_at_ms", "expires_at_ms"])
def test_broken_number_of_an_instance(broken: Broken, field: str, text: str) -> None:
    broken.record(field, text)
    broken.others_go_on()
    assert broken.house.ledger.get([broken.mine.id, broken.theirs[1].id])[-1] is not None


def test_an_unknown_status_may_be_of_a_version_to_come(broken: Broken) -> None:
    broken.record("status", "SHELVED")
    broken.others_go_on()
    assert broken.house.ledger.get([broken.mine.id]) == []
    assert broken.redis.hget(broken.keys.record(broken.mine.id), "status") == "SHELVED"


@pytest.mark.parametrize("field", ["id", "name", "status", "owner", "region", "attempt", "labels"])
def test_a_field_that_an_instance_lacks(broken: Broken, field: str) -> None:
    broken.redis.hdel(broken.keys.record(broken.mine.id), field)
    broken.others_go_on()


@pytest.mark.parametrize("text", ODD)
def test_a_slot_that_cannot_be_read_holds_its_place(broken: Broken, text: str) -> None:
    broken.slot_text(text)
    broken.others_go_on()
    assert broken.house.state(A).held.instances == len(broken.redis.hkeys(broken.keys.slots(A)))


@pytest.mark.parametrize(
    "fields",
    [
        {"vcpus": "many"},
        {"ram_mb": None},
        {"owner": 7},
        {"since_ms": "soon"},
        {"server_id": [7]},
        {"vcpus": 1.5},
        {"ram_mb": "0.5"},
        {"vcpus": -1},
        {"ram_mb": 1e300},
    ],
    ids=str,
)
def test_a_broken_field_of_a_slot(broken: Broken, fields: dict[str, object]) -> None:
    broken.slot(**fields)
    broken.others_go_on()


@pytest.mark.parametrize("name", ["nonsense", "", "i-1/one", "/", "i-1/"])
def test_a_slot_with_a_name_that_is_none(broken: Broken, name: str) -> None:
    broken.redis.hset(broken.keys.slots(A), name, "{}")
    broken.others_go_on()


@pytest.mark.parametrize("text", ODD_NUMBERS)
@pytest.mark.parametrize(
    "field",
    [
        "cap_instances", "cap_vcpus", "foreign_ram_mb", "held_vcpus", "held_ram_mb", "building",
        "max_building", "failures", "open_until_ms", "paused_until_ms", "starts_at_ms",
        "last_error_at_ms", "swept_at_ms", "catalogue_at_ms", "number",
    ],
)  # fmt: skip
def test_broken_number_of_a_region(broken: Broken, field: str, text: str) -> None:
    broken.region(field, text)
    broken.others_go_on()


def test_an_unknown_state_of_a_region(broken: Broken) -> None:
    broken.region("state", "sleepy")
    broken.others_go_on()


BREAKS: dict[str, Callable[[Broken], object]] = {
    "members of the queue": lambda it: it.redis.zadd(
        it.keys.queue, {"nonsense": 1, "a/b": 2, "x/alice/i-1": 3, "1/alice/i-none": 4}
    ),
    "heads of lines": lambda it: it.redis.zadd(
        it.keys.heads, {f"nonsense {n}": -(10**15) for n in range(40)}
    ),
    "members of a line": lambda it: it.redis.zadd(it.keys.line("alice"), {"nonsense": 1}),
    "what is due": lambda it: it.redis.zadd(it.keys.due, {f"odd {n}": 1 for n in range(600)}),
    "who holds something": lambda it: it.redis.sadd(it.keys.owners, "", "no such", "a/b"),
    "a catalogue": lambda it: it.redis.set(it.keys.catalogue(A), "{"),
    "a number of a region": lambda it: it.redis.hset(it.keys.numbers, A, "x"),
    "the shares": lambda it: it.redis.set(it.keys.shares, "\x7f"),
    "an event": lambda it: it.redis.rpush(it.keys.events(it.mine.id), "{", "[]", '{"region": 7}'),
}


@pytest.mark.parametrize("what", BREAKS)
def test_broken_elsewhere(broken: Broken, what: str) -> None:
    BREAKS[what](broken)
    broken.redis.set(broken.keys.version, f"after {what}")
    broken.others_go_on()
    broken.house.ledger.events(broken.mine.id)


ODD_ORDERS = [*ODD, '{"image": "debian", "size": "small", "strategy": "of a version to come"}']


def break_field(broken: Broken, instance: Instance, field: str, text: str | None) -> None:
    """Have a field of a record say something else, or be missing."""
    key = broken.keys.record(instance.id)
    if text is None:
        broken.redis.hdel(key, field)
    else:
        broken.redis.hset(key, field, text)


@pytest.mark.parametrize(
    ("field", "text"),
    [("order", it) for it in ODD_ORDERS]
    + [("ttl_ms", it) for it in (None, "", "x", "nan")]
    + [("queue", None), ("tried", "{"), ("attempt", "x")],
)
def test_one_that_waits_and_cannot_be_served_holds_up_nobody_behind_it(
    broken: Broken, field: str, text: str | None
) -> None:
    house = broken.house
    house.create(15, owner="cleo")
    (odd,) = house.create(1, owner="erin", on_full="queue")
    (waits,) = house.create(1, owner="dora", on_full="queue")
    assert {it.status for it in house.ledger.get([odd.id, waits.id])} == {Status.QUEUED}
    break_field(broken, odd, field, text)
    house.destroy(broken.theirs[1])
    for _ in range(2):
        house.settle()
        assert broken.reap() == {A: "swept", B: "swept"}
    assert house.get(waits).status != Status.QUEUED


@pytest.mark.parametrize(
    ("field", "text"), [("order", it) for it in ODD_ORDERS] + [("said", it) for it in ODD]
)
def test_one_that_failed_and_cannot_be_read_holds_up_nothing_of_its_region(
    broken: Broken, field: str, text: str
) -> None:
    house, cloud = broken.house, broken.house.clouds[A]
    odd = house.one(owner="alice", regions=[A], on_full="queue")
    house.settle()
    server_id = house.get(odd).server_id or ""
    cloud.servers[server_id] = cloud.servers[server_id]._replace(
        status=Status.ERROR, fault="no host"
    )
    break_field(broken, odd, field, text)
    house.ledger.destroy(broken.theirs[0], why="enough")
    for _ in range(2):
        assert broken.reap() == {A: "swept", B: "swept"}
        house.settle()
    assert broken.theirs[0].server_id not in cloud.servers
    # An order may be of a version to come, which can try again; what regions said is only shown.
    waits = field == "order"
    assert (server_id in cloud.servers) is waits
    assert (house.get(odd).status == Status.BUILD) is waits
    house.destroy(odd)
    house.come_to_rest()
    assert server_id not in cloud.servers


def test_a_fault_of_our_own_about_one_instance_is_that_instances(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, cloud = broken.house, broken.house.clouds[A]
    delete = cloud.delete

    def break_(server_id: str, *more: Any) -> str:
        if server_id == broken.mine.server_id:
            raise RuntimeError("something that nobody thought of")
        return delete(server_id, *more)

    monkeypatch.setattr(cloud, "delete", break_)
    for it in (broken.mine, broken.theirs[0]):
        house.ledger.destroy(it, why="enough")
    assert broken.reap() == {A: "failed", B: "swept"}
    assert broken.theirs[0].server_id not in cloud.ours()
    assert broken.mine.server_id in {it.id for it in cloud.ours().values()}


@pytest.mark.parametrize("member", ["nonsense", "", "x/alice/i-1", "1"])
def test_an_odd_member_of_an_owners_line_holds_up_neither_them_nor_a_reap(
    broken: Broken, member: str
) -> None:
    house = broken.house
    house.create(15, owner="cleo")
    (waits,) = house.create(1, owner="alice", on_full="queue", ttl=600)
    broken.redis.zadd(broken.keys.line("alice"), {member: -(10**15)})
    (more,) = house.create(1, owner="alice", on_full="queue")
    house.destroy(waits)
    assert broken.reap() == {A: "swept", B: "swept"}
    house.destroy(broken.theirs[1])
    for _ in range(2):
        house.settle()
        broken.reap()
    assert house.get(more).status != Status.QUEUED


def test_a_record_of_another_type_that_is_due_stops_no_reap(broken: Broken) -> None:
    key = broken.keys.record(broken.mine.id)
    broken.redis.delete(key)
    broken.redis.set(key, "x")
    broken.redis.zadd(broken.keys.due, {broken.mine.id: 1})
    broken.others_go_on()


def test_what_waits_is_served_behind_broken_members_of_the_queue(broken: Broken) -> None:
    house = broken.house
    house.create(14, owner="cleo")
    (waits,) = house.create(1, owner="cleo", on_full="queue")
    BREAKS["heads of lines"](broken)
    BREAKS["members of the queue"](broken)
    house.destroy(broken.theirs[1])
    house.settle()
    broken.reap()
    broken.reap()
    assert house.get(waits).status != Status.QUEUED


def test_what_is_due_ends_behind_broken_records(broken: Broken) -> None:
    over = broken.house.one(owner="cleo", ttl=1)
    while broken.house.ledger.now_ms() <= over.identity.expires_at_ms:
        time.sleep(0.05)
    broken.redis.zadd(broken.keys.due, {f"odd {n}": 1 for n in range(11_000)})
    for _ in range(2):
        broken.reap()
    assert broken.house.get(over).status in (Status.DELETING, Status.DELETED)


def test_a_fault_of_our_own_in_one_region_is_that_regions(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_(*_: object) -> None:
        raise RuntimeError("something that nobody thought of")

    monkeypatch.setattr(broken.house.clouds[A], "survey", break_)
    done = broken.house.reaping.reap()["regions"]
    told = {it["region"]: (it["outcome"], it["error"]) for it in done}
    assert told[B] == ("swept", None)
    assert told[A] == ("failed", "a fault of our own; the log of `reap` has it")


def test_a_server_is_deleted_by_a_sweep_only_with_the_marks_of_its_attempt(broken: Broken) -> None:
    """The ledger points at somebody else's server: a slip, or a hand in it."""
    house = broken.house
    stranger = house.server(broken.theirs[0]).id
    broken.slot(server_id=stranger)
    broken.record("server_id", stranger)
    broken.record("status", "DELETING")
    for _ in range(2):
        broken.reap()
        house.settle()
    assert stranger in {it.id for it in house.clouds[A].ours().values()}
    said = house.state(A).last_error or ""
    assert said == f"server {stranger} lacks the marks of {broken.mine.id}/1: it is not deleted"
