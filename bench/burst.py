"""A burst: 1,000 instances at once over 50 regions of 20, through OMS and by what else there is.

    python bench/burst.py [--clients 100] [--each 10]

One after the other, on one simulated OpenStack that forgets everything between: OMS as a whole
product, an oracle that knows which slots are free, clients that try regions in turn, the
`openstack` command line, Nodepool. Each curve is what its clients know: an instance counts from
the moment they have read that it is ACTIVE.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import stage
from burst_line import CommandLine
from burst_nodepool import Nodepool
from burst_raw import Raw
from fetched import NotFetched
from report import Cell, Plot, Report, Table, Target, parser, publish

PROVIDERS, REGIONS_EACH, SLOTS = 5, 10, 20
LATENCY_MS, BOOT_S = 150, 5
REPLICAS = 2
# As `oms create --wait` looks.
POLL_S = 1.0
GIVES_UP_S = 120.0
TIMES_FASTER = 5
# How long those who are slower are let run at most.
PATIENCE_S = 75.0
# Servers made by the command line.
SAMPLE = 3
SAID = f"""
    {{wanted}} instances, {{clients}} clients that want {{each}} each, all at once; {PROVIDERS}
    providers of {REGIONS_EACH} regions of {SLOTS} places, simulated by one process that forgets
    everything between one contender and the next; {LATENCY_MS} ms latency, boots {BOOT_S} s. All of
    it shares this machine. An instance counts from when its client had read that it is ACTIVE.

    - *OMS*: the whole product, {REPLICAS} replicas of each function, warm. Each client is a thread
      with a connection of its own: one `POST /v1/instances` with `count`, then every {POLL_S:g} s
      the list by its label, as `oms create --wait` does. `Prefer: wait` would hold a thread of the
      function for each client, and the functions have fewer than there are clients.
    - *oracle*: as many threads over plain openstacksdk, logged in, who know which slots are free;
      whoever made the last server of a region lists what is ACTIVE there every half second.
    - *in turn*: the same threads and connections; each tries, for every server, the regions from
      the first one on until one does not refuse; then asks for its servers as the sdk's own wait
      does.
    - *Nodepool* 11 with a ZooKeeper of its own, nothing held ready, no limit of calls a second, no
      SSH key scan; a request of as many nodes for each client; its state is read every second.
    - *the command line*: one `openstack server create` after the other, told where there is room.

    Where not all became ACTIVE within the time allowed, the times and ratios are lower bounds.
    """


@dataclass
class Run:
    """One contender's burst."""

    name: str
    wanted: int
    # When each instance was known to be ACTIVE, seconds from the start.
    known_s: list[float] = field(default_factory=list)
    posts: int = 0
    refused: int = 0
    # How long it was let run.
    took_s: float = 0
    said: str = ""
    extrapolated_s: float | None = None

    @property
    def measured(self) -> bool:
        """Whether there is anything to tell."""
        return self.took_s > 0

    @property
    def least(self) -> str:
        """What to say of a figure that is only a lower bound."""
        return "" if self.whole or self.extrapolated_s else ", at least"

    @property
    def whole(self) -> bool:
        """Whether all became ACTIVE within its time."""
        return len(self.known_s) >= self.wanted

    @property
    def all_s(self) -> float:
        """When all were known to be ACTIVE; what it took so far, if they were not."""
        if self.extrapolated_s:
            return self.extrapolated_s
        return max(self.known_s) if self.whole else self.took_s

    def row(self, oms: "Run") -> list[Cell]:
        """Return it as a row of the table."""
        if not self.measured:
            return [self.name, None, None, None, None, None, self.said]
        least = "> " if self.least else ""
        ratio = f"{least}{self.all_s / oms.all_s:.2f}"
        known = f"{len(self.known_s)} of {self.wanted}"
        all_s = f"{least}{self.all_s:.1f}"
        return [self.name, all_s, ratio, known, self.posts, self.refused, self.said]

    def curve(self) -> list[tuple[float, float]]:
        """Return how many were known to be ACTIVE over time."""
        known = [(round(at, 2), n) for n, at in enumerate(sorted(self.known_s), start=1)]
        return [(0.0, 0.0), *known, (round(self.all_s, 2), len(known))]


def taken(sim: stage.Sim, run: Run, act: Callable[[], Sequence[float]]) -> Run:
    """Have a contender act on a cloud that has forgotten all; count what it sent."""
    httpx.post(f"{sim.url}/sim/reset", timeout=60).raise_for_status()
    began = time.perf_counter()
    known = act()
    run.took_s = time.perf_counter() - began
    run.known_s = [it - began for it in known]
    regions = sim.ask("stats")["regions"].values()
    run.posts = sum(it["posts"] for it in regions)
    run.refused = sum(it["refused_quota"] for it in regions)
    return run


class Clients:
    """Clients of the API, each with an order of its own; POST, then the list by its label."""

    def __init__(self, product: stage.Product, number: int, each: int) -> None:
        self._product = product
        self._number = number
        self._each = each

    def act(self) -> list[float]:
        """Return when each instance was known to be ACTIVE."""
        with ThreadPoolExecutor(self._number) as pool:
            return [at for known in pool.map(self._one, range(self._number)) for at in known]

    def _one(self, number: int) -> list[float]:
        label = f"client-{number}"
        command = {
            "count": self._each, "image": stage.IMAGE, "size": stage.SIZE,
            "labels": {"burst": label},
        }  # fmt: skip
        known: dict[str, float] = {}
        until = time.perf_counter() + GIVES_UP_S
        with self._product.client() as client:
            client.post("/instances", json=command).raise_for_status()
            while len(known) < self._each and time.perf_counter() < until:
                time.sleep(POLL_S)
                found = client.get("/instances", params={"label": f"burst:{label}"}).json()
                now = time.perf_counter()
                for it in found["instances"]:
                    if it["status"] == "ACTIVE":
                        known.setdefault(it["id"], now)
        return list(known.values())


def warm(sim: stage.Sim, product: stage.Product) -> None:
    """Have every replica speak to every region once, and end what that made."""
    sim.conduct(latency_ms=0, boot_s=0.1, delete_s=0.1)
    with product.client() as client:
        order = {"count": PROVIDERS * REGIONS_EACH, "image": stage.IMAGE, "size": stage.SIZE}
        for _ in range(2 * REPLICAS):
            client.post("/instances", json=order | {"labels": {"warm": "yes"}}).raise_for_status()
        client.delete("/instances", params={"label": "warm:yes"}).raise_for_status()
        until = time.monotonic() + 60
        while any(it["held"] for it in _regions(client)):
            if time.monotonic() > until:
                raise TimeoutError("what warmed the product did not end")
            time.sleep(0.5)
    sim.conduct(latency_ms=LATENCY_MS, boot_s=BOOT_S)


def _regions(client: httpx.Client) -> list[dict[str, Any]]:
    return list(client.get("/regions").raise_for_status().json()["regions"])


def through_oms(home: Path, sim: stage.Sim, clients: int, each: int) -> Run:
    """Take the burst through the whole product."""
    run = Run("OMS", clients * each)
    sim.conduct(latency_ms=0)
    with stage.product(home, sim, replicas=REPLICAS) as product:
        warm(sim, product)
        return taken(sim, run, Clients(product, clients, each).act)


def by_nodepool(home: Path, sim: stage.Sim, orders: int, each: int, within_s: float) -> Run:
    """Take the burst by Nodepool, as far as it gets in that time."""
    run = Run("Nodepool", orders * each)
    try:
        nodepool = Nodepool(sim, home, slots=SLOTS)
        ready_s: list[float] = []

        def act() -> Sequence[float]:
            ready_s.extend(nodepool.act(orders, each, within_s))
            return ()

        taken(sim, run, act)
        # Counted from the first order: a launcher's start is no part of a burst.
        run.known_s, run.took_s = ready_s, within_s
    except (NotFetched, TimeoutError, subprocess.SubprocessError) as error:
        run.said = f"not measured: {error}"
    return run


def by_command_line(sim: stage.Sim, wanted: int) -> Run:
    """Take a sample of a loop over the command line."""
    run = Run("`openstack` in a loop", wanted)
    try:
        line = CommandLine(sim)
        sample = taken(sim, run, lambda: line.act(SAMPLE))
    except (NotFetched, subprocess.SubprocessError) as error:
        run.said = f"not measured: {error}"
        return run
    sample.known_s = []  # it has not waited for them
    sample.extrapolated_s = sample.took_s / SAMPLE * wanted + BOOT_S
    sample.said = f"extrapolated from {SAMPLE}, told where there is room"
    return sample


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    wanted = asked.clients * asked.each
    with ExitStack() as open_:
        home = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        shape = {"providers": PROVIDERS, "regions_per_provider": REGIONS_EACH, "instances": SLOTS}
        sim = open_.enter_context(
            stage.simulated(home, latency_ms=LATENCY_MS, boot_s=BOOT_S, **shape)
        )
        oms = through_oms(home, sim, asked.clients, asked.each)
        raw = Raw(sim.clouds_file, clients=asked.clients, each=asked.each)
        oracle = taken(sim, Run("oracle", wanted), raw.oracle)
        patience_s = min(PATIENCE_S, 1.04 * TIMES_FASTER * oms.all_s)
        turns = taken(sim, Run("in turn", wanted), lambda: raw.in_turn(patience_s))
        line = by_command_line(sim, wanted)
        nodepool = by_nodepool(home, sim, asked.clients, asked.each, patience_s)
        return _report(asked, [oms, oracle, turns, nodepool, line])


def _report(asked: argparse.Namespace, runs: Sequence[Run]) -> Report:
    oms, oracle, turns, nodepool, _ = runs
    shown = [it for it in runs if it.measured and it.extrapolated_s is None]
    return Report(
        name="burst",
        title="A burst: 1,000 instances over 50 regions of 20",
        command=f"python bench/burst.py --clients {asked.clients} --each {asked.each}",
        said=SAID.format(wanted=oms.wanted, clients=asked.clients, each=asked.each),
        tables=[
            Table(
                ["", "all ACTIVE, s", "/ OMS", "ACTIVE", "POSTs", "over quota", ""],
                [it.row(oms) for it in runs],
            )
        ],
        targets=[
            Target("OMS / oracle, until all are ACTIVE", _ratio(oms, oracle), "<=", 1.25),
            *(
                Target(f"{it.name} / OMS{it.least}", _ratio(it, oms), ">=", TIMES_FASTER)
                for it in (turns, nodepool)
                if it.measured
            ),
            Target("POSTs of OMS that a cloud refused for its quota", oms.refused, "<=", 0),
        ],
        plots=[
            Plot(
                name="active",
                title="instances known to be ACTIVE",
                x="seconds",
                y="instances",
                kind="steps",
                curves={it.name: it.curve() for it in shown},
            )
        ],
    )


def _ratio(one: Run, other: Run) -> float:
    return round(one.all_s / other.all_s, 2)


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--clients", type=int, default=100)
    asking.add_argument("--each", type=int, default=10)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
