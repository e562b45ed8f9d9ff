"""The real OpenStack: what OMS adds to a create, and more clients at once than there are slots.

    python bench/lab.py [--pairs 6] [--clients 90]

First one client creates in turn through OMS and bare, in one region and by lots that fit into it,
each of which is destroyed before the next. Then each of many clients wants one server. Through
OMS it sends one create. Without, it is a script on openstacksdk that tries the regions in turn
until one does not refuse. Both find the same free regions: the servers of the first are gone before
the second begins.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openstack
import stage
from creates import BARE, HEADS, Bare, Sides, Through, side_by_side
from report import Cell, Plot, Report, Table, Target, parser, publish

from openmultistack.fleet.config import load_fleet

SMALLEST_RAM_MB = 512
SETTLED_WITHIN_S = 150.0
LOOK_S = 1.0
MARK = {"label": "bench:lab"}
# Where creates are taken in turn, what the smallest server is made of there, and how many pairs of
# them leave room in its 20 slots for the two that warm.
PROVIDER, REGION = "alpha", "RegionOne"
NAMES = ("m1.tiny", "debian-12", "ci-net")
LOT, WARM = 6, 2
PAIRS_MARK = {"label": "bench:pairs"}
SWEEP_S = 5
Point = tuple[float, float]


class Run(NamedTuple):
    """How one way went: what clients were told, what became of servers, who was ready when."""

    accepted: int
    refused: int
    calls: int
    servers: Mapping[str, int]
    active: Sequence[Point]

    @property
    def took_s(self) -> float:
        """The seconds until the last one was ACTIVE and known to be."""
        return next(at for at, active in self.active if active == self.active[-1][1])

    def row(self, name: str) -> list[Cell]:
        """Return it as a row of the table."""
        became = [self.servers.get(status, 0) for status in ("ACTIVE", "ERROR")]
        return [name, self.accepted, self.refused, *became, self.calls, round(self.took_s, 1)]


class Region:
    """One region by openstacksdk, logged in, and the server that clients want there."""

    def __init__(self, clouds_file: Path, provider: str, name: str) -> None:
        config = openstack.config.OpenStackConfig(
            config_files=[str(clouds_file)], load_envvars=False
        ).get_one(provider, region_name=name)
        self._cloud: Any = openstack.connection.Connection(config=config)
        flavors, images = self._cloud.compute.flavors(), self._cloud.image.images()
        self._server = {
            "name": "bench",
            "flavor_id": next(it.id for it in flavors if it.ram == SMALLEST_RAM_MB),
            "image_id": next(it.id for it in images if it.os_distro == "debian"),
            "networks": [{"uuid": next(iter(self._cloud.network.networks())).id}],
        }

    def create(self) -> bool:
        """Ask for a server; return whether it was not refused."""
        try:
            self._cloud.compute.create_server(**self._server)
        except openstack.exceptions.HttpException as refused:
            if refused.status_code not in (403, 413):  # a quota's
                raise
            return False
        return True

    def destroy(self, name: str) -> None:
        """Have every server of this name deleted."""
        for it in list(self._cloud.compute.servers(details=False, name=f"^{name}$")):
            self._cloud.compute.delete_server(it.id)

    def servers(self) -> list[str]:
        """Return the status of every server there is."""
        return [it.status for it in self._cloud.compute.servers(details=True)]


def statuses(regions: Sequence[Region]) -> Counter[str]:
    """Return how many servers there are of each status."""
    return Counter(status for region in regions for status in region.servers())


def curve(look: Callable[[], Counter[str]], done: Callable[[], bool]) -> Iterator[Point]:
    """Look once a second until clients are answered and nothing is built; give who is ACTIVE.

    Raises:
        TimeoutError: it does not come to rest.
    """
    began = time.monotonic()
    while time.monotonic() - began < SETTLED_WITHIN_S:
        answered = done()
        found = look()
        yield time.monotonic() - began, found["ACTIVE"]
        if answered and not found["BUILD"]:
            return
        time.sleep(LOOK_S)
    raise TimeoutError("servers are still being built")


def at_once(clients: int, one: Callable[[], Any], look: Callable[[], Counter[str]]) -> Any:  # noqa: ANN401
    """Have so many clients act at once; return their answers, and who was ACTIVE when."""
    with ThreadPoolExecutor(clients) as pool:
        answers = [pool.submit(one) for _ in range(clients)]
        points = list(curve(look, lambda: all(it.done() for it in answers)))
    return [it.result() for it in answers], points


def through_oms(product: stage.Product, regions: Sequence[Region], clients: int) -> Run:
    """Send a create a client; servers are gone when this returns."""
    body = {"image": stage.IMAGE, "size": "tiny", "labels": {"bench": "lab"}}
    with product.client(
        timeout=SETTLED_WITHIN_S, limits=httpx.Limits(max_connections=None)
    ) as client:

        def look() -> Counter[str]:
            page = client.get("/instances", params=MARK | {"limit": 1000}).raise_for_status()
            return Counter(it["status"] for it in page.json()["instances"])

        codes, points = at_once(
            clients, lambda: client.post("/instances", json=body).status_code, look
        )
        found = statuses(regions)
        page = client.get("/instances", params=MARK | {"limit": 1000}).raise_for_status()
        calls = sum(it["attempt"] for it in page.json()["instances"])
        client.delete("/instances", params=MARK).raise_for_status()
        _wait_until_empty(regions)
    counted = Counter(codes)
    if set(counted) - {202, 503}:
        raise RuntimeError(f"creates were answered with {dict(counted)}")
    return Run(counted[202], counted[503], calls, found, points)


def without(regions: Sequence[Region], clients: int) -> Run:
    """Have every client try the regions in turn, over connections that are logged in."""

    def one() -> tuple[bool, int]:
        for number, region in enumerate(regions, 1):
            if region.create():
                return True, number
        return False, len(regions)

    answers, points = at_once(clients, one, lambda: statuses(regions))
    accepted = sum(it for it, _ in answers)
    calls = sum(number for _, number in answers)
    return Run(accepted, clients - accepted, calls, statuses(regions), points)


def in_turn(product: stage.Product, region: Region, pairs: int) -> Sides:
    """Take creates in turn, through OMS and bare, by lots; all is gone when this returns."""
    bare = Bare(product.stack.clouds_file, PROVIDER, REGION, names=NAMES)
    through = Through(
        product, image=stage.IMAGE, size="tiny",
        regions=[f"{PROVIDER}/{REGION}"], labels={"bench": "pairs"},
    )  # fmt: skip
    lots = []
    with product.client() as client:
        slots = _free(client)
        for first in range(0, pairs, LOT):
            size, warm = min(LOT, pairs - first), 0 if first else WARM
            lots.append(side_by_side(through.create, bare.create, size, warm=warm))
            client.delete("/instances", params=PAIRS_MARK).raise_for_status()
            region.destroy(BARE)
            _wait_until_empty([region])
            _wait_until_free(client, slots)
    return Sides.of(lots)


def _free(client: httpx.Client) -> int:
    """Return how many slots are free by what the ledger knows."""
    regions = client.get("/regions").raise_for_status().json()["regions"]
    return sum(it["free"] for it in regions)


def _wait_until_free(client: httpx.Client, slots: int) -> None:
    until = time.monotonic() + SETTLED_WITHIN_S
    while (free := _free(client)) < slots:
        if time.monotonic() > until:
            raise TimeoutError(f"{slots - free} slots have not come free")
        time.sleep(LOOK_S)


def _wait_until_empty(regions: Sequence[Region]) -> None:
    until = time.monotonic() + SETTLED_WITHIN_S
    while left := statuses(regions).total():
        if time.monotonic() > until:
            raise TimeoutError(f"{left} servers are still there")
        time.sleep(LOOK_S)


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stage.product(Path(folder), None, reap_every_s=SWEEP_S) as product,
    ):
        clouds_file = product.stack.clouds_file
        fleet = load_fleet(clouds_file, None).regions.values()
        regions = {it.name: Region(clouds_file, it.provider, it.region) for it in fleet}
        with product.client() as client:
            slots = _free(client)
        sides = in_turn(product, regions[f"{PROVIDER}/{REGION}"], asked.pairs)
        ours = through_oms(product, list(regions.values()), asked.clients)
        theirs = without(list(regions.values()), asked.clients)
    return _report(asked, slots, sides, {"through OMS": ours, "regions in turn": theirs})


def _report(asked: argparse.Namespace, slots: int, sides: Sides, runs: Mapping[str, Run]) -> Report:
    ours = runs["through OMS"]
    return Report(
        name="lab",
        title=f"The real OpenStack: a create, and {asked.clients} clients at {slots} slots",
        command=f"python bench/lab.py --pairs {asked.pairs} --clients {asked.clients}",
        said=f"""
            The laboratory's three regions (Nova, Keystone, Glance, Neutron, Placement; the
            hypervisor alone is a fake), all on this machine, one replica of each function, a sweep
            every {SWEEP_S} s.

            *A create*: one client makes {asked.pairs} pairs in turn in {PROVIDER}/{REGION}, one
            through OMS and one by a keystoneauth session that is logged in, each first every other
            time, as in the section on what OMS adds to a create. After {LOT} pairs all are
            destroyed, and the next wait until that is done. Servers that
            are still being built, and the sweeps, take their part of the machine from both ways.
            Of fewer than 100 pairs the p99 is the slowest create.

            *{asked.clients} clients at once* want a server each: by a create through OMS, which has
            made some in one region before and none in the others; and by openstacksdk over
            connections that are logged in, trying the regions in turn until one does not refuse,
            once. Nova counts a server only when it is scheduled: what was accepted can end in
            ERROR, and holds its slot. Both ways are asked once a second who is ACTIVE.
            """,
        tables=[
            Table(HEADS, [sides.row("the lab")]),
            Table(
                ["way", "accepted", "refused", "ACTIVE", "ERROR", "POSTs to Nova",
                 "s until the last is ACTIVE"],
                [it.row(name) for name, it in runs.items()],
            ),
        ],
        targets=[
            Target("servers ACTIVE through OMS", ours.servers.get("ACTIVE", 0), ">=", slots),
            Target("servers in ERROR through OMS", ours.servers.get("ERROR", 0), "<=", 0),
        ],
        plots=[
            Plot(
                name="active",
                title=f"{asked.clients} clients at {slots} slots of a real OpenStack",
                x="s",
                y="ACTIVE",
                curves={name: [(0.0, 0.0), *it.active] for name, it in runs.items()},
                kind="steps",
            )
        ],
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--pairs", type=int, default=6)
    asking.add_argument("--clients", type=int, default=90)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
