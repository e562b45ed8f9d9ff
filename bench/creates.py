"""Creates through OMS beside bare ones, in turn: who makes them, and how long each took."""

import json
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import openstack
import stage
from report import Cell, percentile

WARM = 5
BARE = "bare"  # the name of a server that was not made through OMS
# Of a table of sides. Of fewer than 100 pairs the p99 is the slowest.
HEADS = (
    "cloud", "pairs", "bare p50 ms", "bare p99 ms", "OMS p50 ms", "OMS p99 ms",
    "added to p50 ms", "added to p99 ms", "ratio of p50", "ratio of p99",
)  # fmt: skip


class Sides(NamedTuple):
    """How long each create took, ms: through OMS, and bare."""

    through: Sequence[float]
    bare: Sequence[float]

    @classmethod
    def of(cls, lots: "Sequence[Sides]") -> "Sides":
        """Return what was taken by lots as one."""
        through, bare = ([ms for lot in side for ms in lot] for side in zip(*lots, strict=True))
        return cls(through, bare)

    def row(self, name: str) -> list[Cell]:
        """Return it as a row of the table."""
        ours, theirs = ([median(it), percentile(it, 0.99)] for it in self)
        added = [a - b for a, b in zip(ours, theirs, strict=True)]
        shown = [round(it, 1) for it in (*theirs, *ours, *added)]
        return [name, len(self.bare), *shown, self.ratio, round(ours[1] / theirs[1], 2)]

    @property
    def ratio(self) -> float:
        """Through OMS / bare, of the medians."""
        return round(median(self.through) / median(self.bare), 3)

    @property
    def added(self) -> float:
        """What OMS adds, ms: the difference of the medians."""
        return round(median(self.through) - median(self.bare), 2)


class Bare:
    """A warm keystoneauth session to one region, and the server that it makes."""

    def __init__(self, clouds_file: Path, cloud: str, region: str, *, names: Sequence[str]) -> None:
        config = openstack.config.OpenStackConfig(
            config_files=[str(clouds_file)], load_envvars=False
        )
        at = config.get_one(cloud, region_name=region)
        connection = openstack.connection.Connection(config=at)
        flavor, image, named = names
        network = connection.network.find_network(named, ignore_missing=False)
        self.compute: Any = connection.compute
        self._server = {
            "flavorRef": connection.compute.find_flavor(flavor, ignore_missing=False).id,
            "imageRef": connection.image.find_image(image, ignore_missing=False).id,
            "networks": [{"uuid": network.id}],
            "metadata": {f"mark_{it}": "a value of a usual length" for it in range(9)},
        }

    def create(self) -> str:
        """Make a server and return its id."""
        server = self._server | {"name": BARE}
        answer = self.compute.post("/servers", json={"server": server}, microversion="2.90")
        return str(answer.json()["server"]["id"])


class Through:
    """A client of the API on one kept connection of the standard library's."""

    def __init__(self, product: stage.Product, *, image: str, size: str, **more: object) -> None:
        where = urlsplit(product.url)
        self._connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
        self._headers = {
            "Authorization": f"Bearer {product.token()}",
            "Content-Type": "application/json",
        }
        self._command = json.dumps({"image": image, "size": size, **more})

    def create(self) -> str:
        """Create an instance and return its id.

        Raises:
            RuntimeError: it was refused.
        """
        self._connection.request("POST", "/v1/instances", self._command, self._headers)
        answer = self._connection.getresponse()
        told = answer.read()
        if answer.status != HTTPStatus.ACCEPTED:
            raise RuntimeError(told.decode())
        return str(json.loads(told)["instances"][0]["id"])


def side_by_side(
    through: Callable[[], object], bare: Callable[[], object], pairs: int, *, warm: int = WARM
) -> Sides:
    """Take both in turn; each goes first every other time. The first few only warm."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(warm):
        through()
        bare()
    for number in range(pairs):
        both = [(through, took[0]), (bare, took[1])]
        for act, times in both if number % 2 else reversed(both):
            began = time.perf_counter()
            act()
            times.append((time.perf_counter() - began) * 1000)
    return Sides(*took)
