"""What OMS adds to a create: `POST /v1/instances` through Envoy beside the bare `POST /servers`.

    python bench/overhead.py [--pairs 60]

One client does both in turn, over warm connections: the API's create on a whole stack of one
replica, and a POST of the same server by a keystoneauth session that is logged in. The cloud is
the simulated one, at set latencies. Reads that Valkey took from its connections during creates
that nobody else interrupts are the ledger's round trips; calls are those that the cloud counted.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import openstack
import stage
from redis import Redis
from report import Plot, Report, Table, Target, parser, percentile, publish

LATENCIES_MS = (0, 50, 200)
# Beside the slower ones fewer do: they vary less.
SHARE_OF_PAIRS = {0: 1.0, 50: 0.75, 200: 0.4}
WARM = 5
ALONE = 40
# What is being built is looked after every second.
STILL_S = 2.5
ROOM = 1_000_000


class Sides(NamedTuple):
    """How long each create took, ms: through OMS, and bare."""

    through: Sequence[float]
    bare: Sequence[float]

    def row(self, name: str) -> list[str | int | float]:
        """Return it as a row of the table."""
        ours, theirs = (
            [percentile(it, share) for share in (0.5, 0.99)] for it in (self.through, self.bare)
        )
        added = [a - b for a, b in zip(ours, theirs, strict=True)]
        shown = [round(it, 1) for it in (*theirs, *ours, *added)]
        return [name, len(self.bare), *shown, self.ratio]

    @property
    def ratio(self) -> float:
        """Through OMS / bare, of the medians."""
        return round(median(self.through) / median(self.bare), 3)

    @property
    def added(self) -> float:
        """What OMS adds, ms, of the medians."""
        return round(median(self.through) - median(self.bare), 2)


class Bare:
    """A warm keystoneauth session to one region, and the server that it makes."""

    def __init__(self, clouds_file: Path, cloud: str, region: str, *, names: Sequence[str]) -> None:
        config = openstack.config.OpenStackConfig(
            config_files=[str(clouds_file)], load_envvars=False
        )
        connection = openstack.connection.Connection(config=config.get_one(cloud, region))
        flavor, image, network = names
        self.compute: Any = connection.compute
        self._server = {
            "flavorRef": connection.compute.find_flavor(flavor, ignore_missing=False).id,
            "imageRef": connection.image.find_image(image, ignore_missing=False).id,
            "networks": [{"uuid": connection.network.find_network(network).id}],
            "metadata": {f"mark_{it}": "a value of a usual length" for it in range(9)},
        }

    def create(self) -> str:
        """Make a server and return its id."""
        server = self._server | {"name": "bare"}
        answer = self.compute.post("/servers", json={"server": server}, microversion="2.90")
        return str(answer.json()["server"]["id"])


class Through:
    """A client of the API on one kept connection of the standard library's."""

    def __init__(self, product: stage.Product, *, image: str, size: str, **more: object) -> None:
        where = urlsplit(product.url)
        self._connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
        self._headers = {
            "Authorization": f"Bearer {product.token()}",
            "Content-Type": "application/json",
        }
        self._command = json.dumps({"image": image, "size": size, **more})

    def create(self) -> str:
        """Create an instance and return its id.

        Raises:
            RuntimeError: it was refused.
        """
        self._connection.request("POST", "/v1/instances", self._command, self._headers)
        answer = self._connection.getresponse()
        told = answer.read()
        if answer.status != HTTPStatus.ACCEPTED:
            raise RuntimeError(told.decode())
        return str(json.loads(told)["instances"][0]["id"])


def side_by_side(through: Callable[[], object], bare: Callable[[], object], pairs: int) -> Sides:
    """Take both in turn; each goes first every other time."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(WARM):
        through()
        bare()
    for number in range(pairs):
        both = [(through, took[0]), (bare, took[1])]
        for act, times in both if number % 2 else reversed(both):
            began = time.perf_counter()
            act()
            times.append((time.perf_counter() - began) * 1000)
    return Sides(*took)


class Costs(NamedTuple):
    """What a create asks for: calls of the cloud, POSTs of servers, round trips to the ledger."""

    calls: float
    posts: float
    round_trips: float


def until_still(sim: stage.Sim) -> None:
    """Wait until nobody calls the cloud any more."""

    def calls() -> int:
        return sum(sum(it["calls"].values()) for it in sim.ask("stats")["regions"].values())

    before = -1
    while (now := calls()) != before:
        before = now
        time.sleep(STILL_S)


def costs(sim: stage.Sim, redis: "Redis", create: Callable[[], object]) -> Costs:
    """Count what creates ask for, nothing else being done meanwhile.

    What is being built is looked after with a list of each region every second, from a second
    after a create on: it begins when there is none of that left, and is over before the next.
    """

    def counted() -> tuple[int, int, int]:
        stats = sim.ask("stats")
        regions = stats["regions"].values()
        calls = sum(sum(it["calls"].values()) for it in regions)
        logins = sum(sum(it.values()) for it in stats["providers"].values())
        reads = int(redis.info("stats")["total_reads_processed"])
        return calls + logins, sum(it["posts"] for it in regions), reads

    until_still(sim)
    before = counted()
    for _ in range(ALONE):
        create()
    calls, posts, reads = (a - b for a, b in zip(counted(), before, strict=True))
    # The last look at the counts is itself a read.
    return Costs(calls / ALONE, posts / ALONE, (reads - 1) / ALONE)


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    with ExitStack() as open_:
        home = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        quota = {"instances": ROOM, "cores": ROOM, "ram_mb": ROOM * 1000}
        sim = open_.enter_context(stage.simulated(home, boot_s=0.1, **quota))
        product = open_.enter_context(stage.product(home, sim, reap_every_s=3600))
        redis = open_.enter_context(Redis.from_url(product.stack.redis_url))
        names = (stage.SIZE, stage.IMAGE, "ci-net")
        bare = Bare(sim.clouds_file, "p1", "RegionOne", names=names)
        through = Through(product, image=stage.IMAGE, size=stage.SIZE)
        found = {}
        for latency_ms in LATENCIES_MS:
            sim.conduct(latency_ms=latency_ms)
            pairs = round(asked.pairs * SHARE_OF_PAIRS[latency_ms])
            found[latency_ms] = side_by_side(through.create, bare.create, pairs)
        sim.conduct(latency_ms=0)
        return _report(asked, found, costs(sim, redis, through.create))


def _report(asked: argparse.Namespace, found: dict[int, Sides], cost: Costs) -> Report:
    return Report(
        name="overhead",
        title="What OMS adds to a create",
        command=f"python bench/overhead.py --pairs {asked.pairs}",
        said=f"""
            `POST /v1/instances` through Envoy (one replica of each function, JWT checked by both)
            beside a bare `POST /servers` of the same size by a warm keystoneauth session, to one
            simulated OpenStack, in turn by one client; the API's is the standard library's. Of
            {ALONE} creates that nothing else ran beside: {cost.posts:g} POST of a server and
            {cost.calls:g} calls of the cloud in all for each, and {cost.round_trips:g} round trips
            to the ledger (reads that Valkey counted).
            """,
        tables=[
            Table(
                ["cloud's latency", "pairs", "bare p50 ms", "bare p99 ms", "OMS p50 ms",
                 "OMS p99 ms", "added p50 ms", "added p99 ms", "ratio of p50"],
                [it.row(f"{latency} ms") for latency, it in found.items()],
            )
        ],
        targets=[
            Target("ms added to the p50 of a create, at 0 ms", found[0].added, "<=", 4),
            Target("p50 through OMS / bare, at 50 ms", found[50].ratio, "<=", 1.08),
            Target("calls of the cloud for a create", cost.calls, "<=", 1),
            Target("round trips to the ledger for a create", cost.round_trips, "<=", 3),
        ],
        plots=[
            Plot(
                name="p50",
                title="a create, p50",
                x="the cloud's latency, ms",
                y="ms",
                curves={
                    side: [(it, median(getattr(found[it], field))) for it in found]
                    for side, field in (("through OMS", "through"), ("bare POST /servers", "bare"))
                },
            )
        ],
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--pairs", type=int, default=60)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
