"""The ledger alone: place, commit and release of instances, by the `count` of a command.

    python bench/ledger.py [--seconds 1] [--clients 2]

Client processes use the library's own Ledger on one Valkey, which writes down what it is told; each
fills a fleet of 50 regions x 20 by commands, then frees it region by region. Valkey's processor
time is its own account (INFO cpu). Beside each case the same clients write plain hashes of as many
fields as an instance's record has.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import stage
from redis import Redis
from report import Plot, Report, Table, Target, parser, publish
from ulid import ULID

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Flavor, Image, Instance, Network, Offer, Resources, Status
from openmultistack.ledger import Attempt, Gone, Ledger, Wish

OWNER = "bench"
LEASE_MS, TTL_MS = 60_000, 3_600_000
REGIONS, SLOTS = 50, 20
COUNTS = (1, 5, 20, 100)
SIZE = Flavor(id="f", name="m1.tiny", vcpus=1, ram_mb=512, disk_gb=1)
COMMAND = CreateInstances(image="debian-12", size=SIZE.name, labels={"run": "4711", "os": "x"})
# Of a record once it is committed; the plain hashes have as many.
FIELDS = 16
ACTS = ("calls", "pipelines", "plain")
TARGET = 10_000


class Case(NamedTuple):
    """What the clients do for a while."""

    url: str
    act: str
    each: int
    seconds: float


class Found(NamedTuple):
    """What came of it: instances, wall, and Valkey's own processor time."""

    instances: int
    wall_s: float
    cpu_s: float

    @property
    def a_core(self) -> float:
        """Instances for a second of one core of Valkey's."""
        return self.instances / self.cpu_s


class Client:
    """One client, with a fleet of its own."""

    def __init__(self, redis: "Redis", count: int) -> None:
        self._redis = redis
        self._fleet = f"fleet-{ULID()}"
        self._count = count
        self._ledger = self._on(redis)
        self._offers = offers()
        cap = Resources(instances=SLOTS, vcpus=SLOTS, ram_mb=SLOTS * SIZE.ram_mb)
        for it in self._offers:
            self._ledger.survey(it.region, cap=cap, foreign=Resources(), catalogue=None)

    def _on(self, redis: "Redis") -> Ledger:
        return Ledger(redis, self._fleet, lease_ms=LEASE_MS)

    def calls(self) -> int:
        """Fill the fleet, each commit a round trip; free it."""
        attempts: list[Attempt] = []
        for _ in range(REGIONS * SLOTS // self._count):
            placed = self._place()
            _commit(self._ledger, placed)
            attempts += placed
        self._free(attempts)
        return len(attempts)

    def pipelines(self) -> int:
        """Fill the fleet, the commits of a command in one pipeline; free it."""
        attempts: list[Attempt] = []
        for _ in range(REGIONS * SLOTS // self._count):
            placed = self._place()
            with self._redis.pipeline(transaction=False) as pipe:
                _commit(self._on(pipe), placed)
                pipe.execute()
            attempts += placed
        self._free(attempts)
        return len(attempts)

    def plain(self) -> int:
        """Write plain hashes in pipelines."""
        fields: Any = {f"field_{it:02}": "a value of its own" for it in range(FIELDS)}
        with self._redis.pipeline(transaction=False) as pipe:
            for _ in range(self._count):
                pipe.hset(f"{self._fleet}:{ULID()}", mapping=fields)
            pipe.execute()
        return self._count

    def _place(self) -> Sequence[Attempt]:
        ids = [f"i-{ULID()}" for _ in range(self._count)]
        wish = Wish(OWNER, COMMAND, ids, self._offers, "freest", TTL_MS)
        attempts = self._ledger.place(wish).attempts
        if len(attempts) != self._count:
            raise RuntimeError("there was no room for all")
        return attempts

    def _free(self, attempts: Sequence[Attempt]) -> None:
        """Release all, a region at a time, as sweeps do."""
        gone = defaultdict(list)
        for it in attempts:
            gone[it.region].append(Gone(it, OWNER, _known(it), "the cloud has no such server"))
        for some in gone.values():
            if not all(self._ledger.release_all(some)):
                raise RuntimeError("a slot was not held")


def offers() -> list[Offer]:
    """Return what each region would give."""
    image, network = Image(id="i", name="debian-12"), Network(id="n", name="ci-net")
    names = [f"p{1 + it % 2}/R{it // 2:02}" for it in range(REGIONS)]
    return [Offer(region=it, flavor=SIZE, image=image, network=network) for it in names]


def _commit(ledger: Ledger, attempts: Sequence[Attempt]) -> None:
    for it in attempts:
        ledger.commit(it, f"server-of-{it.instance_id}")


def _known(it: Attempt) -> Instance:
    """Return an instance as far as its release needs it."""
    return Instance(
        id=it.instance_id,
        identity=Identity(OWNER, "oms", COMMAND.labels, 0, 0),
        status=Status.ACTIVE,
        region=it.region,
        image="debian-12",
        flavor=SIZE.name,
        attempt=it.number,
    )


def work(case: Case) -> int:
    """Act again and again for the case's time; return how many instances went through."""
    with Redis.from_url(case.url, decode_responses=True) as redis:
        client, done = Client(redis, case.each), 0
        until = time.monotonic() + case.seconds
        while time.monotonic() < until:
            done += getattr(client, case.act)()
        return done


def cpu_s(redis: "Redis") -> float:
    """Return what Valkey has used of the processor so far."""
    used = redis.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def take(redis: "Redis", clients: Callable[[Case], Sequence[int]], case: Case) -> Found:
    """Have all clients act at once on an empty Valkey."""
    redis.flushall()
    used, began = cpu_s(redis), time.monotonic()
    instances = sum(clients(case))
    return Found(instances, time.monotonic() - began, cpu_s(redis) - used)


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    spawn, number = multiprocessing.get_context("spawn"), asked.clients
    with (
        tempfile.TemporaryDirectory() as folder,
        stage.valkey(Path(folder)) as url,
        Redis.from_url(url, decode_responses=True) as redis,
        spawn.Pool(number) as pool,
    ):
        clients = partial(_all, pool, number)
        clients(Case(url, "calls", COUNTS[-1], 0.01))  # warm: imports, and the scripts
        cases = [(count, act) for count in COUNTS for act in ACTS]
        found = {it: take(redis, clients, Case(url, it[1], it[0], asked.seconds)) for it in cases}
    return _report(asked, found)


def _all(pool: "multiprocessing.pool.Pool", number: int, case: Case) -> Sequence[int]:
    return pool.map(work, [case] * number, chunksize=1)


def _row(count: int, act: str, found: dict[tuple[int, str], Found]) -> list[str | int | float]:
    it, plain = found[count, act], found[count, "plain"]
    rates = [round(it.instances / it.wall_s), round(it.a_core), round(1e6 / it.a_core)]
    return [count, act, *rates, round(it.cpu_s / it.wall_s, 2), round(plain.a_core / it.a_core, 1)]


def _report(asked: argparse.Namespace, found: dict[tuple[int, str], Found]) -> Report:
    return Report(
        name="ledger",
        title="The ledger alone",
        command=f"python bench/ledger.py --seconds {asked.seconds:g} --clients {asked.clients}",
        said=f"""
            {asked.clients} client processes, each with a fleet of {REGIONS} regions x {SLOTS} on
            one Valkey that writes its append-only file. A client fills its fleet by commands of
            `count` (every region is a candidate of each, strategy `spread`), commits each instance,
            and releases all, a region's {SLOTS} in one act as a sweep does. `calls`: a round trip
            for each commit, as creates do. `pipelines`: the commits of a command in one pipeline,
            so that clients and the network's calls cost less and Valkey's own work shows. `plain`:
            no ledger, but a hash of {FIELDS} fields for each instance, in pipelines.

            *A second of Valkey's core* is a second of processor time by its own account, all its
            threads together; *busy* is how much of one core it had. The wall is bounded by the
            clients, which share the machine's cores with it.
            """,
        tables=[
            Table(
                ["count", "act", "instances/s of wall", "instances/s of Valkey's core",
                 "Valkey's µs an instance", "busy", "cost, in plain hashes"],
                [_row(*it, found) for it in found],
            )
        ],
        targets=[
            Target(
                "place + commit + release by count of 20, instances/s of Valkey's core",
                round(found[20, "pipelines"].a_core),
                ">=",
                TARGET,
            )
        ],
        plots=[
            Plot(
                name="rate",
                title="place + commit + release",
                x="count of a command",
                y="instances for a second of Valkey's core",
                curves={act: [(it, found[it, act].a_core) for it in COUNTS] for act in ACTS},
                log_x=True,
                log_y=True,
            )
        ],
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--seconds", type=float, default=1)
    asking.add_argument("--clients", type=int, default=2)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
