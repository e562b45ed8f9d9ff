"""A fleet on the simulated OpenStack, and functions that die between two steps.

A function is a forked process here: it runs one use case and kills itself with SIGKILL at the
step it is told. What it leaves in ledger and clouds is what a killed function leaves.
"""

import hashlib
import itertools
import json
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import httpx
import pytest
from redis import Redis
from ulid import ULID

from openmultistack import creating, sweep
from openmultistack.attempts import Attempts
from openmultistack.clouds import Cloud
from openmultistack.clouds.openstack import OpenStackClouds
from openmultistack.creating import Creating
from openmultistack.fleet import load_fleet
from openmultistack.instances import Destroying, list_instances
from openmultistack.leaving import Leaving
from openmultistack.ledger import Key, Ledger
from openmultistack.ledger.keys import Keys
from openmultistack.ledger.reading import Readings
from openmultistack.models import CreateInstances, Instance, Principal, RegionState
from openmultistack.reaper import Reaping
from openmultistack.serving import Serving

LEASE_MS = 60_000
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
# What only looks changes nothing: a death after it is the death after the step before.
LOOKS = {name for name in vars(Readings) if not name.startswith("_")} | {
    "made_under", "sweeping", "show", "find", "present", "survey", "catalogue", "region", "names",
}  # fmt: skip


class Step(NamedTuple):
    """The n-th time that something is asked of the ledger or of a cloud."""

    what: str
    nth: int


class Fuse:
    """Notes every step, and ends the process before or after the one it is set to."""

    def __init__(self, when: str = "", at: Step | None = None) -> None:
        self.steps: list[Step] = []
        self._when = when
        self._at = at
        self._seen: Counter[str] = Counter()

    def step(self, what: str, act: Callable[[], Any]) -> Any:
        """Take a step, or die."""
        self._seen[what] += 1
        step = Step(what, self._seen[what])
        self.steps.append(step)
        if (self._when, self._at) == ("before", step):
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return act()
        finally:
            if (self._when, self._at) == ("after", step):
                os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A ledger or a cloud whose acts pass a fuse: whatever it can do now or later."""

    def __init__(self, target: Any, name: str, fuse: Fuse) -> None:
        self._target = target
        self._name = name
        self._fuse = fuse

    def __getattr__(self, act: str) -> Any:
        """Return an act behind the fuse, or a look as it is."""
        found = getattr(self._target, act)
        if act in LOOKS or not callable(found):
            return found
        return lambda *args, **more: self._fuse.step(
            f"{self._name}.{act}", lambda: found(*args, **more)
        )


class WatchedClouds:
    """All regions, each behind the fuse."""

    def __init__(self, clouds: OpenStackClouds, fuse: Fuse) -> None:
        self._clouds = clouds
        self._fuse = fuse

    def region(self, name: str) -> Cloud:
        """Return a region's cloud."""
        watched: Any = Watched(self._clouds.region(name), "cloud", self._fuse)
        return watched

    def names(self) -> Sequence[str]:
        """Return the regions there are."""
        return self._clouds.names()


class Functions:
    """The use cases as one function process has them."""

    def __init__(self, ground: "Ground", fuse: Fuse) -> None:
        clouds: Any = WatchedClouds(ground.new_clouds(), fuse)
        self._regions = clouds.names()
        ledger: Any = Watched(ground.new_ledger(), "ledger", fuse)
        of_fleet = (ledger, ground.fleet, ground.name)
        attempts = Attempts(ledger, clouds, lease_ms=LEASE_MS, call_budget_s=0)
        serving = Serving(*of_fleet, attempts)
        self._leaving = Leaving(ledger, clouds, serving.serve)
        self.destroying = Destroying(ledger, clouds, ground.name, self._leaving)
        self.creating = Creating(*of_fleet, clouds, attempts, self.destroying)
        self.reaping = Reaping(
            *of_fleet, clouds, attempts,
            destroying=self.destroying, serving=serving, leaving=self._leaving,
        )  # fmt: skip

    def look(self) -> None:
        """Look once after what leaves any region."""
        for region in self._regions:
            self._leaving.look(region)

    def create(self, count: int = 1, *, key: str = "", **more: Any) -> list[Instance]:
        """Create instances of alice's."""
        caller = Principal(owner="alice", scopes=frozenset())
        command = CreateInstances(image="debian-12", size="m1.tiny", count=count, **more)
        return list(self.creating.create(caller, command, key=key).instances)


Act = Callable[[Functions], object]


def in_a_process(act: Callable[[], object]) -> int:
    """Run an act in a forked process and return how it ended, as waitpid has it."""
    if (pid := os.fork()) == 0:
        try:
            act()
        except BaseException:  # noqa: BLE001  nothing may get out into the tests
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


class Ground:
    """One fleet: its clouds, its ledger, and what its functions did there."""

    def __init__(self, sim: Any, redis_port: int) -> None:
        self.name = f"crash-{ULID()}"
        self.sim = sim
        self.clouds_file = sim.clouds_file
        self.fleet = load_fleet(sim.clouds_file, None)
        self._redis_port = redis_port
        self.ledger = self.new_ledger()
        self.clouds = self.new_clouds()
        self.keys = Keys(self.name)
        self.here = Functions(self, Fuse())
        self.behave(boot_s=0.02, delete_s=0.02)
        self.here.reaping.reap()

    def new_ledger(self) -> Ledger:
        """Return the ledger over a connection of its own."""
        client = Redis(port=self._redis_port, decode_responses=True)
        return Ledger(client, self.name, lease_ms=LEASE_MS)

    def new_clouds(self) -> OpenStackClouds:
        """Return the clouds over connections of their own."""
        regions = {it.name: (it.provider, it.region) for it in self.fleet.regions.values()}
        return OpenStackClouds(self.clouds_file, regions, fleet=self.name)

    def behave(self, region: str = "", **conduct: float) -> None:
        """Change how a region behaves, or all."""
        for name in [region] if region else self.fleet.regions:
            answer = httpx.patch(f"{self.sim.url}/sim/regions/{name}", json=conduct)
            answer.raise_for_status()

    # ------------------------------------------------------------ functions that die

    def steps_of(self, act: Act) -> list[Step]:
        """Return the steps of a use case that nothing interrupts."""
        reader, writer = os.pipe()

        def told() -> None:
            fuse = Fuse()
            act(Functions(self, fuse))
            os.write(writer, json.dumps(fuse.steps).encode())

        assert in_a_process(told) == 0
        os.close(writer)
        with os.fdopen(reader) as heard:
            return [Step(*it) for it in json.load(heard)]

    def dies(self, act: Act, when: str, at: Step) -> None:
        """Run a use case in a process that is killed at a step; fails if it gets past it."""
        status = in_a_process(lambda: act(Functions(self, Fuse(when, at))))
        assert os.WIFSIGNALED(status), f"was not killed {when} {at}"
        assert os.WTERMSIG(status) == signal.SIGKILL

    def ids_under(self, key: str) -> list[str]:
        """Return what an idempotency key of alice's stands for."""
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        return self.ledger.made_under("alice", Key(digest, ""))

    # ------------------------------------------------------------ what happens meanwhile

    def destroy_all(self) -> None:
        """End everything, and see it gone."""
        self.here.destroying.destroy_ids("alice", [it.id for it in self.listed()])
        self.until_still()
        self.here.look()
        if self.servers() or self.listed() or any(it.held.instances for it in self.states()):
            self.two_sweeps()
        assert (self.servers(), self.listed()) == ([], [])

    def lose(self, instance_id: str) -> None:
        """Make the ledger forget an instance that runs, as when Redis lost it."""
        (instance,) = self.ledger.get([instance_id])
        with Redis(port=self._redis_port, decode_responses=True) as client:
            slots, slot = self.keys.slots(instance.region), f"{instance_id}/{instance.attempt}"
            held = json.loads(client.hget(slots, slot) or "")
            client.hdel(slots, slot)
            client.delete(self.keys.record(instance_id), self.keys.events(instance_id))
            client.zrem(self.keys.due, instance_id)
            for key in self.keys.indices("alice", {}):
                client.zrem(key, instance_id)
            for key in (self.keys.region(instance.region), self.keys.usage("alice")):
                prefix = "held_" if key != self.keys.usage("alice") else ""
                client.hincrby(key, f"{prefix}vcpus", -held["vcpus"])
                client.hincrby(key, f"{prefix}ram_mb", -held["ram_mb"])
            client.hincrby(self.keys.usage("alice"), "instances", -1)
            if held.get("building"):
                client.hincrby(self.keys.region(instance.region), "building", -1)

    def expire(self, instance_id: str) -> None:
        """Let an instance's time be up."""
        with Redis(port=self._redis_port, decode_responses=True) as client:
            client.hset(self.keys.record(instance_id), "expires_at_ms", 1)
            client.zadd(self.keys.due, {instance_id: 1})

    # ------------------------------------------------------------ afterwards

    def lapse(self) -> None:
        """Let every lease be over, and every lock."""
        client = Redis(port=self._redis_port, decode_responses=True)
        for region in self.fleet.regions:
            client.delete(self.keys.sweep_lock(region))
            slots = self.keys.slots(region)
            for name, text in client.hgetall(slots).items():
                value = json.loads(text)
                if "lease_until_ms" in value:
                    client.hset(slots, name, json.dumps(value | {"lease_until_ms": 1}))
        client.close()

    def two_sweeps(self) -> None:
        """Let what was left be settled: leases over, two sweeps, and the clouds have done it."""
        self.lapse()
        for _ in range(2):
            self.here.reaping.reap()
            self.until_still()
        self.here.reaping.reap()

    def until_still(self) -> None:
        """Wait until no server is being built or deleted."""
        for _ in range(200):
            if all(it["task_state"] is None for it in self.servers()):
                return
            time.sleep(0.02)
        raise AssertionError("servers are still on the move")

    def servers(self) -> list[dict[str, Any]]:
        """Return this fleet's servers, as the clouds have them."""
        there = httpx.get(f"{self.sim.url}/sim/servers").json()["servers"]
        return [it for it in there if it["metadata"].get("oms_fleet") == self.name]

    def states(self) -> list[RegionState]:
        """Return what the ledger says of the regions."""
        return self.ledger.regions()

    def listed(self) -> list[Instance]:
        """Return alice's instances that live."""
        return list(list_instances(self.ledger, "alice", labels={}).instances)

    def keypairs(self) -> set[str]:
        """Return this fleet's keypairs in all regions."""
        return set(
            itertools.chain.from_iterable(
                self.clouds.region(it).survey().keypairs for it in self.fleet.regions
            )
        )

    def assert_agreement(self) -> None:
        """Cloud and ledger agree: one server for each slot, one slot for each living instance."""
        slots = {
            (region, slot.server_id)
            for region in self.fleet.regions
            for slot in self.ledger.view(region, []).slots
        }
        servers = {(it["region"], it["id"]) for it in self.servers()}
        assert slots == servers
        holding = [it for it in self.listed() if it.status in ("BUILD", "ACTIVE")]
        assert {it.server_id for it in holding} == {server_id for _, server_id in servers}
        assert len(holding) == len(servers)
        for state in self.ledger.regions():
            here = [it for it in slots if it[0] == state.region]
            assert state.held.instances == len(here)
        (used,) = self.ledger.usage(["alice"]).values()
        assert used.instances == len(servers)


@pytest.fixture
def ground(sim: Any, valkey_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """A fleet of its own on the shared simulated OpenStack; what is left is taken away."""
    monkeypatch.setattr(sweep, "GONE_WITHIN_S", 0.0)
    monkeypatch.setattr(creating, "REPEAT_WAIT_S", 0.2)
    httpx.post(f"{sim.url}/sim/reset").raise_for_status()
    yield Ground(sim, valkey_port)
    httpx.post(f"{sim.url}/sim/reset").raise_for_status()
