"""What the ledger does when Redis does not answer, or refuses to."""

import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import (
    Catalogue,
    Flavor,
    Image,
    Instance,
    Network,
    Offer,
    Resources,
    Status,
)
from openmultistack.domain.regions import Place
from openmultistack.domain.tokens import KnownToken
from openmultistack.ledger import Attempt, Gone, Key, Ledger, Seen, Served, Stranger, Wish
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
ATTEMPT = Attempt("i-1", 1, A)
TOKEN = KnownToken("t-1", "j", "issuer", "alice", ("instances:read",), 9**15)
KNOWN = Instance(
    id="i-1",
    identity=Identity("o", "n", {}, 0, 1),
    status=Status.BUILD,
    region=A,
    image="d",
    flavor="f",
    attempt=1,
    server_id="srv",
)
COMMAND = CreateInstances(image="debian", size="small")
KEY = Key("digest", "body")
OFFER = Offer(
    region=A, flavor=Flavor(id="f", name="f", vcpus=1, ram_mb=1, disk_gb=1),
    image=Image(id="i", name="i"), network=Network(id="n", name="n"),
)  # fmt: skip


def sweep(ledger: Ledger) -> None:
    """Take a region's lock and give it back."""
    with ledger.sweeping(A, budget_s=5):
        pass


ACTS: dict[str, Callable[[Ledger], object]] = {
    "place": lambda it: it.place(
        Wish(owner="o", command=COMMAND, ids=["i-9"], offers=[], pick="first", ttl_ms=1)
    ),
    "commit": lambda it: it.commit(ATTEMPT, "srv"),
    "move": lambda it: it.move(
        ATTEMPT, owner="o", why="w", keep=False, blame=True, promised=False, wait=False,
        offers=[], pick="first",
    ),
    "serve": lambda it: it.serve(A, [Served(KNOWN, OFFER)]),
    "fail": lambda it: it.fail(ATTEMPT, "e"),
    "destroy": lambda it: it.destroy(KNOWN, why="w"),
    "release": lambda it: it.release(ATTEMPT, owner="o", instance=KNOWN, why="w"),
    "release_all": lambda it: it.release_all([Gone(ATTEMPT, "o", KNOWN, "w")]),
    "renew": lambda it: it.renew("i-1", 1),
    "forget": lambda it: it.forget([KNOWN]),
    "see": lambda it: it.see(TOKEN),
    "seen_tokens": lambda it: [seen.token for seen in it.seen_tokens()],
    "revoke": lambda it: it.revoke({TOKEN.id: TOKEN.ends_at_ms}, is_operator=True),
    "revoked": lambda it: it.revoked(None).ids,
    "put_off": lambda it: it.put_off(["i-1"]),
    "order_of": lambda it: it.order_of(KNOWN._replace(order="@i-1")),
    "observe": lambda it: it.observe(ATTEMPT, server_id="s", status=Status.ACTIVE, addresses=()),
    "observe_all": lambda it: it.observe_all([Seen(ATTEMPT, "s", Status.ACTIVE, ())]),
    "hold": lambda it: it.hold(KNOWN, Resources(instances=1, vcpus=1, ram_mb=1)),
    "prolong": lambda it: it.prolong(ATTEMPT, 1),
    "survey": lambda it: it.survey(A, cap=Resources(), foreign=Resources(), catalogue=None),
    "report": lambda it: it.report(A, "e", "down"),
    "drain": lambda it: it.drain(A, "w"),
    "open": lambda it: it.open(A),
    "made_under": lambda it: it.made_under("o", KEY),
    "promise": lambda it: it.promise("o", KEY, ["i-1"]),
    "leave": lambda it: it.leave("n", "t", for_ms=1000),
    "recall": lambda it: it.recall("n"),
    "strangers": lambda it: it.strangers(A),
    "note_strangers": lambda it: it.note_strangers(A, {"s": Stranger("copy", "i-1", 1)}),
    "turn": lambda it: it.turn("n", for_ms=1000),
    "end_turn": lambda it: it.end_turn("n"),
    "take_back": lambda it: it.take_back("n"),
    "leave_out": lambda it: it.leave_out("o", KEY, ["i-1"]),
    "give_key_back": lambda it: it.give_key_back("o", KEY, ["i-1"]),
    "sweeping": sweep,
    "doubt_usage": lambda it: it.doubt_usage("o"),
    "recount": lambda it: it.recount(),
    "bind": lambda it: it.bind(A, Place("cloud.example", "project"), {A: 0}),
    "look_up_names": lambda it: it.look_up_names(),
    "stand_alone": lambda it: it.stand_alone(A),
    "unconfigured": lambda it: it.unconfigured([A]),
    "strand": lambda it: it.strand(A, ["i-1"]),
    "unstrand": lambda it: it.unstrand(A, ["i-1"]),
    "restock": lambda it: it.restock(A, Catalogue()),
    "unsuit": lambda it: it.unsuit(A, "flavor:1", "no"),
    "retire": lambda it: it.retire(A, "removed", "why"),
    "forget_regions": lambda it: it.forget_regions([A]),
    "regions": lambda it: it.regions(),
    "regions named": lambda it: it.regions([A]),
    "get": lambda it: it.get(["i-1"]),
    "events": lambda it: it.events("i-1"),
    "page": lambda it: it.page("o", label=None, gone=False, after=None, limit=5),
    "rarest": lambda it: it.rarest("o", {"a": "b", "c": "d"}),
    "queue": lambda it: it.queue(),
    "queue_length": lambda it: it.queue_length(),
    "next_in_queue": lambda it: it.next_in_queue(5),
    "shares": lambda it: it.shares(),
    "usage": lambda it: it.usage(["o"]),
    "due": lambda it: it.due(5),
    "now_ms": lambda it: it.now_ms(),
    "catalogue_age_ms": lambda it: it.catalogue_age_ms(A),
    "view": lambda it: it.view(A, []),
}  # fmt: skip


# They write, whatever there is.
CHANGES = ["renew", "report", "survey", "hold", "forget", "sweeping", "drain", "leave", "turn"]


def impatient(port: int, timeout_s: float = 10.0) -> "Redis[str]":
    """Return a client that does not try again."""
    return Redis(
        port=port,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


@pytest.fixture
def own(start_valkey: Any) -> Iterator[SimpleNamespace]:
    """Return a Valkey of this test's own."""
    with start_valkey() as server:
        yield server


def assert_unavailable(ledger: Ledger, acts: list[str]) -> None:
    """Check that these acts raise LedgerUnavailable, and nothing else."""
    for name in acts:
        with pytest.raises(LedgerUnavailable):
            ACTS[name](ledger)


def test_every_public_act_is_among_those_that_are_tried() -> None:
    public = {name for name in dir(Ledger) if not name.startswith("_")}
    of_values_read_before = {"catalogues", "name_of", "offered", "place_of", "unsuited"}
    assert {name.split()[0] for name in ACTS} == public - of_values_read_before


def test_fail_closed_every_act_says_unavailable_when_redis_is_gone(own: SimpleNamespace) -> None:
    with impatient(own.port) as client:
        ledger = Ledger(client, "test", lease_ms=1000)
        for act in ACTS.values():
            act(ledger)
        own.process.kill()
        own.process.wait(10)
        assert_unavailable(ledger, list(ACTS))


def test_every_act_says_unavailable_when_redis_was_never_there(own: SimpleNamespace) -> None:
    own.process.kill()
    own.process.wait(10)
    with impatient(own.port) as client:
        assert_unavailable(Ledger(client, "test", lease_ms=1000), list(ACTS))


def test_every_act_says_unavailable_when_redis_does_not_answer_in_time(
    own: SimpleNamespace,
) -> None:
    own.process.send_signal(signal.SIGSTOP)
    try:
        with impatient(own.port, timeout_s=0.2) as client:
            ledger = Ledger(client, "test", lease_ms=1000)
            assert_unavailable(ledger, ["place", "get", "sweeping", "forget"])
    finally:
        own.process.send_signal(signal.SIGCONT)


def test_every_change_says_unavailable_when_redis_is_a_read_only_replica(
    own: SimpleNamespace,
) -> None:
    with impatient(own.port) as client:
        ledger = Ledger(client, "test", lease_ms=1000)
        prepare(ledger)
        client.config_set("replica-serve-stale-data", "yes")
        client.replicaof("127.0.0.1", "1")
        assert_unavailable(ledger, CHANGES)


def test_every_change_says_unavailable_when_redis_has_no_memory_left(
    own: SimpleNamespace,
) -> None:
    with impatient(own.port) as client:
        ledger = Ledger(client, "test", lease_ms=1000)
        prepare(ledger)
        client.config_set("maxmemory", 1)
        assert_unavailable(ledger, [it for it in CHANGES if it != "forget"])


def test_every_change_says_unavailable_when_redis_has_too_few_replicas(
    own: SimpleNamespace,
) -> None:
    with impatient(own.port) as client:
        ledger = Ledger(client, "test", lease_ms=1000)
        prepare(ledger)
        client.config_set("min-replicas-to-write", 1)
        assert_unavailable(ledger, CHANGES)


@pytest.mark.parametrize("setting", ["maxmemory", "min-replicas-to-write"])
def test_no_counter_drifts_when_redis_refuses_to_write(
    own: SimpleNamespace, make_desk: Callable[..., Desk], setting: str
) -> None:
    with impatient(own.port) as client:
        desk = make_desk(client)
        desk.open(A, B)
        attempt, other = desk.placed(desk.offer(A, 3, 300)), desk.placed(desk.offer(A, 1, 100))
        desk.move(desk.placed(A), B)
        client.config_set(setting, 1)
        for act in (
            lambda: desk.end(attempt),
            lambda: desk.move(other, B),
            lambda: desk.place(A, B, count=2),
            lambda: desk.ledger.hold(KNOWN, Resources(instances=1, vcpus=1, ram_mb=1)),
        ):
            with pytest.raises(LedgerUnavailable):
                act()
        client.config_set(setting, 0)
        assert desk.held(A, B) == [2, 1]
        assert desk.get(attempt).status == desk.get(other).status == Status.BUILD
        assert desk.end(attempt)
        assert desk.held(A, B) == [1, 1]


def prepare(ledger: Ledger) -> None:
    """Let there be something to change, and every script be known to Redis."""
    for name in ("hold", "renew", "report", "survey"):
        ACTS[name](ledger)


def test_every_act_says_unavailable_while_the_password_is_not_the_right_one(
    own: SimpleNamespace,
) -> None:
    with impatient(own.port) as client:
        client.config_set("requirepass", "another")
    with impatient(own.port) as client:
        assert_unavailable(Ledger(client, "test", lease_ms=1000), ["place", "get", "sweeping"])


def test_the_ledger_works_again_when_redis_is_back_and_knows_no_script(
    own: SimpleNamespace,
) -> None:
    with impatient(own.port) as client:
        ledger = Ledger(client, "test", lease_ms=1000)
        prepare(ledger)
        client.script_flush()
        assert ledger.renew("i-1", 1000)
        assert ledger.renew("i-1", 1000)


def test_the_sweep_goes_on_to_its_end_when_redis_is_lost_within(own: SimpleNamespace) -> None:
    with impatient(own.port) as client:
        ledger = Ledger(client, "test", lease_ms=1000)
        with ledger.sweeping(A, budget_s=5) as mine:
            own.process.kill()
            own.process.wait(10)
        assert mine


def test_a_mistake_in_a_script_is_no_outage(desk: Desk) -> None:
    desk.redis.set(desk.keys.record("i-1"), "not a hash")
    with pytest.raises(Exception, match="WRONGTYPE") as caught:
        desk.ledger.renew("i-1", 1000)
    assert not isinstance(caught.value, LedgerUnavailable)


def test_the_refusal_tells_neither_address_nor_password(own: SimpleNamespace) -> None:
    own.process.kill()
    own.process.wait(10)
    with Redis(port=own.port, password="hunter2", retry=Retry(NoBackoff(), 0)) as client:
        with pytest.raises(LedgerUnavailable) as caught:
            Ledger(client, "test", lease_ms=1000).now_ms()
        assert "hunter2" not in str(caught.value)
        assert str(own.port) not in str(caught.value)
