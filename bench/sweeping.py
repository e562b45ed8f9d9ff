"""A sweep of 20 and 200 regions (or any number) of 20 instances each, by one process.

    python bench/sweeping.py [--regions 20 200] [--rounds 1]

Each fleet has a simulated OpenStack of its own (10 regions a provider, 150 ms latency a call) and
its keys on one Valkey. Servers carry the fleet's marks, and the ledger knows none of them: the
first sweep adopts them all. Then sweeps find nothing changed, and at last two of twenty in every
region. With `--regions 20 200 1000` it takes some two minutes.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import stage
from redis import Connection, ConnectionPool, Redis
from report import Cell, Plot, Report, Table, Target, parser, publish
from ulid import ULID

from openmultistack.arriving import Arriving
from openmultistack.attempts import Attempts
from openmultistack.clouds import Marks
from openmultistack.clouds.marks import metadata_of
from openmultistack.clouds.openstack import OpenStackClouds
from openmultistack.fleet import load_fleet
from openmultistack.instances import Destroying
from openmultistack.leaving import Leaving
from openmultistack.ledger import Ledger
from openmultistack.ledger.connect import CONNECTIONS_MAX
from openmultistack.models import Catalogue, Flavor, Image, Network, Resources
from openmultistack.reaper import Reaping
from openmultistack.serving import Serving

INSTANCES, A_PROVIDER = 20, 10
LATENCY_MS, LEASE_MS, DAY_S = 150, 60_000, 86_400
# What has changed in a region: two of these, in turn.
CHANGES = ("gone", "built", "expired")
KINDS = ("adopting", "nothing changed", "10 % changed")
OF_TARGET = 200
# LINEAR: so much more than regions may a sweep of the largest fleet take.
WALL_S, CALLS, LINEAR = 10.0, 3.0, 1.2
OFFERED = Catalogue(
    flavors=(Flavor(id="f", name="m1.tiny", vcpus=1, ram_mb=512, disk_gb=1),),
    images=(Image(id="i", name="debian-12"),),
    networks=(Network(id="n", name="ci-net"),),
)


class Counted(Connection):
    """Counts what goes to Redis: a script or a pipeline is one round trip."""

    round_trips = 0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ANN401, FBT001, FBT002  redis-py's
        """Count, and send."""
        Counted.round_trips += 1
        super().send_packed_command(command, check_health)


class Spent(NamedTuple):
    """What a sweep cost, and all that it did."""

    wall_s: float
    cpu_s: float
    sim_cpu_s: float
    calls: Counter[str]
    logins: int
    round_trips: int
    done: Counter[str]


class Sky:
    """A fleet's clouds, and what happens in them."""

    def __init__(self, sim: stage.Sim, fleet: str, control: httpx.Client) -> None:
        self._control = control
        self._fleet = fleet
        self.sim = sim
        # Of each region its servers: instance id and server id.
        self.servers: dict[str, list[tuple[str, str]]] = {}
        self._turn = 0

    def fill(self) -> None:
        """Give every region twenty servers with marks, the last of which is still being built."""
        for region in self.sim.ask("stats")["regions"]:
            marks = [self._marks() for _ in range(INSTANCES)]
            asked = [{"name": it.server_name, "metadata": metadata_of(it)} for it in marks]
            answer = self._control.post(self._of(region), json=asked).raise_for_status()
            ids = [it["id"] for it in answer.json()]
            made = zip((it.instance_id for it in marks), ids, strict=True)
            self.servers[region] = list(made)
            self._change(region, built=ids[:-1])

    def _marks(self) -> Marks:
        now_ms = int(time.time() * 1000)
        return Marks(
            fleet=self._fleet, instance_id=f"i-{ULID()}", attempt=1, owner="bench", name="ci",
            labels={"run": "4711"}, created_at_ms=now_ms, expires_at_ms=now_ms + DAY_S * 1000,
        )  # fmt: skip

    def change(self, ledger: Ledger) -> None:
        """Change two of twenty in every region."""
        for at, (region, servers) in enumerate(self.servers.items()):
            for what in (CHANGES[at % 3], CHANGES[(at + 1) % 3]):
                instance, server = servers[{"gone": 0, "expired": 1, "built": -1}[what]]
                if what == "expired":
                    ledger.renew(instance, 1)
                else:
                    self._change(region, **{what: [server]})

    def _change(self, region: str, **ids: Sequence[str]) -> None:
        self._control.patch(self._of(region), json=ids).raise_for_status()

    def _of(self, region: str) -> str:
        return f"{self.sim.url}/sim/regions/{region}/servers"


class Reaper:
    """One process' reaping of a fleet, and what its sweeps cost."""

    def __init__(self, name: str, sim: stage.Sim, redis: "Redis", sky: Sky) -> None:
        fleet = load_fleet(sim.clouds_file, None)
        self.ledger = Ledger(redis, name, lease_ms=LEASE_MS)
        regions = {it.name: (it.provider, it.region) for it in fleet.regions.values()}
        clouds = OpenStackClouds(sim.clouds_file, regions, fleet=name, shelf=self.ledger)
        of_fleet = (self.ledger, fleet, name)
        arriving = Arriving(self.ledger, clouds)
        attempts = Attempts(self.ledger, clouds, arriving, lease_ms=LEASE_MS, call_budget_s=35)
        serving = Serving(*of_fleet, attempts)
        leaving = Leaving(self.ledger, clouds, serving.serve)
        destroying = Destroying(self.ledger, clouds, name, leaving)
        self.regions = len(regions)
        self.sky = sky
        self.spent: dict[str, list[Spent]] = {it: [] for it in KINDS}
        # What regions offer is read every ten minutes only, and not the matter here.
        for it in regions:
            self.ledger.survey(it, cap=Resources(), foreign=Resources(), catalogue=OFFERED)
        self._reaping = Reaping(
            *of_fleet, clouds, attempts, destroying=destroying, serving=serving, leaving=leaving
        )

    def sweep(self, kind: str) -> None:
        """Sweep all regions, and note what that cost."""
        before, sent = self.sky.sim.ask("stats"), Counted.round_trips
        cpu, began = _cpu_s(), time.monotonic()
        swept = self._reaping.reap()["regions"]
        wall_s, cpu_s, sent = time.monotonic() - began, _cpu_s() - cpu, Counted.round_trips - sent
        after = self.sky.sim.ask("stats")
        failed = [it for it in swept if it["outcome"] != "swept"]
        if failed:
            raise RuntimeError(f"{len(failed)} sweeps failed: {failed[0]}")
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
    """Give a fleet of each size, its regions full of servers that the ledger does not know."""
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
            made[-1].sky.fill()
        yield made


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    with fleets(asked.regions) as reapers:
        for it in reapers:
            it.sweep("adopting")
        for _ in range(asked.rounds):
            for it in reapers:
                it.sweep("nothing changed")
        for it in reapers:
            it.sky.change(it.ledger)
            it.sweep("10 % changed")
    return _report(asked, reapers)


def _row(reaper: Reaper, kind: str) -> list[Cell]:
    it, regions = reaper.best(kind), reaper.regions
    done = ", ".join(f"{count} {what}" for what, count in it.done.items() if count)
    return [
        kind, regions, round(it.wall_s, 2), round(it.cpu_s, 2), round(1000 * it.cpu_s / regions, 1),
        round(it.calls.total() / regions, 2), it.logins, round(it.round_trips / regions, 2),
        round(it.sim_cpu_s / it.wall_s, 2), done,
    ]  # fmt: skip


def _report(asked: argparse.Namespace, reapers: Sequence[Reaper]) -> Report:
    sizes = " ".join(map(str, asked.regions))
    heads = [
        "sweep", "regions", "wall s", "CPU s", "CPU ms a region", "cloud calls a region", "logins",
        "ledger round trips a region", "simulation busy", "done",
    ]  # fmt: skip
    quiet = {it.regions: it.best("nothing changed") for it in reapers}
    targets = [
        Target(f"cloud calls a region, {n} regions, nothing changed",
               round(it.calls.total() / n, 2), "<=", CALLS)
        for n, it in quiet.items()
    ]  # fmt: skip
    for kind in KINDS[1:]:  # to adopt all is for the day on which a ledger is lost
        wall_s = {it.regions: it.best(kind).wall_s for it in reapers}
        if OF_TARGET in wall_s:
            what = f"wall of {OF_TARGET} regions, {kind}, s"
            targets.append(Target(what, round(wall_s[OF_TARGET], 2), "<=", WALL_S))
        most, fewer = max(wall_s), OF_TARGET if max(wall_s) > OF_TARGET else min(wall_s)
        if most > fewer:
            ratio, bound = wall_s[most] / wall_s[fewer], LINEAR * most / fewer
            what = f"wall of {most} / {fewer} regions, {kind}"
            targets.append(Target(what, round(ratio, 2), "<=", round(bound, 1)))
    return Report(
        name="sweeping",
        title="A sweep of many regions",
        command=f"python bench/sweeping.py --regions {sizes} --rounds {asked.rounds}",
        said=f"""
            One process sweeps each fleet in turn: {A_PROVIDER} regions a provider, {INSTANCES}
            instances a region, {LATENCY_MS} ms latency of every call; a simulated OpenStack for
            each fleet, one Valkey for all. *Adopting*: the process is new and makes its first
            connections, and the ledger knows none of the servers (but what the regions offer).
            *Nothing changed*: the quickest of {asked.rounds} sweeps after that, which take turns
            between the fleets. *10 % changed*: in every region two of these: a server was destroyed
            behind its back, a build became ACTIVE, an instance expired. Of what expired the sweep
            sees the end, which takes the cloud 0.1 s.

            CPU is that of the sweeping process. Round trips are what it sent to the ledger (a
            script or a pipeline is one). *Simulation busy*: its processor time divided by the wall;
            below 1, it was not what was measured, but it takes its share of the machine's cores.
            """,
        tables=[Table(heads, [_row(it, kind) for kind in KINDS for it in reapers])],
        targets=targets,
        plots=[
            Plot(
                name="wall",
                title="A sweep of all regions",
                x="regions",
                y="s of wall",
                curves={
                    kind: [(it.regions, it.best(kind).wall_s) for it in reapers] for kind in KINDS
                },
                log_x=True,
                log_y=True,
            )
        ],
    )


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--regions", type=int, nargs="+", default=[20, 200])
    asking.add_argument("--rounds", type=int, default=1)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
