"""A sweep of 20, 200 and 1,000 regions (or any numbers) of 20 instances each, by one process.

    python bench/sweeping.py [--regions 20 200 1000] [--rounds 1]

Each fleet has a simulated OpenStack of its own (10 regions a provider, 150 ms latency a call) and
its keys on one Valkey. A first sweep, not measured, makes connections and proves what the ledger
was told of. Then sweeps find nothing changed, and two of twenty changed in every region. At last
the ledger is lost, and in fleets of at most 200 regions a sweep adopts every server.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import stage
from redis import Connection, ConnectionPool, Redis
from report import Cell, Plot, Report, Table, Target, parser, publish
from sweeping_sky import DAY_S, INSTANCES, Sky, offer_all

from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.domain.pace import PACE
from openmultistack.fleet.config import load_fleet
from openmultistack.ledger import Ledger
from openmultistack.ledger.connect import CONNECTIONS_MAX
from openmultistack.wiring.use_cases import Ground, UseCases

A_PROVIDER = 10
LATENCY_MS, LEASE_MS = 150, 60_000
KINDS = ("nothing changed", "10 % changed", "adopting")
# To adopt all is for the day on which a ledger is lost: nothing is judged of it.
JUDGED = KINDS[:2]
# What the wall is judged of; larger fleets are not measured as they adopt, which takes long.
OF_TARGET = 200
# LINEAR: a fleet so many times as large as the next smaller one may take so much more than that.
WALL_S, CALLS, LINEAR = 10.0, 3.0, 1.2


class Counted(Connection):
    """Counts what goes to Redis: a script or a pipeline is one round trip."""

    round_trips = 0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ANN401, FBT001, FBT002  redis-py's
        """Count, and send."""
        Counted.round_trips += 1
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


class Spent(NamedTuple):
    """What a sweep cost, and all that it did."""

    wall_s: float
    cpu_s: float
    sim_cpu_s: float
    calls: Counter[str]
    logins: int
    round_trips: int
    done: Counter[str]


class Reaper:
    """One process' reaping of a fleet, and what its sweeps cost."""

    def __init__(self, name: str, sim: stage.Sim, redis: "Redis", sky: Sky) -> None:
        fleet = load_fleet(sim.clouds_file, None)
        self.ledger = Ledger(redis, name, lease_ms=LEASE_MS)
        regions = {it.name: (it.provider, it.region) for it in fleet.regions.values()}
        clouds = OpenStackClouds(
            sim.clouds_file, regions, fleet=name, keys=lambda: KEYRING, shelf=self.ledger
        )
        self._clouds = clouds
        self.regions = len(regions)
        self.sky = sky
        self.spent: dict[str, list[Spent]] = {it: [] for it in KINDS}
        self._redis = redis
        ground = Ground(
            name,
            ledger=lambda: self.ledger,
            fleet=lambda: fleet,
            clouds=lambda: clouds,
            lease_ms=LEASE_MS,
        )
        self._reaping = UseCases(ground).reaping()

    def prepare(self) -> None:
        """Fill the clouds and the ledger, and have every connection made."""
        self.sky.fill(self.ledger, lambda region: self._clouds.region(region).place().id)
        self._reap()

    def lose(self) -> None:
        """Lose the ledger (every fleet's, as it is one Valkey) but for what regions offer."""
        self._redis.flushdb()
        offer_all(self.ledger, list(self.sky.servers))

    def _reap(self) -> Sequence[Mapping[str, Any]]:
        swept: Sequence[Mapping[str, Any]] = self._reaping.reap()["regions"]
        failed = [it for it in swept if it["outcome"] != "swept"]
        if failed:
            raise RuntimeError(f"{len(failed)} sweeps failed: {failed[0]}")
        return swept

    def sweep(self, kind: str) -> None:
        """Sweep all regions, and note what that cost."""
        before, sent = self.sky.sim.ask("stats"), Counted.round_trips
        cpu, began = _cpu_s(), time.monotonic()
        swept = self._reap()
        wall_s, cpu_s, sent = time.monotonic() - began, _cpu_s() - cpu, Counted.round_trips - sent
        after = self.sky.sim.ask("stats")
        done = sum((Counter(it["actions"]) for it in swept), Counter[str]())
        calls = _calls(after, "regions") - _calls(before, "regions")
        logins = _calls(after, "providers") - _calls(before, "providers")
        sim_cpu_s = after["cpu_s"] - before["cpu_s"]
        self.spent[kind].append(Spent(wall_s, cpu_s, sim_cpu_s, calls, logins.total(), sent, done))

    def best(self, kind: str) -> Spent:
        """Return the quickest of its sweeps."""
        return min(self.spent[kind], key=lambda it: it.wall_s)


def _cpu_s() -> float:
    used = os.times()
    return used.user + used.system


def _calls(stats: Mapping[str, Any], of: str) -> Counter[str]:
    """Return the calls by kind, of all regions or of all logins."""
    found = [it["calls"] if of == "regions" else it for it in stats[of].values()]
    return sum((Counter(it) for it in found), Counter[str]())


@contextmanager
def fleets(sizes: Sequence[int]) -> Iterator[list[Reaper]]:
    """Give a fleet of each size, its regions full."""
    with ExitStack() as open_:
        home = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        url = open_.enter_context(stage.valkey(home))
        options = {"max_connections": CONNECTIONS_MAX, "decode_responses": True}
        pool = ConnectionPool.from_url(url, connection_class=Counted, **options)
        open_.callback(pool.disconnect)
        control = open_.enter_context(httpx.Client(timeout=60))
        made = []
        for size in sizes:
            shape = {"providers": size // A_PROVIDER, "regions_per_provider": A_PROVIDER}
            conduct = {"latency_ms": LATENCY_MS, "boot_s": DAY_S, "delete_s": 0.1}
            name = f"n{size}"
            sim = open_.enter_context(stage.simulated(home, name, **shape, **conduct))
            made.append(Reaper(name, sim, Redis(connection_pool=pool), Sky(sim, name, control)))
            made[-1].prepare()
        yield made


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    with fleets(asked.regions) as reapers:
        for _ in range(asked.rounds):
            for it in reapers:
                it.sweep("nothing changed")
        for it in reapers:
            it.sky.change(it.ledger)
            it.sweep("10 % changed")
        for it in reapers:
            if it.regions <= OF_TARGET:
                it.lose()
                it.sweep("adopting")
    return _report(asked, reapers)


def _row(reaper: Reaper, kind: str) -> list[Cell]:
    it, regions = reaper.best(kind), reaper.regions
    done = ", ".join(f"{count} {what}" for what, count in it.done.items() if count)
    return [
        kind, regions, round(it.wall_s, 2), round(it.cpu_s, 2), round(1000 * it.cpu_s / regions, 1),
        round(it.calls.total() / regions, 2), it.logins, round(it.round_trips / regions, 2),
        round(it.sim_cpu_s / it.wall_s, 2), done,
    ]  # fmt: skip


def _targets(reapers: Sequence[Reaper]) -> Iterator[Target]:
    for it in reapers:
        what = f"cloud calls a region, {it.regions} regions, nothing changed"
        calls = it.best("nothing changed").calls.total() / it.regions
        yield Target(what, round(calls, 2), "<=", CALLS)
    for kind in JUDGED:
        wall_s = {it.regions: it.best(kind).wall_s for it in reapers}
        if OF_TARGET in wall_s:
            what = f"wall of {OF_TARGET} regions, {kind}, s"
            yield Target(what, round(wall_s[OF_TARGET], 2), "<=", WALL_S)
        for fewer, more in pairwise(sorted(wall_s)):
            ratio, bound = wall_s[more] / wall_s[fewer], LINEAR * more / fewer
            what = f"wall of {more} / {fewer} regions, {kind}"
            yield Target(what, round(ratio, 2), "<=", round(bound, 1))


def _report(asked: argparse.Namespace, reapers: Sequence[Reaper]) -> Report:
    sizes = " ".join(map(str, asked.regions))
    heads = [
        "sweep", "regions", "wall s", "CPU s", "CPU ms a region", "cloud calls a region", "logins",
        "ledger round trips a region", "simulation busy", "done",
    ]  # fmt: skip
    found = {kind: [it for it in reapers if it.spent[kind]] for kind in KINDS}
    quickest = f" (the quickest of {asked.rounds})" if asked.rounds > 1 else ""
    return Report(
        name="sweeping",
        title="A sweep of many regions",
        command=f"python bench/sweeping.py --regions {sizes} --rounds {asked.rounds}",
        said=f"""
            One process sweeps each fleet in turn: {A_PROVIDER} regions a provider, {INSTANCES}
            instances a region, {LATENCY_MS} ms latency of every call; a simulated OpenStack for
            each fleet, one Valkey for all. Before, a sweep that is not measured made the
            connections. *Nothing changed*: the sweep after that{quickest}. *10 % changed*: in every
            region two of these: a server was destroyed behind its back, a build became ACTIVE, an
            instance expired. Of what expired the sweep sees the end: the cloud takes 0.1 s for it,
            the sweep looks after {PACE.gone_poll_s:g} s. *Adopting* (fleets of at most {OF_TARGET}
            regions): the ledger is empty but for what the regions offer.

            CPU is that of the sweeping process. Round trips are what it sent to the ledger (a
            script or a pipeline is one). *Simulation busy*: its processor time divided by the wall;
            near 1 it would be what is measured, and far below 1 it is not, though it takes its
            share of the machine's cores. A process sweeps {PACE.sweeps_at_once} regions at a time:
            fewer take as long as the slowest one, which is why few regions cost more each.
            """,
        tables=[Table(heads, [_row(it, kind) for kind in KINDS for it in found[kind]])],
        targets=list(_targets(reapers)),
        plots=[
            Plot(
                name="wall",
                title="A sweep of all regions",
                x="regions",
                y="s of wall",
                curves={
                    kind: [(it.regions, it.best(kind).wall_s) for it in some]
                    for kind, some in found.items()
                    if some
                },
                log_x=True,
                log_y=True,
            )
        ],
    )


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--regions", type=int, nargs="+", default=[20, 200, 1000])
    asking.add_argument("--rounds", type=int, default=1)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
