"""Bursts by plain openstacksdk: with knowledge of the free slots, and with none."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, repeat
from pathlib import Path
from threading import Lock
from typing import Any

import openstack
import stage

# How often the oracle lists a region, and a script asks for its server, seconds. The latter is
# openstacksdk's own.
LISTS_EVERY_S = 0.5
ASKS_EVERY_S = 2.0
NETWORK = "ci-net"


class Place:
    """A region: a connection that is logged in, and what a server is made of there."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401  the sdk is untyped
        self.compute = connection.compute
        self._order = {
            "flavor_id": self.compute.find_flavor(stage.SIZE, ignore_missing=False).id,
            "image_id": connection.image.find_image(stage.IMAGE, ignore_missing=False).id,
            "networks": [{"uuid": connection.network.find_network(NETWORK).id}],
        }

    def create(self, name: str) -> str:
        """Make a server and return its id."""
        return str(self.compute.create_server(name=name, **self._order).id)


def places(clouds_file: Path) -> list[Place]:
    """Return every region of a clouds.yaml, connected; logging in is not part of a burst."""
    config = openstack.config.OpenStackConfig(config_files=[str(clouds_file)], load_envvars=False)
    regions = config.get_all()
    with ThreadPoolExecutor(len(regions)) as pool:
        return list(pool.map(lambda it: Place(openstack.connection.Connection(config=it)), regions))


class Raw:
    """So many clients in threads of one process, who share the connections to each region."""

    def __init__(self, clouds_file: Path, *, clients: int, each: int) -> None:
        self._places = places(clouds_file)
        self._clients = clients
        self._each = each
        self._names = (f"raw-{it}" for it in count())

    # ------------------------------------------------------------ who knows the free slots

    def oracle(self) -> list[float]:
        """Make as many in each region as fit; return when each was known to be ACTIVE."""
        wanted = self._clients * self._each
        shares = [wanted // len(self._places)] * len(self._places)
        for it in range(wanted % len(self._places)):
            shares[it] += 1
        crowds = [
            Crowd(place, share) for place, share in zip(self._places, shares, strict=True) if share
        ]
        orders = [it for turn in range(max(shares)) for it in crowds if turn < it.size]
        with ThreadPoolExecutor(self._clients) as pool:
            known = list(pool.map(lambda it: it.add(next(self._names)), orders))
        return [at for it in known for at in it]

    # ------------------------------------------------------------ who does not

    def in_turn(self, patience_s: float) -> list[float]:
        """Have every client look for room, for each server from the first region on."""
        until = time.perf_counter() + patience_s
        with ThreadPoolExecutor(self._clients) as pool:
            found = pool.map(lambda _: list(self._script(until)), range(self._clients))
            return [at for known in found for at in known]

    def _script(self, until: float) -> Iterator[float]:
        made = [self._hunt(until) for _ in range(self._each)]
        for place, server_id in filter(None, made):
            if _wait_for(place, server_id, until):
                yield time.perf_counter()

    def _hunt(self, until: float) -> tuple[Place, str] | None:
        for place in self._places:
            if time.perf_counter() > until:
                return None
            try:
                return place, place.create(next(self._names))
            except openstack.exceptions.ForbiddenException:
                continue
        return None


class Crowd:
    """The servers of one region: whoever makes the last of them looks on for all."""

    def __init__(self, place: Place, size: int) -> None:
        self.size = size
        self._place = place
        self._left = size
        self._lock = Lock()

    def add(self, name: str) -> list[float]:
        """Make one; return when each was ACTIVE if it was the last, or else nothing."""
        self._place.create(name)
        with self._lock:
            self._left -= 1
            if self._left:
                return []
        return self._look()

    def _look(self) -> list[float]:
        known: dict[str, float] = {}
        while len(known) < self.size:
            time.sleep(LISTS_EVERY_S)
            for it in self._place.compute.servers(details=False, status="ACTIVE"):
                known.setdefault(it.id, time.perf_counter())
        return list(known.values())


def _wait_for(place: Place, server_id: str, until: float) -> bool:
    """Ask for a server until it is ACTIVE; False if the time is over."""
    for _ in repeat(None):
        if place.compute.get_server(server_id).status == "ACTIVE":
            return True
        if time.perf_counter() > until:
            return False
        time.sleep(ASKS_EVERY_S)
    return False
