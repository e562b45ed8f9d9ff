"""Decisions a second: creates before instant clouds, beside a function that only counts.

    python bench/throughput.py [--seconds 1.5]

The create function is the product's own, its clouds accept every server at once. What it is
compared with is functions-framework's hello world with one INCR. Both run 1, 2 and 4 processes,
on one Valkey, and are loaded in turn by one process with a few connections to each.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import stage
import yaml
from load import Load, load
from redis import Redis
from report import Cell, Plot, Report, Table, Target, parser, publish

from openmultistack.auth.own_issuer import issue_token, make_signing_key
from openmultistack.auth.principal import SCOPES
from openmultistack.clouds.keyring import make_keyring
from openmultistack.domain.models import Catalogue, Flavor, Image, Network, Resources
from openmultistack.ledger import Ledger

DOORS = Path(__file__).parent / "doors"
# Regions, and the numbers of processes.
FLEETS = {"4 regions": (4, (1, 2, 4)), "50 regions": (50, (1,))}
ROUNDS = 2
CONNECTIONS = 4  # to each process
TARGET = 0.35
ROOM = 10**8


class Ground(NamedTuple):
    """What functions need to start, and a token to call them with."""

    environment: Mapping[str, str]
    token: str


@contextmanager
def ground(home: Path, regions: int) -> Iterator[Ground]:
    """Prepare a fleet of so many regions, as a first sweep would leave it."""
    make_signing_key(home / "keys")
    make_keyring(home / "marks.keys")
    names = [f"R{it:02}" for it in range(regions)]
    clouds = {"p1": {"auth": {"auth_url": "http://127.0.0.1:9/v3"}, "regions": names}}
    issuer = {
        "issuer": "urn:openmultistack:local", "audience": "openmultistack",
        "algorithms": ["ES256"], "jwks_file": "keys/jwks.json",
    }  # fmt: skip
    (home / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}))
    (home / "issuers.yaml").write_text(yaml.safe_dump({"issuers": [issuer]}))
    with stage.valkey(home) as url, Redis.from_url(url, decode_responses=True) as redis:
        ledger = Ledger(redis, "default", lease_ms=60_000)
        cap = Resources(instances=ROOM, vcpus=ROOM, ram_mb=ROOM * 1000)
        for name in names:
            ledger.survey(f"p1/{name}", cap=cap, foreign=Resources(), catalogue=catalogue())
        (home / "fleet.yaml").write_text(yaml.safe_dump(stage.UNBOUND))
        token = issue_token(home / "keys" / "signing.pem", owner="bench", scopes=SCOPES, ttl_s=3600)
        yield Ground(
            {
                "OMS_REDIS_URL": url,
                "OMS_ISSUERS_FILE": str(home / "issuers.yaml"),
                "OMS_FLEET_FILE": str(home / "fleet.yaml"),
                "OMS_MARKS_KEYS_FILE": str(home / "marks.keys"),
                "OS_CLIENT_CONFIG_FILE": str(home / "clouds.yaml"),
            },
            token,
        )


def catalogue() -> Catalogue:
    """Return what a region of a usual provider offers."""
    flavors = [
        Flavor(id=f"f{it}", name=f"m{it}.size", vcpus=it, ram_mb=2048 * it, disk_gb=20)
        for it in range(2, 22)
    ]
    images = [
        Image(id=f"i{it}", name=f"image-{it}", created_at="", min_ram_mb=0, min_disk_gb=0)
        for it in range(30)
    ]
    size = Flavor(id="f1", name=stage.SIZE, vcpus=1, ram_mb=1024, disk_gb=10)
    image = Image(id="i", name=stage.IMAGE, created_at="", min_ram_mb=0, min_disk_gb=0)
    return Catalogue(
        flavors=(size, *flavors), images=(image, *images), networks=(Network(id="n", name="ci"),)
    )


@contextmanager
def replicas(door: str, number: int, on: Ground, home: Path) -> Iterator[list[str]]:
    """Run a function so many times, and give the addresses."""
    with ExitStack() as open_:
        yield [
            open_.enter_context(
                stage.function(DOORS / f"{door}.py", on.environment, home, plain=door == "hello")
            )
            for _ in range(number)
        ]


class Found(NamedTuple):
    """What one number of processes did, of both kinds."""

    fleet: str
    replicas: int
    creates: Sequence[Load]
    hellos: Sequence[Load]

    @property
    def ratio(self) -> float:
        """Creates / hellos a second, of the medians."""
        return round(_rate(self.creates) / _rate(self.hellos), 2)

    def row(self) -> list[Cell]:
        """Return it as a row of the table."""
        p50 = median(it.p50_ms for it in self.creates)
        rates = [round(_rate(self.creates)), round(_rate(self.hellos))]
        return [self.fleet, self.replicas, *rates, self.ratio, round(p50, 1)]


def _rate(loads: Sequence[Load]) -> float:
    return median(it.per_second for it in loads)


def take(
    asked: argparse.Namespace, home: Path, name: str, numbers: Sequence[int], on: Ground
) -> Iterator[Found]:
    """Load both kinds in turn, for each number of processes."""
    body = f'{{"image":"{stage.IMAGE}","size":"{stage.SIZE}"}}'
    for number in numbers:
        with (
            replicas("instant", number, on, home) as creating,
            replicas("hello", number, on, home) as greeting,
        ):
            sides: tuple[list[Load], list[Load]] = ([], [])
            for turn in range(ROUNDS + 1):
                for urls, found, status in ((creating, sides[0], 202), (greeting, sides[1], 200)):
                    seconds = asked.seconds if turn else 0.5  # the first warms
                    done = load(
                        urls, "/v1/instances", body, token=on.token, expect=status,
                        seconds=seconds, connections=CONNECTIONS * number,
                    )  # fmt: skip
                    if turn:
                        found.append(done)
            yield Found(name, number, *sides)


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    found: list[Found] = []
    for name, (regions, numbers) in FLEETS.items():
        with tempfile.TemporaryDirectory() as folder, ground(Path(folder), regions) as on:
            found += take(asked, Path(folder), name, numbers, on)
    return _report(asked, found)


def _report(asked: argparse.Namespace, found: Sequence[Found]) -> Report:
    few = {it.replicas: it for it in found if it.fleet == next(iter(FLEETS))}
    cost = median(it.own_us for found_ in found for it in found_.hellos)
    return Report(
        name="throughput",
        title="Decisions a second",
        command=f"python bench/throughput.py --seconds {asked.seconds:g}",
        said=f"""
            Creates of one instance each, through the create function as its platforms run it
            (JWT verified, three round trips to one Valkey that writes its append-only file), with
            clouds that accept at once; beside functions-framework's hello world with one INCR of
            the same Valkey. No gateway. Both are loaded in turn, {CONNECTIONS} connections to
            each process, {ROUNDS} rounds, by one process that takes {cost:.0f} µs of a core for
            each request. It, the functions and Valkey share the machine's cores, so that more
            processes than cores bring nothing here.
            """,
        tables=[
            Table(
                ["fleet", "processes", "creates/s", "hellos/s", "ratio", "create p50 ms"],
                [it.row() for it in found],
            )
        ],
        targets=[
            Target(f"creates / hellos, {number} processes, 4 regions", it.ratio, ">=", TARGET)
            for number, it in few.items()
        ],
        plots=[
            Plot(
                name="rate",
                title="one instance a create, 4 regions",
                x="processes",
                y="a second",
                curves={
                    "creates": [(number, _rate(it.creates)) for number, it in few.items()],
                    "hello world and one INCR": [
                        (number, _rate(it.hellos)) for number, it in few.items()
                    ],
                },
            )
        ],
    )


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--seconds", type=float, default=1.5)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
