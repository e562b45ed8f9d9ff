"""Redis servers of a test's own that can be killed, paused and emptied, and a fleet over them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import (
    Instance,
    Offer,
    Resources,
    Status,
)
from openmultistack.domain.regions import Place
from openmultistack.domain.tokens import KnownToken
from openmultistack.ledger import (
    Attempt,
    Gone,
    Key,
    Ledger,
    Seen,
    Stranger,
    Waiting,
    Wish,
)
from tests.support.nodes import Node
from tests.support.slow_house import A, B, House, catalogue_of


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
