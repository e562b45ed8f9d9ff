"""All keys are declared and under one hash tag, so that Sentinel and Cluster both do."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.local.ports import free_port
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Catalogue, Instance, Quota, Resources, Status
from openmultistack.domain.regions import Place
from openmultistack.domain.tokens import KnownToken
from openmultistack.ledger import Attempt, Bound, Key, Waiting
from tests.support.desk import Desk

A, B, C = "alpha/One", "beta/One", "gamma/One"
WAITING = Waiting(priority=10, max_queued=9, wait_ms=60_000, max_of_owner=9)
SCRIPTS = sorted(
    it.name.removesuffix(".lua")
    for it in files("openmultistack.ledger").iterdir()
    if it.name.endswith(".lua") and not it.name.startswith("_")
)


def everything(desk: Desk) -> None:
    """Let every script run, through each of its branches that touches a key."""
    ledger, cap = desk.ledger, Resources(instances=9, vcpus=99, ram_mb=999)
    for region in (A, B):
        ledger.survey(region, cap=cap, foreign=Resources(), catalogue=Catalogue())
        ledger.survey(region, cap=cap, foreign=Resources(), catalogue=None)
    ledger.unsuit(B, "flavor:1", "no")
    ledger.restock(B, Catalogue())
    for means in ("full", "stale", "", "down"):
        ledger.report(B, "no", means)
    assert not desk.place(B).attempts
    desk.open(B)
    waiting(desk)
    changing(desk)
    first, second, third = desk.place(A, B, count=3, labels={"a": "b"}).attempts
    desk.place(A, B, ids=[it.instance_id for it in (first, second, third)])
    assert ledger.commit(first, "srv-1")
    ledger.observe(first, server_id="srv-1", status=Status.ACTIVE, addresses=())
    moved = desk.move(second, A, B, keep=True).attempt
    assert moved
    ledger.observe(second, server_id="srv-2", status=Status.BUILD, addresses=())
    assert not ledger.commit(second, "srv-2")
    assert desk.move(moved, keep=False).outcome == "none"
    ledger.fail(moved, "broken")
    assert ledger.renew(first.instance_id, 1)
    assert ledger.prolong(first, 4_000_000_000_000)
    assert ledger.destroy(desk.get(first), why="w") == "DELETING"
    assert desk.move(first, B).outcome == "ended"
    assert desk.end(first)
    assert ledger.destroy(desk.get(moved), why="w") == "EMPTY"
    desk.end(moved)
    desk.end(second)
    found = desk.get(third)._replace(id="i-found", server_id="srv-9")
    assert ledger.hold(found, Resources(instances=1, vcpus=1, ram_mb=1))
    assert ledger.destroy(found._replace(id="i-none"), why="w") == "MISSING"
    ledger.forget([desk.get(first)])
    assert ledger.due(10) == []
    assert ledger.now_ms() > 0
    assert ledger.page("alice", label=("a", "b"), gone=False, after=None, limit=9)
    assert len(ledger.view(A, []).slots) + len(ledger.view(B, []).slots) == 2
    with ledger.sweeping(A, budget_s=5) as mine:
        assert mine
    counting(desk)
    known = KnownToken("id", "jti", "issuer", "alice", [], 4_000_000_000_000)
    ledger.see(known)
    assert ledger.seen_tokens("alice")
    assert ledger.revoke({known.id: known.ends_at_ms}, is_operator=False)
    assert ledger.revoked(None).ids


def counting(desk: Desk) -> None:
    """Let every script run that makes counters anew."""
    ledger, waits = desk.ledger, desk.queued(C, owner="carol")
    place = ledger.place_of(A)
    desk.redis.hincrby(desk.keys.region(place), "building", 1)
    for owner in ("alice", "carol"):
        desk.redis.hincrby(desk.keys.usage(owner), "instances", 7)
    assert ledger.recount() == ([A], 2)
    assert ledger.recount() == ([], 0)
    assert desk.waiting() == [waits]


def waiting(desk: Desk) -> None:
    """Let every script run that has to do with idempotency keys, breakers and the queue."""
    ledger, bounds = desk.ledger, {"max_building": 9, "starts_per_minute": 600}
    for means in ("doubt", "paused"):
        ledger.report(C, "no", means)
    desk.open(C, **bounds)
    ledger.drain(C, "maintenance")
    key, quota = Key("digest", "body"), Quota(instances=9, creates_per_minute=99)
    (first, second), ask = desk.new_ids(2), {"quota": quota, "key": key, "owner": "bob"}
    assert desk.place(C, ids=[first, second], waiting=WAITING, **ask).queued == (first, second)
    assert desk.place(C, **ask).outcome == "repeated"
    assert ledger.made_under("bob", key) == [first, second]
    assert ledger.promise("bob", key, [first, second])
    assert ledger.leave_out("bob", key, [first]) == []
    ledger.open(C)
    attempt, _ = desk.served(C)
    ledger.drain(C, "again")
    assert desk.move(attempt, wait=True).outcome == "queued"
    assert ledger.usage(["bob"])["bob"].instances == 1
    assert ledger.destroy(desk.get(first), why="w") == "EMPTY"
    assert not desk.end(Attempt(first, 1, ""))
    assert desk.end(Attempt(second, 1, C))
    found = desk.get(second)._replace(id="i-again", server_id="srv", region=C)
    assert ledger.hold(found, Resources(instances=1, vcpus=1, ram_mb=1), building=True)
    assert desk.end(Attempt("i-again", 1, C))
    ledger.give_key_back("bob", key, [first, second], even_promised=True)


def changing(desk: Desk) -> None:
    """Let every script run that has to do with regions whose names or files change."""
    ledger, place = desk.ledger, Place("cloud.example", "project", "One")
    assert ledger.bind(A, place, {A: 0}) == Bound("bound")
    desk.open(A)
    attempt = desk.placed(A)
    assert ledger.bind(B, place, {A: 0, B: 1}) == Bound("duplicate", A)
    assert ledger.bind(B, place, {B: 0}) == Bound("renamed", A)
    ledger.stand_alone(A)
    assert ledger.place_of(A) == A
    assert ledger.strand(B, [attempt.instance_id]) == 1
    assert ledger.unstrand(B, [attempt.instance_id]) == 1
    assert ledger.retire(B, "removed", "why")
    assert desk.end(attempt._replace(region=B))
    assert B in ledger.unconfigured([C])
    ledger.forget_regions([B])
    ledger.bind(A, place._replace(project="another"), {A: 0})
    ledger.bind(B, place._replace(project="a third"), {B: 0})
    desk.open(A, B)


class Declared(Redis):
    """A client whose scripts run as a user that may touch their declared keys and no others."""

    ran: set[str]
    declared: set[str]
    restricted: "Redis[str]"

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script as the restricted user."""
        keys = keys_and_args[:numkeys]
        self.declared |= set(keys)
        patterns = [re.sub(r"([*?\[\]\\])", r"\\\1", key) for key in keys]
        self.acl_setuser(
            "script", enabled=True, nopass=True, reset_keys=True, keys=patterns, commands=["+@all"]
        )
        self.ran.add(sha)
        return self.restricted.evalsha(sha, numkeys, *keys_and_args)


@pytest.fixture
def declared(redis: "Redis[str]", valkey: Any) -> Iterator[Declared]:
    """Return a client of the shared, empty Valkey; `ran` and `declared` tell what was run."""
    redis.acl_setuser("script", enabled=True, nopass=True, commands=["+@all"])
    with (
        Declared(port=valkey.port, decode_responses=True) as client,
        Redis(port=valkey.port, username="script", password="", decode_responses=True) as own,
    ):
        client.ran, client.declared, client.restricted = set(), set(), own
        yield client
    redis.acl_deluser("script")


def test_no_script_touches_a_key_that_was_not_declared(
    declared: Declared, make_desk: Callable[..., Desk]
) -> None:
    everything(make_desk(declared))
    of_redis_py = 1  # its lock gives itself back by a script
    assert len(declared.ran) == len(SCRIPTS) + of_redis_py, f"not all of {SCRIPTS} were run"
    assert declared.declared
    assert all(key.startswith("{oms:test}:") for key in declared.declared)


def test_the_check_of_declared_keys_would_tell(declared: Declared) -> None:
    sha = declared.script_load("return redis.call('GET', 'undeclared')")
    with pytest.raises(Exception, match="permission"):
        declared.evalsha(sha, 1, "{oms:test}:x")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_says_what_it_does_and_builds_no_key(script: str) -> None:
    text = (files("openmultistack.ledger") / f"{script}.lua").read_text()
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("--"))
    for said in ("KEYS", "ARGV", "Returns"):
        assert f"-- {said}  " in header
    assert "afe to repeat" in header
    body = re.sub(r"--.*", "", text)
    assert not re.search(r"'(KEYS|SCAN|FLUSH\w*)'", body)
    assert "{oms" not in body
    named = r"(KEYS\[[^\]]+\]|record|events|region|slots|queue|usage|key)"
    calls = re.findall(r"redis\.call\('(\w+)'(?:, (KEYS\[[^\]]+\]|[^,)]+))?", body)
    for command, first in calls:
        assert command == "TIME" or re.fullmatch(named, first.strip()), (command, first)


@pytest.fixture
def cluster(start_valkey: Any) -> Iterator[SimpleNamespace]:
    """Return a Cluster of one node that serves all slots."""
    with start_valkey("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        with Redis(port=server.port, decode_responses=True) as node:
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until = time.monotonic() + 20
            while "cluster_state:ok" not in str(node.execute_command("CLUSTER", "INFO")):
                assert time.monotonic() < until, "the cluster does not come up"
                time.sleep(0.02)
        yield server


def test_everything_works_on_a_cluster(
    cluster: SimpleNamespace, make_desk: Callable[..., Desk]
) -> None:
    client = RedisCluster(host="127.0.0.1", port=cluster.port, decode_responses=True)
    try:
        everything(make_desk(client))
    finally:
        client.close()


def test_a_cluster_that_is_lost_is_unavailable(
    cluster: SimpleNamespace,
    make_desk: Callable[..., Desk],
    reads: Sequence[Callable[[Desk], object]],
) -> None:
    client = RedisCluster(
        host="127.0.0.1", port=cluster.port, decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    try:
        desk = make_desk(client)
        cluster.process.kill()
        cluster.process.wait(10)
        for read in reads:
            with pytest.raises(LedgerUnavailable):
                read(desk)
    finally:
        client.close()


@pytest.fixture
def reads() -> Sequence[Callable[[Desk], object]]:
    """Return acts of each way in which the ledger speaks to Redis."""
    attempt = Attempt("i-1", 1, A)
    return (
        lambda desk: desk.ledger.regions(),
        lambda desk: desk.ledger.now_ms(),
        lambda desk: desk.ledger.commit(attempt, "srv"),
        lambda desk: desk.ledger.forget([gone()]),
        lambda desk: desk.ledger.sweeping(A, budget_s=5).__enter__(),
    )


def gone() -> Instance:
    """Return an instance that is over."""
    return Instance(
        id="i-1",
        identity=Identity("o", "n", {}, 0, 1),
        status=Status.DELETED,
        region=A,
        image="d",
        flavor="f",
        attempt=1,
    )
