"""What OMS adds to a create: `POST /v1/instances` through Envoy beside the bare `POST /servers`.

    python bench/overhead.py [--pairs 300]

One client does both in turn, over warm connections: the API's create on a whole stack of one
replica, and a POST of the same server by a keystoneauth session that is logged in. The cloud is
the simulated one, at set latencies. Reads that Valkey took from its connections during creates
that nobody else interrupts are the ledger's round trips; calls are those that the cloud counted.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

import stage
from creates import HEADS, Bare, Sides, Through, side_by_side
from redis import Redis
from report import Plot, Report, Table, Target, parser, publish

LATENCIES_MS = (0, 50, 200)
# Beside the slower ones fewer do: they take longer, and vary less.
SHARE_OF_PAIRS = {0: 1, 50: 2 / 5, 200: 2 / 15}
ALONE = 40
# What is being built is looked after every second.
STILL_S = 2.5
ROOM = 1_000_000


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
            `POST /v1/instances` through Envoy (one replica of each function; Envoy and the function
            both verify the token) beside a bare `POST /servers` of the same size by a keystoneauth
            session that is logged in, to one simulated OpenStack. One client makes both in turn,
            each first every other time; to OMS it speaks by the standard library's HTTP. The cloud
            takes its latency for every call. Of fewer than 100 pairs the p99 is the slowest create.
            The same on a real OpenStack: see the laboratory's section.

            {ALONE} creates more, through OMS alone and at 0 ms, were counted: {cost.posts:g} POST
            of a server and {cost.calls:g} calls of the cloud in all for each, and
            {cost.round_trips:g} round trips to the ledger (reads that Valkey counted).
            """,
        tables=[
            Table(
                HEADS,
                [it.row(f"simulated, {latency} ms") for latency, it in found.items()],
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
    asking.add_argument("--pairs", type=int, default=300)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
