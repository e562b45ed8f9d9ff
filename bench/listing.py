"""The first page of a list, among 100, 10,000 and 100,000 instances of one owner.

    python bench/listing.py [--rounds 20]

One fleet of each size on one Valkey, with a `list` function each, asked over HTTP with a token that
it verifies. Instances are placed by count of 100 and seen ACTIVE by the ledger's own scripts. Of
each size ten instances have a label more; another owner has a hundred.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import stage
from redis import Redis
from report import Cell, Plot, Report, Table, Target, parser, percentile, publish
from ulid import ULID

from openmultistack.auth.own_issuer import (
    LOCAL_AUDIENCE,
    LOCAL_ISSUER,
    issue_token,
    make_signing_key,
)
from openmultistack.auth.principal import SCOPES
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import Address, Flavor, Image, Network, Offer, Resources, Status
from openmultistack.ledger import Ledger, Seen, Wish
from openmultistack.ledger.keys import Keys

SIZES = (100, 10_000, 100_000)
OWNER, OTHER, OTHERS = "bench", "somebody", 100
AT_ONCE, PARTS, PAGE = 100, 10, 100
MANY, FEW = {"os": "debian-12", "team": "platform"}, {"run": "4711"}
# Of each question its owner, what it asks for, and how many instances the answer has.
QUESTIONS: Mapping[str, tuple[str, str, int]] = {
    "no filter": (OWNER, "", PAGE),
    "a label that all have": (OWNER, "&label=os:debian-12", PAGE),
    "a label that ten have": (OWNER, "&label=run:4711", PARTS),
    "both labels": (OWNER, "&label=os:debian-12&label=run:4711", PARTS),
    "another owner's": (OTHER, "", OTHERS),
}
SIZE = Flavor(id="f", name="m1.tiny", vcpus=1, ram_mb=512, disk_gb=1)
ADDRESS = Address(address="203.0.113.118", version=4, network="public")
FILLERS = 2
FLAT = 2.0


class Lot(NamedTuple):
    """Instances that one process puts into a fleet."""

    url: str
    fleet: str
    owner: str
    number: int
    few: int


class List(NamedTuple):
    """A fleet of one size, and the function that lists it."""

    size: int
    clients: Mapping[str, httpx.Client]

    def ask(self, question: str) -> float:
        """Ask for a first page; return how many ms it took."""
        owner, query, expected = QUESTIONS[question]
        took_ms, found = self.page(owner, query)
        if len(found["instances"]) != expected:
            raise RuntimeError(f"{question}: {len(found['instances'])} instances")
        return took_ms

    def page(self, owner: str, query: str) -> tuple[float, Mapping[str, list[object]]]:
        """Return how many ms a page took, and what it said."""
        began = time.perf_counter()
        answer = self.clients[owner].get(f"/v1/instances?limit={PAGE}{query}").raise_for_status()
        return 1000 * (time.perf_counter() - began), answer.json()


def fill(lot: Lot) -> None:
    """Put instances into a fleet, in regions of a hundred places."""
    with Redis.from_url(lot.url, decode_responses=True) as redis:
        ledger = Ledger(redis, lot.fleet, lease_ms=60_000)
        for part in range(lot.few):
            _fill(ledger, lot.owner, 1, MANY | FEW)
            share = lot.number * (part + 1) // lot.few - lot.number * part // lot.few
            for start in range(0, share - 1, AT_ONCE):
                _fill(ledger, lot.owner, min(AT_ONCE, share - 1 - start), MANY)
        if not lot.few:
            _fill(ledger, lot.owner, lot.number, {})


def _fill(ledger: Ledger, owner: str, count: int, labels: dict[str, str]) -> None:
    image, network = Image(id="i", name="debian-12"), Network(id="n", name="public")
    region = f"provider/{ULID()}"
    offer = Offer(region=region, flavor=SIZE, image=image, network=network)
    cap = Resources(instances=AT_ONCE, vcpus=AT_ONCE, ram_mb=AT_ONCE * SIZE.ram_mb)
    ledger.survey(region, cap=cap, foreign=Resources(), catalogue=None)
    command = CreateInstances(image=image.name, size=SIZE.name, name="ci", labels=labels)
    ids = [f"i-{ULID()}" for _ in range(count)]
    placed = ledger.place(Wish(owner, command, ids, [offer], "freest", 3_600_000)).attempts
    ledger.observe_all([Seen(it, str(uuid4()), Status.ACTIVE, (ADDRESS,)) for it in placed])


def fill_all(url: str) -> float:
    """Fill all fleets, by several processes; return instances a second of the largest."""
    with multiprocessing.get_context("spawn").Pool(FILLERS) as pool:
        others = [Lot(url, f"n{size}", OTHER, OTHERS, 0) for size in SIZES]
        pool.map(fill, others, chunksize=1)
        for size in SIZES:
            began = time.monotonic()
            lot = Lot(url, f"n{size}", OWNER, size // FILLERS, PARTS // FILLERS)
            pool.map(fill, [lot] * FILLERS, chunksize=1)
        return size / (time.monotonic() - began)


def believed(home: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Make an issuer; return the setting that has it believed, and a token of each owner."""
    make_signing_key(home / "keys")
    issuer = {"issuer": LOCAL_ISSUER, "audience": LOCAL_AUDIENCE, "algorithms": ["ES256"]}
    file, key = home / "issuers.yaml", home / "keys" / "signing.pem"
    file.write_text(json.dumps({"issuers": [issuer | {"jwks_file": "keys/jwks.json"}]}))
    tokens = {it: issue_token(key, owner=it, scopes=SCOPES, ttl_s=3600) for it in (OWNER, OTHER)}
    return {"OMS_ISSUERS_FILE": str(file)}, tokens


@contextmanager
def listing(url: str, home: Path) -> Iterator[list[List]]:
    """Run a `list` function for each fleet."""
    settings, tokens = believed(home)
    with ExitStack() as open_:
        lists = []
        for size in SIZES:
            environment = settings | {"OMS_REDIS_URL": url, "OMS_FLEET": f"n{size}"}
            source = stage.ROOT / "functions" / "list.py"
            at = open_.enter_context(stage.function(source, environment, home))
            clients = {
                owner: open_.enter_context(
                    httpx.Client(base_url=at, headers={"Authorization": f"Bearer {it}"}, timeout=60)
                )
                for owner, it in tokens.items()
            }
            lists.append(List(size, clients))
        yield lists


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    with ExitStack() as open_:
        home = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        url = open_.enter_context(stage.valkey(home))
        redis = open_.enter_context(Redis.from_url(url, decode_responses=True))
        rate = fill_all(url)
        lists = open_.enter_context(listing(url, home))
        took: dict[str, dict[int, list[float]]] = {it: {n: [] for n in SIZES} for it in QUESTIONS}
        for turn in range(asked.rounds + 1):
            for question in QUESTIONS:
                for it in lists:
                    took_ms = it.ask(question)
                    if turn:  # the first is warm-up
                        took[question][it.size].append(took_ms)
        walks = [walk(it, redis) for it in lists]
    return _report(asked, rate, took, walks)


def walk(it: List, redis: "Redis") -> list[float]:
    """Go through all pages, or in ten places through ten of them; return the ms of each."""
    took: list[float] = []
    starts = range(0, it.size, max(it.size // PARTS, PARTS * PAGE))
    for start in starts:
        passed: Any = redis.zrevrange(Keys(f"n{it.size}").live(OWNER), start - 1, start - 1)
        cursor = f"&cursor={passed[0]}" if start else ""
        for _ in range(min(PARTS, it.size // PAGE)):
            took_ms, found = it.page(OWNER, cursor)
            took.append(took_ms)
            cursor = f"&cursor={found['next']}"
    return took


def _report(
    asked: argparse.Namespace,
    rate: float,
    took: dict[str, dict[int, list[float]]],
    walks: list[list[float]],
) -> Report:
    p50 = {it: {n: median(ms) for n, ms in by_size.items()} for it, by_size in took.items()}
    ratios = {it: round(by_size[SIZES[-1]] / by_size[SIZES[0]], 2) for it, by_size in p50.items()}
    rows: list[list[Cell]] = [
        [it, QUESTIONS[it][2], *(round(by_size[n], 2) for n in SIZES), ratios[it]]
        for it, by_size in p50.items()
    ]
    walked: list[list[Cell]] = [
        [size, len(ms), round(median(ms), 2), round(percentile(ms, 0.99), 2)]
        for size, ms in zip(SIZES, walks, strict=True)
    ]
    return Report(
        name="listing",
        title="A list of many",
        command=f"python bench/listing.py --rounds {asked.rounds}",
        said=f"""
            One fleet of each size on one Valkey, a `list` function (its own process) for each,
            asked in turn over HTTP for the first page of {PAGE}; the token is verified each time.
            Each instance has two labels, and ten of each fleet, far from one another, a third. They
            were placed by count of {AT_ONCE} and seen ACTIVE by the ledger's own scripts, at
            {rate:.0f} instances/s in the largest fleet. Medians in ms.

            The walk: all pages after one another; of {SIZES[-1]:,} instances ten in each of ten
            places.
            """,
        tables=[
            Table(["asked for", "answered", *(f"of {n:,}" for n in SIZES), "last / first"], rows),
            Table(["walk through", "pages", "ms a page, p50", "p99"], walked),
        ],
        targets=[
            *(Target(f"{it}, of {SIZES[-1]:,} / of {SIZES[0]}", ratio, "<=", FLAT)
              for it, ratio in ratios.items()),
        ],
        plots=[
            Plot(
                name="first-page",
                title=f"The first page of {PAGE}",
                x="instances of the owner",
                y="ms, p50",
                curves={it: list(by_size.items()) for it, by_size in p50.items()},
                log_x=True,
            )
        ],
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--rounds", type=int, default=20)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
