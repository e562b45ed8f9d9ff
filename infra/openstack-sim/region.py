"""One region: its servers from birth to end, and its quota, which is never passed.

Nothing here waits: each method is one act, and the process has one thread.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import uuid4

from faults import Fault
from offered import Flavor, Image, Network, Offered

SPAWN_FAULT = (
    "Exceeded maximum number of retries. Exhausted all hosts available for retrying"
    " build failures for instance {}."
)


@dataclass(frozen=True)
class Conduct:
    """How a region behaves. Times as named, shares from 0 to 1; a quota of -1 is none."""

    latency_ms: float = 0
    boot_s: float = 0.5
    delete_s: float = 0.5
    spawn_fail: float = 0
    destroy_fail: float = 0
    instances: int = 20
    cores: int = 1000
    ram_mb: int = 4_000_000
    keypairs: int = 100
    metadata_items: int = 128
    # Whether keys of this type are taken (0: they are not), and the newest microversion, 2.x.
    ed25519: int = 1
    newest_minor: int = 96


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a client asked for."""

    name: str
    flavor: Flavor
    image: Image
    network: Network
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    key_name: str | None = None
    security_groups: Sequence[str] = ("default",)
    user_data: str | None = None


@dataclass(eq=False)
class Server:
    """A server; `status` and `task_state` in Nova's words, times in seconds since 1970."""

    order: Order
    address: str
    made_at: float
    boots_at: float
    id: str = field(default_factory=lambda: str(uuid4()))
    status: str = "BUILD"
    task_state: str | None = "spawning"
    fault: str | None = None
    changed_at: float = 0
    gone_at: float | None = None

    def __post_init__(self) -> None:
        self.metadata = dict(self.order.metadata)
        self.changed_at = self.made_at


class OverQuota(Fault):
    """No server is made beyond the quota."""


class Region:
    """A region of a provider; what happened in it is counted."""

    def __init__(self, provider: str, name: str, conduct: Conduct, *, seed: int) -> None:
        self.provider = provider
        self.name = name
        self.label = f"{provider}/{name}"
        self._first_conduct = conduct
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Be as at the start: no servers, no history, nothing counted."""
        self.conduct = self._first_conduct
        self.offered = Offered(self.label)
        # Services that answer 503.
        self.broken: frozenset[str] = frozenset()
        self.servers: dict[str, Server] = {}
        self.history: list[Server] = []
        self.keypairs: dict[str, dict[str, str]] = {}
        self.calls: Counter[str] = Counter()
        # The last that changed something: what its client calls it, and what this region does.
        self.requests: deque[dict[str, Any]] = deque(maxlen=1000)
        self.accepted = 0
        self.refused = 0  # for the quota
        self.highest = 0
        self._next_host = 0
        self._spawn_chance = Random(f"{self._seed}/{self.label}/spawn")  # noqa: S311  no secret
        self._destroy_chance = Random(f"{self._seed}/{self.label}/destroy")  # noqa: S311  same

    def used(self) -> dict[str, int]:
        """Return what counts against the quota: all servers that are not gone."""
        flavors = [it.order.flavor for it in self.servers.values()]
        return {
            "cores": sum(it.vcpus for it in flavors),
            "instances": len(flavors),
            "ram": sum(it.ram_mb for it in flavors),
        }

    def limits(self) -> dict[str, int]:
        """Return the quota."""
        conduct = self.conduct
        return {"cores": conduct.cores, "instances": conduct.instances, "ram": conduct.ram_mb}

    def make(self, order: Order) -> Server:
        """Make a server, which begins to boot; whether it will fail is drawn now.

        Raises:
            OverQuota: it would pass the quota.
        """
        self._admit(order.flavor)
        now = time.time()
        server = Server(order, self._free_address(order.network), now, now + self.conduct.boot_s)
        self.servers[server.id] = server
        self.history.append(server)
        self.highest = max(self.highest, len(self.servers))
        fails = self._spawn_chance.random() < self.conduct.spawn_fail
        _later(self.conduct.boot_s, lambda: _booted(server, fails=fails))
        return server

    def end(self, server: Server) -> None:
        """Begin to delete a server; its spawn is waited for, and it counts until it is gone.

        Raises:
            Fault: by chance, and nothing is done.
        """
        if self._destroy_chance.random() < self.conduct.destroy_fail:
            raise Fault(500, _UNEXPECTED)
        if server.task_state == "deleting":
            return
        server.task_state, server.changed_at = "deleting", time.time()
        spawning_s = max(0.0, server.boots_at - server.changed_at)
        _later(spawning_s + self.conduct.delete_s, lambda: self.gone(server))

    def built(self, server: Server) -> None:
        """Have a server's boot be over now."""
        server.boots_at = time.time()
        _booted(server, fails=False)

    def gone(self, server: Server) -> None:
        """Have a server be gone now."""
        server.gone_at = time.time()
        self.servers.pop(server.id, None)

    def _admit(self, flavor: Flavor) -> None:
        used, limits = self.used(), self.limits()
        asked = {"cores": flavor.vcpus, "instances": 1, "ram": flavor.ram_mb}
        overs = [it for it in sorted(asked) if 0 <= limits[it] < used[it] + asked[it]]
        if overs:
            raise OverQuota(403, _quota_text(overs, asked, used, limits))

    def _free_address(self, network: Network) -> str:
        held = {it.address for it in self.servers.values()}
        hosts = network.cidr.num_addresses - 3  # not the network, its router, the broadcast
        while True:
            self._next_host = self._next_host % hosts + 1
            address = str(network.cidr.network_address + 1 + self._next_host)
            if address not in held:
                return address


def _booted(server: Server, *, fails: bool) -> None:
    if server.task_state == "deleting":
        return
    server.status, server.task_state = ("ERROR" if fails else "ACTIVE"), None
    server.fault = SPAWN_FAULT.format(server.id) if fails else None
    server.changed_at = time.time()


_UNEXPECTED = (
    "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the"
    " Nova API log if possible.\n<class 'nova.exception.NovaException'>"
)


def _quota_text(
    overs: Sequence[str],
    asked: Mapping[str, int],
    used: Mapping[str, int],
    limits: Mapping[str, int],
) -> str:
    """Say it as nova.exception.TooManyInstances does."""
    names = ", ".join(overs)
    asked_s, used_s, limits_s = (
        ", ".join(str(them[it]) for it in overs) for them in (asked, used, limits)
    )
    return (
        f"Quota exceeded for {names}: Requested {asked_s}, but already used {used_s}"
        f" of {limits_s} {names}"
    )


def _later(delay_s: float, act: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay_s, act)
