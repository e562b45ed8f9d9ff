"""What a dead provider costs: creates with one of two providers gone, beside creates with both.

    python bench/dead_provider.py [--creates 60]

Both fleets have the same regions of a simulated OpenStack and a ledger each on one Valkey. For one
of them provider p2 stops to answer after its first sweep: its compute endpoint takes no connection
and refuses none, as a host that is gone. Creates alternate between the two; every server is deleted
at once, so that room is never short. No figure is compared with another run's.
"""

import argparse
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import stage
import yaml
from redis import Redis
from report import Report, Table, Target, parser, publish

from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.clouds.openstack.connections import CONNECT_TIMEOUT_S
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import Principal
from openmultistack.fleet.config import load_fleet
from openmultistack.ledger import Ledger
from openmultistack.wiring.use_cases import Ground, UseCases

LEASE_MS = 60_000
COMMAND = CreateInstances(image="debian-12", size="m1.tiny")
CALLER = Principal(owner="bench", scopes=frozenset())


@contextmanager
def black_hole() -> Iterator[str]:
    """Give the address of an endpoint that lets connections hang: its backlog is full."""
    with ExitStack() as open_:
        hole = open_.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(4):
            filler = open_.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003  socket's signature
            filler.connect_ex(hole.getsockname())
        yield f"http://127.0.0.1:{hole.getsockname()[1]}/v2.1"


class Side:
    """One fleet: its use cases, and how long its creates took."""

    def __init__(self, name: str, clouds_file: Path, redis_url: str) -> None:
        self.name = name
        self.took_ms: list[float] = []
        self.where: list[str] = []
        self._fleet = load_fleet(clouds_file, None)
        client = Redis.from_url(redis_url, decode_responses=True)
        self._ledger = Ledger(client, name, lease_ms=LEASE_MS)
        self.use(clouds_file)

    def use(self, clouds_file: Path) -> None:
        """Reach the clouds as a clouds.yaml says, from now on."""
        regions = {it.name: (it.provider, it.region) for it in self._fleet.regions.values()}
        clouds = OpenStackClouds(clouds_file, regions, fleet=self.name, keys=lambda: KEYRING)
        use = UseCases(
            Ground(
                self.name,
                ledger=lambda: self._ledger,
                fleet=lambda: self._fleet,
                clouds=lambda: clouds,
                lease_ms=LEASE_MS,
            )
        )
        self._destroying, self._creating = use.destroying(), use.creating()
        self.reaping = use.reaping()

    def create(self) -> None:
        """Create an instance, note how long that took, and destroy it."""
        began = time.perf_counter()
        (made,) = self._creating.create(CALLER, COMMAND).instances
        self.took_ms.append((time.perf_counter() - began) * 1000)
        self.where.append(made.region)
        self._destroying.destroy_ids(CALLER.owner, [made.id])


def without_p2(clouds_file: Path, endpoint: str) -> Path:
    """Write a clouds.yaml in which p2's compute is at that endpoint."""
    document = yaml.safe_load(clouds_file.read_text())
    document["clouds"]["p2"]["compute_endpoint_override"] = endpoint
    path = clouds_file.with_name("without-p2.yaml")
    path.write_text(yaml.safe_dump(document))
    return path


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    with ExitStack() as open_:
        home = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        sim = open_.enter_context(stage.simulated(home, instances=200, latency_ms=20))
        redis_url = open_.enter_context(stage.valkey(home))
        whole, maimed = (Side(it, sim.clouds_file, redis_url) for it in ("whole", "maimed"))
        for side in (whole, maimed):
            side.reaping.reap()
            side.create()  # warm: logins and connections are made
            side.took_ms.clear()
            side.where.clear()
        maimed.use(without_p2(sim.clouds_file, open_.enter_context(black_hole())))
        for _ in range(asked.creates):
            whole.create()
            maimed.create()
    return _report(asked, whole, maimed)


def _report(asked: argparse.Namespace, whole: Side, maimed: Side) -> Report:
    slow = [it for it in maimed.took_ms if it > CONNECT_TIMEOUT_S * 1000]
    p50 = {side.name: median(side.took_ms) for side in (whole, maimed)}
    ratio = round(p50["maimed"] / p50["whole"], 2)
    used = ", ".join(sorted(set(maimed.where)))
    return Report(
        name="dead_provider",
        title="What a dead provider costs",
        command=f"python bench/dead_provider.py --creates {asked.creates}",
        said=f"""
            Two fleets on one simulated OpenStack (two providers, two regions each, 20 ms latency),
            a ledger each on one Valkey. For one of them provider `p2` takes no connection any more,
            as a host that is gone. Creates alternate between the two.

            The slowest create with one dead took {max(maimed.took_ms):.0f} ms; the connect timeout
            is {CONNECT_TIMEOUT_S * 1000:.0f} ms. Used were {used}: from the first refused
            connection on p2's regions are `down`, in every replica, until a sweep reaches them.
            """,
        tables=[
            Table(
                ["fleet", "creates", "p50 ms", "met the connect timeout"],
                [
                    ["both alive", len(whole.took_ms), round(p50["whole"], 1), 0],
                    ["one dead", len(maimed.took_ms), round(p50["maimed"], 1), len(slow)],
                    ["ratio", None, ratio, None],
                ],
            )
        ],
        targets=[
            Target("creates that met the connect timeout", len(slow), "<=", 1),
            Target("p50 of creates, one dead / both alive", ratio, "<=", 1.1),
        ],
    )


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--creates", type=int, default=60)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
