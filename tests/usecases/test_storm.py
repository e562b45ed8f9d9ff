"""Whatever clients, clouds and kills do at random, in the end ledger and clouds agree exactly."""

import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from openmultistack.domain.cloud_errors import (
    AccountBroken,
    CatalogueStale,
    CloudError,
    InDoubt,
    OrderRefused,
    RateLimited,
    RegionFull,
    Unreachable,
)
from openmultistack.domain.errors import Problem
from openmultistack.domain.models import Resources, Status
from tests.support.house import House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
LEASE_MS = 400
QUOTA = 6
STEPS = 60
ERRORS = (RegionFull, CatalogueStale, OrderRefused, AccountBroken, Unreachable, InDoubt)


class Storm:
    """Clients, an operator and the weather over one fleet."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.dice = random.Random(seed)
        self.promised: set[str] = set()
        # What was answered under each key, and with which command.
        self.keyed: dict[str, tuple[dict[str, Any], list[str]]] = {}
        self.destroyed: set[str] = set()
        self.lost_servers: set[str] = set()

    def weather(self) -> None:
        """Let each cloud be well or sick in some way."""
        for cloud in self.house.clouds.values():
            cloud.arrive()
            cloud.answers = self.dice.choice(["given"] * 4 + ["lost", "late"])
            cloud.build_fault = self.dice.choice([None, None, "No valid host was found. "])
            sick = self.dice.random() < 0.5
            cloud.fault = self._fault if sick else lambda _: None

    def _fault(self, call: str) -> CloudError | None:
        if self.dice.random() > 0.3:
            return None
        if self.dice.random() < 0.1:
            return RateLimited(f"{call}: slow down", retry_after_s=0.05)
        errors = ERRORS if call == "create" else (AccountBroken, Unreachable, InDoubt)
        return self.dice.choice(errors)(f"{call} failed")

    def create(self) -> None:
        """Create some; what is answered with success is kept in mind."""
        key = f"k{len(self.keyed)}" if self.dice.random() < 0.4 else ""
        command = {
            "count": self.dice.randint(1, 4),
            "partial": self.dice.random() < 0.5,
            "strategy": self.dice.choice(["spread", "priority", "pack"]),
            "on_full": self.dice.choice(["reject", "reject", "queue"]),
        }
        try:
            made = self.house.create(**command, key=key)
        except Problem:
            return
        self.promised |= {it.id for it in made}
        if key:
            self.keyed[key] = (command, [it.id for it in made])

    def repeat(self) -> None:
        """Send a command again under its key: the same instances."""
        if self.keyed:
            key = self.dice.choice(sorted(self.keyed))
            command, ids = self.keyed[key]
            try:
                again = self.house.create(**command, key=key)
            except Problem:
                return  # no region is up, for anybody
            assert {it.id for it in again} >= set(ids)

    def drain(self) -> None:
        """Drain a region or open it again."""
        draining, name = self.house.draining, self.dice.choice(list(self.house.clouds))
        if self.dice.random() < 0.4:
            draining.drain([name], "storm")
        else:
            draining.open([name])

    def killed(self) -> None:
        """Create, and be killed while the cloud is at it: before or after the server is made."""
        name = self.dice.choice(list(self.house.clouds))
        cloud = self.house.clouds[name]
        before = self.dice.random() < 0.5
        create = cloud.create

        def kill(order: Any, **more: Any) -> str:
            if not before:
                create(order, **more)
            raise Killed

        cloud.create = kill
        try:
            self.house.create(1, regions=[name])
        except (Killed, Problem, CloudError):
            pass
        finally:
            del cloud.create

    def destroy(self) -> None:
        """Destroy one of those promised."""
        left = sorted(self.promised - self.destroyed)
        if left:
            chosen = self.dice.choice(left)
            self.destroyed.add(chosen)
            self.house.destroy(self.house.get(chosen))

    def reap(self) -> None:
        """Let time pass and sweep."""
        self.house.settle()
        self.house.reaping.reap()

    def behind_our_back(self) -> None:
        """Delete a server of ours, or make one of somebody else's, without a word."""
        cloud = self.dice.choice(list(self.house.clouds.values()))
        if cloud.ours() and self.dice.random() < 0.5:
            server = self.dice.choice(sorted(cloud.ours().items()))[1]
            self.lost_servers.add(server.marks.instance_id)
            del cloud.servers[server.id]
        elif len(cloud.servers) < QUOTA:
            cloud.add_foreign(Resources(instances=1, vcpus=1, ram_mb=1))

    def calm(self) -> None:
        """End all faults, let leases run out, sweep twice."""
        for cloud in self.house.clouds.values():
            cloud.fails(None)
            cloud.arrive()
            cloud.answers, cloud.build_fault = "given", None
        self.house.draining.open(["*"])
        for _ in range(4):
            time.sleep(LEASE_MS / 1000)
            for name in self.house.clouds:  # no breaker rests, and catalogues are old by now
                fields = ("open_until_ms", "catalogue_at_ms")
                self.house.redis.hdel(self.house.keys.region(name), *fields)
            self.house.reaping.reap()
            self.house.settle()
        self.house.reaping.reap()


class Killed(BaseException):
    """SIGKILL, as far as a process can do that to itself."""


@pytest.mark.parametrize("seed", range(8))
def test_after_any_storm_ledger_and_clouds_agree(make_house: Any, seed: int) -> None:
    house = make_house(dict.fromkeys((A, B, C), QUOTA), lease_ms=LEASE_MS)
    storm = Storm(house, seed)
    acts = [storm.create] * 4 + [storm.destroy] * 2 + [storm.reap] * 3
    acts += [storm.killed, storm.weather, storm.weather, storm.behind_our_back]
    acts += [storm.drain, storm.repeat]
    for _ in range(STEPS):
        storm.dice.choice(acts)()
        for name, cloud in house.clouds.items():
            assert house.state(name).held.instances <= QUOTA, name
            assert len(cloud.servers) <= QUOTA, name
    storm.calm()

    house.assert_agreement()
    known = {it.id: it for it in house.ledger.get(sorted(storm.promised))}
    assert known.keys() == storm.promised  # no-loss
    for instance_id in storm.destroyed:
        assert known[instance_id].status == Status.DELETED
    servers = Counter(key[0] for cloud in house.clouds.values() for key in cloud.ours())
    assert all(count == 1 for count in servers.values())  # no-double
    for instance_id in storm.promised - storm.destroyed - storm.lost_servers:
        status = known[instance_id].status
        assert status in (Status.ACTIVE, Status.ERROR, Status.QUEUED)
        assert servers[instance_id] == (status == Status.ACTIVE)
    waiting = house.ledger.get([it.instance_id for it in house.ledger.queue()])
    assert {it.id for it in waiting} <= storm.promised - storm.destroyed
    for name in house.clouds:  # exact-fill
        suited = [it for it in waiting if name not in it.tried]
        assert not suited or house.state(name).free().instances == 0, name
    assert house.ledger.usage(["alice"])["alice"].instances == house.servers()
    keypairs = {name for cloud in house.clouds.values() for name in cloud.keypairs}
    assert len(keypairs) <= house.servers()


def test_never_over_and_exact_fill_in_races_of_many_creates(make_house: Any) -> None:
    house = make_house({A: 20, B: 20, C: 20})
    outcomes: Counter[str] = Counter()
    lock, barrier = threading.Lock(), threading.Barrier(8)

    def client(creates: int) -> None:
        barrier.wait()
        for _ in range(creates):
            try:
                house.create()
            except Problem as problem:
                outcome = problem.slug
            else:
                outcome = "made"
            with lock:
                outcomes[outcome] += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in [9] * 6 + [8] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"made": 60, "capacity-exhausted": 10}
    assert house.held() == {A: 20, B: 20, C: 20}
    assert all(cloud.calls.count("create") == 20 for cloud in house.clouds.values())
    house.assert_agreement()


def test_no_leak_reaps_that_race_with_creates_and_destroys_lose_nothing(make_house: Any) -> None:
    house = make_house({A: 25, B: 25})
    stop = threading.Event()
    kept: list[str] = []

    def reaper() -> None:
        while not stop.is_set():
            house.settle()
            house.reaping.reap()

    def client() -> None:
        for n in range(15):
            made = house.one()
            if n % 5:
                house.destroy(made)
            else:
                kept.append(made.id)
            time.sleep(0.01)

    reapers = [threading.Thread(target=reaper) for _ in range(2)]
    clients = [threading.Thread(target=client) for _ in range(3)]
    for thread in reapers + clients:
        thread.start()
    for thread in clients:
        thread.join()
    stop.set()
    for thread in reapers:
        thread.join()
    house.come_to_rest()
    assert {it.status for it in house.ledger.get(kept)} == {Status.ACTIVE}
    assert house.servers() == len(kept) == 9
    house.assert_agreement()
