"""A fleet whose functions die between two steps."""

import hashlib
import json
import os
import signal
import time
from typing import Any

import httpx
from redis import Redis
from ulid import ULID

from openmultistack.domain.models import Instance
from openmultistack.domain.regions import RegionState
from openmultistack.fleet.config import load_fleet
from openmultistack.ledger import Key
from openmultistack.ledger.keys import Keys
from openmultistack.usecases.read import list_instances
from tests.support.dying import DYING, Functions, Fuse, Place, Step
from tests.support.places import Sim
from tests.support.zygote import Zygote


class Ground:
    """One fleet: its clouds, its ledger, and what its functions did there."""

    def __init__(self, sim: Sim, redis_port: int, zygote: Zygote) -> None:
        self.name = f"crash-{ULID()}"
        self.sim = sim
        self.fleet = load_fleet(sim.clouds_file, None)
        self._redis_port = redis_port
        self._zygote = zygote
        self.place = Place(self.name, str(sim.clouds_file), redis_port, sim.url)
        self.ledger = self.place.ledger()
        self.clouds = self.place.clouds()
        self.keys = Keys(self.name, self.ledger.place_of)
        self.here = Functions(self.place, Fuse())
        self.behave(boot_s=0.02, delete_s=0.02)
        self.here.reaping.reap()

    def behave(self, region: str = "", **conduct: float) -> None:
        """Change how a region behaves, or all."""
        for name in [region] if region else self.fleet.regions:
            answer = httpx.patch(f"{self.sim.url}/sim/regions/{name}", json=conduct)
            answer.raise_for_status()

    # ------------------------------------------------------------ functions that die

    def steps_of(self, act: str, given: dict[str, Any]) -> list[Step]:
        """Return the steps of a use case that nothing interrupts."""
        done = self._run(act, given)
        assert done.returncode == 0, done.stderr
        return [Step(*it) for it in json.loads(done.stdout.splitlines()[-1])]

    def dies(self, act: str, given: dict[str, Any], *, when: str, at: Step) -> None:
        """Run a use case in a process that is killed at a step; fails if it gets past it."""
        done = self._run(act, given, when, at)
        assert done.returncode == -signal.SIGKILL, f"not killed {when} {at}: {done.stderr}"

    def _run(self, act: str, given: dict[str, Any], when: str = "", at: Step | None = None) -> Any:
        told = {"ground": self.place._asdict(), "act": act, "given": given, "when": when, "at": at}
        return self._zygote.run(DYING, environment=dict(os.environ), stdin=json.dumps(told))

    def ids_under(self, key: str) -> list[str]:
        """Return what an idempotency key of alice's stands for."""
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        return self.ledger.made_under("alice", Key(digest, ""))

    # ------------------------------------------------------------ what happens meanwhile

    def destroy_all(self) -> None:
        """End everything, and see it gone."""
        self.here.destroying.destroy_ids("alice", [it.id for it in self.listed()])
        self.place.until_still()
        self.here.look()
        if self.place.servers() or self.listed() or any(it.held.instances for it in self.states()):
            self.two_sweeps()
        assert (self.place.servers(), self.listed()) == ([], [])

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
        """Wait until an instance's time is up: what its server tells of it, too."""
        (instance,) = self.ledger.get([instance_id])
        while self.ledger.now_ms() <= instance.identity.expires_at_ms:
            time.sleep(0.02)

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
            self.place.until_still()
        self.here.reaping.reap()

    def states(self) -> list[RegionState]:
        """Return what the ledger says of the regions."""
        return self.ledger.regions()

    def listed(self) -> list[Instance]:
        """Return alice's instances that live."""
        return list(list_instances(self.ledger, "alice", labels={}).instances)

    def keypairs(self) -> set[str]:
        """Return this fleet's keypairs in all regions."""
        surveys = [self.clouds.region(it).survey() for it in self.fleet.regions]
        return {it.name for survey in surveys for it in survey.keypairs}

    def assert_agreement(self) -> None:
        """Cloud and ledger agree: one server for each slot, one slot for each living instance."""
        slots = {
            (region, slot.server_id)
            for region in self.fleet.regions
            for slot in self.ledger.view(region, []).slots
        }
        servers = {(it["region"], it["id"]) for it in self.place.servers()}
        assert slots == servers
        holding = [it for it in self.listed() if it.status in ("BUILD", "ACTIVE")]
        assert {it.server_id for it in holding} == {server_id for _, server_id in servers}
        assert len(holding) == len(servers)
        for state in self.ledger.regions():
            here = [it for it in slots if it[0] == state.region]
            assert state.held.instances == len(here)
        (used,) = self.ledger.usage(["alice"]).values()
        assert used.instances == len(servers)
