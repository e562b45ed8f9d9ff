"""What a decision costs as the fleet and the queue grow: `place`, and a freed slot given on.

    python bench/decisions.py [--rounds 30] [--acts 10]

One client uses the library's own use cases on one Valkey. A decision is all that a create does
before it speaks to a cloud: what its command means in each region, and `place`. Sizes take turns,
so that what else the machine does is felt by all alike. Valkey's time is by its own
account (INFO cpu).
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count as serial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, cast

import stage
from redis import Redis
from report import Plot, Report, Table, Target, parser, publish

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import Catalogue, Flavor, Image, Network, Resources
from openmultistack.domain.placement import STRATEGIES
from openmultistack.fleet.config import Fleet, FleetFile, Region
from openmultistack.ledger import Admitted, Attempt, Ledger, Waiting, Wish
from openmultistack.provision.dequeuing import Serving
from openmultistack.provision.planning import Candidates
from openmultistack.provision.pursuing import Pursuit

OWNERS, TTL_MS, LEASE_MS = 10, 3_600_000, 3_600_000
SIZE = Flavor(id="f", name="m1.tiny", vcpus=1, ram_mb=512, disk_gb=1)
OFFERED = Catalogue((SIZE,), (Image(id="i", name="debian-12"),), (Network(id="n", name="net"),))
SIZES = (10, 50, 1000, 10_000)
COUNTS = (1, 100)
WAITERS = (10, 10_000)
# What takes long is done so much more rarely.
RARER = 5
IN_VAIN = 2
EVEN_REGIONS, EVEN_SLOTS, AT_ONCE = 50, 20, 32

if TYPE_CHECKING:
    from openmultistack.provision.attempts import Attempts


class Cost(NamedTuple):
    """What an act costs, in ms."""

    core: float
    wall: float


class Site:
    """A fleet of its own: so many regions, each with so many slots."""

    def __init__(self, redis: "Redis", name: str, regions: int, slots: int) -> None:
        self.redis = redis
        self.ledger = Ledger(redis, name, lease_ms=LEASE_MS)
        names = [f"p{it % 5}/R{it:05}" for it in range(regions)]
        by_name = {it: Region(name=it, provider=it[:2], region=it[3:]) for it in names}
        self.fleet = Fleet(regions=by_name, file=FleetFile())
        self.names = names
        self._candidates = Candidates(self.ledger, self.fleet)
        self._serial = serial()
        for it in names:
            self.resize(it, slots)

    def resize(self, region: str, slots: int) -> None:
        """Let a region have so many slots."""
        cap = Resources(slots, slots, slots * SIZE.ram_mb)
        self.ledger.survey(region, cap=cap, foreign=Resources(), catalogue=OFFERED)

    def place(
        self, count: int = 1, *, strategy: str = "spread", waiting: Waiting | None = None,
        regions: Sequence[str] = ("*",),
    ) -> Admitted:  # fmt: skip
        """Decide on one command, as a create does."""
        command = CreateInstances(
            image="debian-12", size=SIZE.name, count=count, strategy=strategy,
            regions=tuple(regions), on_full="queue" if waiting else "reject",
        )  # fmt: skip
        found, shares = self._candidates.look(command)
        number = next(self._serial)
        return self.ledger.place(
            Wish(
                owner=f"owner-{number % OWNERS}", command=command, offers=found.able,
                ids=[f"i-{number:08}-{it:03}" for it in range(count)], ttl_ms=TTL_MS,
                pick=STRATEGIES[strategy].pick, waiting=waiting, shares=shares,
            )
        )  # fmt: skip

    def queue(self, count: int, regions: Sequence[str]) -> None:
        """Let so many more wait."""
        for _ in range(count):
            self.place(waiting=Waiting(0, 10**6, TTL_MS, 10**6), regions=regions)

    def free(self, attempt: Attempt) -> None:
        """Release an attempt."""
        (known,) = self.ledger.get([attempt.instance_id])
        self.ledger.release(
            attempt, owner=known.identity.owner, instance=known, why="gone", end=True
        )


class Placed:
    """In place of Attempts: keeps what holds a slot, and makes no server."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def pursue_all(self, pursuits: Sequence[Pursuit]) -> list[object]:
        """Keep the attempts."""
        self.attempts = [it.attempt for it in pursuits]
        return []


def cpu_ms(redis: "Redis") -> float:
    """Return what Valkey has used of the processor so far."""
    used = redis.info("cpu")
    return 1000 * (float(used["used_cpu_user"]) + float(used["used_cpu_sys"]))


def cost_of(redis: "Redis", acts: int, act: Callable[[], object]) -> Cost:
    """Return what an act costs: Valkey's time on average, and the wall as its median."""
    walls, before = [], cpu_ms(redis)
    for _ in range(acts):
        began = time.perf_counter()
        act()
        walls.append(1000 * (time.perf_counter() - began))
    return Cost((cpu_ms(redis) - before) / acts, median(walls))


Case = tuple[str | int, ...]
Costs = dict[Case, list[Cost]]


def middle(costs: Sequence[Cost]) -> Cost:
    """Return the median of rounds."""
    return Cost(median(it.core for it in costs), median(it.wall for it in costs))


def ratios(costs: Costs, one: Case, other: Case) -> Cost:
    """Return how much more one costs than the other, as the median over rounds side by side."""
    pairs = list(zip(costs[one], costs[other], strict=False))
    return middle([Cost(a.core / b.core, a.wall / b.wall) for a, b in pairs])


def place_costs(redis: "Redis", asked: argparse.Namespace) -> Costs:
    """Place in fleets of all sizes in turn, with room, and then without any."""
    sites = {size: Site(redis, f"place-{size}", size, 10**6 // size) for size in SIZES}
    costs: Costs = {}
    cases = [("spread", 1), ("spread", COUNTS[1]), ("priority", 1), ("pack", 1)]
    for _, (strategy, count), size in product(range(asked.rounds), cases, SIZES):
        acts = max(2, asked.acts // (RARER if count > 1 else 1))
        found = cost_of(redis, acts, partial(sites[size].place, count, strategy=strategy))
        costs.setdefault((strategy, size, count), []).append(found)
    for site in sites.values():
        for name in site.names:
            site.resize(name, 0)
    for _, size in product(range(max(2, asked.rounds // RARER)), SIZES):
        found = cost_of(redis, max(2, asked.acts // RARER), sites[size].place)
        costs.setdefault(("full", size, 1), []).append(found)
    return costs


def serve_costs(redis: "Redis", asked: argparse.Namespace) -> Costs:
    """Free a slot with few and many waiting for it, and with as many waiting for another region."""
    cases = [(waiting, suits) for suits in ("suit", "suit not") for waiting in WAITERS]
    turns = {case: _turns(redis, *case) for case in cases}
    costs: Costs = {}
    for turn in range(asked.rounds):
        for case in cases:
            in_vain = case == (WAITERS[1], "suit not")
            if in_vain and turn >= IN_VAIN:
                continue
            acts = 1 if in_vain else asked.acts
            found = [next(turns[case]) for _ in range(acts)]
            whole = Cost(sum(it.core for it in found) / acts, median(it.wall for it in found))
            costs.setdefault(case, []).append(whole)
    return costs


def _turns(redis: "Redis", waiting: int, suits: str) -> Iterator[Cost]:
    """Free a slot again and again, and tell what it costs to give it on."""
    site = Site(redis, f"serve-{waiting}-{suits}", 2, 1)
    region, other = site.names
    (held,) = site.place(regions=[region]).attempts
    site.place(regions=[other])
    wanted = region if suits == "suit" else other
    site.queue(waiting, [wanted])
    placed = Placed()
    serving = Serving(site.ledger, site.fleet, "bench", cast("Attempts", placed))
    while True:
        site.free(held)
        yield cost_of(redis, 1, lambda: serving.serve(region))
        if suits == "suit":
            (held,) = placed.attempts
            site.queue(1, [wanted])
        else:
            (held,) = site.place(regions=[region]).attempts


def gap(redis: "Redis", side_by_side: int) -> tuple[int, int]:
    """Fill a fleet to 10.5 slots a region, then wholly; return how uneven it was, and the slots."""
    site = Site(redis, f"even-{side_by_side}", EVEN_REGIONS, EVEN_SLOTS)
    with ThreadPoolExecutor(side_by_side) as pool:
        half = EVEN_REGIONS * EVEN_SLOTS // 2 + EVEN_REGIONS // 2
        some = list(pool.map(lambda _: site.place(), range(half)))
        held = Counter(it.region for admitted in some for it in admitted.attempts)
        rest = list(pool.map(lambda _: site.place(), range(half)))
    fitted = sum(len(it.attempts) for it in some + rest)
    return max(held.values()) - min(held[it] for it in site.names), fitted


class Found(NamedTuple):
    """All that was measured."""

    place: Costs
    serve: Costs
    # One after another, and side by side.
    alone: tuple[int, int]
    at_once: tuple[int, int]


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stage.valkey(Path(folder)) as url,
        Redis.from_url(url, decode_responses=True) as redis,
    ):
        evenness = gap(redis, 1), gap(redis, AT_ONCE)
        redis.flushall()
        place = place_costs(redis, asked)
        redis.flushall()
        return _report(asked, Found(place, serve_costs(redis, asked), *evenness))


def _row(costs: Costs, names: Sequence[str | int], at: Case, base: Case) -> list[str | int | float]:
    it, ratio = middle(costs[at]), ratios(costs, at, base)
    return [
        *names,
        round(it.core, 3),
        round(ratio.core, 2),
        round(it.wall, 3),
        round(ratio.wall, 2),
    ]


def _twice(what: str, ratio: Cost, bound: float) -> list[Target]:
    return [
        Target(f"{what}, Valkey's core", round(ratio.core, 2), "<=", bound),
        Target(f"{what}, wall", round(ratio.wall, 2), "<=", bound),
    ]


def _report(asked: argparse.Namespace, found: Found) -> Report:
    heads = ["Valkey's core, ms", "ratio", "wall, ms", "ratio"]
    places = [
        _row(found.place, [what, count, size], (what, size, count), (what, SIZES[0], count))
        for what, size, count in sorted(found.place, key=lambda it: (*it[::2], it[1]))
    ]  # fmt: skip
    few, many = ((it, "suit") for it in WAITERS)
    one, hundred = (ratios(found.place, ("spread", 1000, it), ("spread", 10, it)) for it in COUNTS)
    given_on = ratios(found.serve, many, few)
    return Report(
        name="decisions",
        title="Decisions, as the fleet and the queue grow",
        command=f"python bench/decisions.py --rounds {asked.rounds} --acts {asked.acts}",
        said=f"""
            `place` is all that a create does before it speaks to a cloud: what its command means in
            each region (all of them are candidates), and the ledger's act. Ratios are to the fleet
            of {SIZES[0]} regions, and the medians of {asked.rounds} rounds in which all sizes take
            turns. *full*: no region has a free slot, so all are looked at before it is said.

            A freed slot is given on with {WAITERS[0]} and with {WAITERS[1]} waiting for it, of
            {OWNERS} owners; ratios are to {WAITERS[0]}. Where they *suit not*, all of them wait for
            another region, and are looked at in vain.

            Evenness: {EVEN_REGIONS} regions x {EVEN_SLOTS}, filled to 10.5 slots a region one at a
            time; when all regions are looked at, the fullest has one more than the emptiest. One
            after another: {found.alone[0]}; {AT_ONCE} side by side: {found.at_once[0]}.
            """,
        tables=[
            Table(["strategy", "count", "regions", *heads], places),
            Table(
                ["waiting", "which", *heads],
                [_row(found.serve, it, it, (WAITERS[0], it[1])) for it in found.serve],
            ),
        ],
        targets=[
            *_twice("place of 1, 1,000 regions / 10", one, 1.5),
            *_twice("place of 100, 1,000 regions / 10", hundred, 2),
            *_twice("a freed slot, 10,000 waiting / 10", given_on, 2),
            Target("fullest - emptiest region of 50, one after another", found.alone[0], "<=", 2),
            Target("fullest - emptiest region of 50, 32 at once", found.at_once[0], "<=", 2),
            Target("slots of 1,000 that were filled, at the least",
                   min(found.alone[1], found.at_once[1]), ">=", EVEN_REGIONS * EVEN_SLOTS),
        ],
        plots=[
            Plot(
                name="place",
                title="place, by regions",
                x="regions",
                y="ms of Valkey's core",
                curves={
                    f"count {count}": [
                        (size, middle(found.place["spread", size, count]).core) for size in SIZES
                    ]
                    for count in COUNTS
                },
                log_x=True,
                log_y=True,
            )
        ],
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--rounds", type=int, default=30)
    asking.add_argument("--acts", type=int, default=10)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
