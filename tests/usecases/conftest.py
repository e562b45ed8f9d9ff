"""A whole fleet in the hand: fake clouds, a real ledger, and the use cases between them."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import pytest
from redis import Connection, ConnectionPool, Redis
from ulid import ULID

from openmultistack.clouds import Attempted, Server, ServerOrder
from openmultistack.clouds.fake import FakeCloud, FakeClouds
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.names import name_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import CloudError, InDoubt
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import (
    Catalogue,
    Flavor,
    Image,
    Instance,
    Network,
    Principal,
    Quota,
    Resources,
)
from openmultistack.domain.regions import RegionState
from openmultistack.fleet.config import Fleet, FleetFile, Region
from openmultistack.ledger import Ledger, Slot
from openmultistack.ledger.keys import Keys
from openmultistack.provision import arriving, leaving
from openmultistack.provision import making as making_module
from openmultistack.usecases import deleting
from openmultistack.usecases.vouch import Vouching
from openmultistack.wiring.use_cases import Ground, UseCases

A, B, C = "alpha/One", "alpha/Two", "beta/One"
VCPUS, RAM_MB = 2, 2048
NUMBERS = itertools.count(1)


class Sky(FakeCloud):
    """A fake cloud whose answers can get lost, and in which things happen during a create."""

    def __init__(self, region: str, instances: int) -> None:
        quota = Resources(instances=instances, vcpus=VCPUS * 1000, ram_mb=RAM_MB * 1000)
        super().__init__(catalogue_of(region), quota)
        # lost: the server is made and nobody hears of it; late: it is made when it `arrive`s.
        self.answers: Literal["given", "lost", "late"] = "given"
        self.meanwhile: Callable[[ServerOrder], None] = lambda _: None
        # What is asked of is done at once: who looks after a server sees it come true.
        self.prompt = False
        self.accepted: list[tuple[str, int]] = []
        self._under_way: list[ServerOrder] = []

    def create(self, order: ServerOrder, *, not_after: float = math.inf) -> str:
        """Make a server, and maybe lose the answer."""
        self.meanwhile(order)
        if self.answers == "late":
            self._called("create")
            self._under_way.append(order)
            raise InDoubt("no answer within the time allowed")
        server_id = super().create(order, not_after=not_after)
        self.accepted.append((order.marks.instance_id, order.marks.attempt))
        if self.answers == "lost":
            raise InDoubt("the connection broke")
        return server_id

    def show(self, server_id: str) -> Server | None:
        """Return a server, as it is by now."""
        if self.prompt:
            self.settle()
        return super().show(server_id)

    def active(self) -> Sequence[Server]:
        """Return the servers that are ACTIVE by now."""
        if self.prompt:
            self.settle()
        return super().active()

    def present(self) -> frozenset[str]:
        """Return the servers that there are by now."""
        if self.prompt:
            self.settle()
        return super().present()

    def arrive(self) -> None:
        """Make what was under way, as far as it fits."""
        fault, self.fault = self.fault, lambda _: None
        while self._under_way:
            with suppress(CloudError):
                super().create(self._under_way.pop())
        self.fault = fault

    def fails(self, error: Exception | None, *calls: str) -> None:
        """Answer these calls (all, if none is named) with an error; None: well again."""
        self.fault = lambda name: error if not calls or name in calls else None  # type: ignore[assignment,return-value]

    def ours(self) -> dict[tuple[str, int], Server]:
        """Return the servers that carry marks."""
        found = [it for it in self.servers.values() if it.marks]
        return {(it.marks.instance_id, it.marks.attempt): it for it in found if it.marks}


def catalogue_of(region: str) -> Catalogue:
    """Return what a region offers: its own ids for names that all of them have."""
    return Catalogue(
        flavors=(
            Flavor(id=f"{region}-small", name="small", vcpus=VCPUS, ram_mb=RAM_MB, disk_gb=20),
        ),
        images=(Image(id=f"{region}-debian", name="debian"),),
        networks=(Network(id=f"{region}-net", name="net"),),
    )


class CountedConnection(Connection):
    """Counts what goes to Redis: a pipeline or a script is one round trip."""

    round_trips = 0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002  redis-py's signature
        """Count, and send."""
        CountedConnection.round_trips += 1
        super().send_packed_command(command, check_health)


class Past:
    """The whole ledger of a fleet as it was when this was made."""

    def __init__(self, redis: "Redis[str]", prefix: str) -> None:
        self._redis, self._prefix = redis, prefix
        there = self._there()
        with binary(redis) as client, client.pipeline() as pipe:
            for key in there:
                pipe.dump(key).pttl(key)
            answers = iter(pipe.execute())
        self._kept = {key: (next(answers), max(0, next(answers))) for key in there}

    def _there(self) -> list[str]:
        return [it for it in self._redis.scan_iter(count=1000) if it.startswith(self._prefix)]

    def come_back(self) -> None:
        """Have the ledger as it was, in all that is of this fleet."""
        since = self._there()
        with binary(self._redis) as client, client.pipeline() as pipe:
            for key in since:
                pipe.delete(key)
            for key, (value, ttl_ms) in self._kept.items():
                pipe.restore(key, ttl_ms, value)
            pipe.execute()


@contextmanager
def binary(redis: "Redis[str]") -> "Iterator[Redis[bytes]]":
    """Return a client of the same server that takes answers as they are."""
    where = redis.connection_pool.connection_kwargs
    with Redis(host=where["host"], port=where["port"]) as client:
        yield client


class House:
    """A fleet: `clouds` by name, the ledger, and its users' and operators' acts."""

    def __init__(
        self,
        redis: "Redis[str]",
        regions: Mapping[str, int],
        *,
        lease_ms: int = 60_000,
        call_budget_s: float = 0,
        file: FleetFile | None = None,
        fleet_name: str | None = None,
        clouds: Mapping[str, Sky] | None = None,
    ) -> None:
        self.redis = redis
        self.name = fleet_name or f"t-{ULID()}"
        self.clouds = dict(clouds or {name: Sky(name, room) for name, room in regions.items()})
        for cloud in self.clouds.values():
            cloud.fleet = self.name
        known = {name: _region(name, file) for name in regions}
        self.fleet = Fleet(
            regions={name: it for name, it in known.items() if it.rule.enabled},
            disabled={name: it for name, it in known.items() if not it.rule.enabled},
            file=file or FleetFile(),
        )
        self.ledger = Ledger(redis, self.name, lease_ms=lease_ms)
        self.keys = Keys(self.name, self.ledger.place_of)
        self.fakes = fakes = FakeClouds(dict(self.clouds))
        use = UseCases(
            Ground(
                self.name,
                ledger=lambda: self.ledger,
                fleet=lambda: self.fleet,
                clouds=lambda: fakes,
                lease_ms=lease_ms,
                call_budget_s=call_budget_s,
            )
        )
        self.arriving, self.serving, self.leaving = use.arriving(), use.serving(), use.leaving()
        self.creating, self.destroying, self.room = use.creating(), use.destroying(), use.room()
        self.draining, self.reaping = use.draining(), use.reaping()

    @property
    def vouching(self) -> Vouching:
        """Return what operators do about servers that nothing proves."""
        fakes = FakeClouds(dict(self.clouds))
        return Vouching(self.ledger, self.fleet, fakes, self.reaping)

    def another(self, **more: Any) -> "House":
        """Return the same fleet as another process has it: what they share is ledger and clouds."""
        shared = {"fleet_name": self.name, "clouds": self.clouds, "file": self.fleet.file}
        return House(self.redis, dict.fromkeys(self.clouds, 0), **shared | more)

    def changed(self, clouds: Mapping[str, Sky], *disabled: str) -> "House":
        """Return the fleet as it is after its files were changed: other names, other clouds."""
        rules = {name: {"enabled": False} for name in disabled}
        file = FleetFile.model_validate({"regions": rules})
        regions = dict.fromkeys(clouds, 0)
        return House(self.redis, regions, fleet_name=self.name, clouds=clouds, file=file)

    # ------------------------------------------------------------ acts

    def create(self, count: int = 1, *, owner: str = "alice", **more: Any) -> list[Instance]:
        """Create instances and return those that came about."""
        wait_s, key = more.pop("wait_s", 0), more.pop("key", "")
        caller = Principal(owner=owner, scopes=frozenset(), quota=more.pop("quota", Quota()))
        wanted = {"image": "debian", "size": "small", "count": count} | more
        command = CreateInstances.model_validate(wanted)
        return list(self.creating.create(caller, command, key=key, wait_s=wait_s).instances)

    def one(self, **more: Any) -> Instance:
        """Create an instance."""
        (instance,) = self.create(1, **more)
        return instance

    def active(self, **more: Any) -> Instance:
        """Create an instance and let it be built and seen."""
        instance = self.one(**more)
        self.clouds[instance.region].settle()
        self.sweep(instance.region)
        return self.get(instance)

    def destroy(self, instance: Instance) -> Instance:
        """Have an instance destroyed by its owner."""
        (after,) = self.destroying.destroy_ids(instance.identity.owner, [instance.id])
        return after

    def sweep(self, *regions: str) -> dict[str, int]:
        """Sweep regions (all, if none is named), one after another; return what was done."""
        done: dict[str, int] = {}
        for region in regions or self.clouds:
            swept = self.reaping.sweep(region)
            assert swept["outcome"] == "swept", swept
            for action, count in swept["actions"].items():
                done[action] = done.get(action, 0) + count
        return {action: count for action, count in done.items() if count}

    def look(self) -> None:
        """Look once after what leaves any region."""
        for region in self.clouds:
            self.leaving.look(region)

    def settle(self) -> None:
        """Let time pass in all clouds."""
        for cloud in self.clouds.values():
            cloud.settle()

    def lapse(self) -> None:
        """Let every lease be over."""
        for region in self.clouds:
            slots = self.keys.slots(region)
            for name, text in self.redis.hgetall(slots).items():
                value = json.loads(text)
                if "lease_until_ms" in value:
                    self.redis.hset(slots, name, json.dumps(value | {"lease_until_ms": 1}))

    def past(self) -> "Past":
        """Return the whole ledger as it is now, to be come back to."""
        return Past(self.redis, self.keys.regions.removesuffix("regions"))

    def come_to_rest(self) -> None:
        """Let time pass and sweep, until everything asked for has been done."""
        for _ in range(3):
            self.settle()
            self.sweep()

    # ------------------------------------------------------------ what there is

    def get(self, instance: Instance | str) -> Instance:
        """Return an instance as the ledger has it."""
        (found,) = self.ledger.get([instance if isinstance(instance, str) else instance.id])
        return found

    def story(self, instance: Instance) -> list[tuple[str, str, int]]:
        """Return an instance's story: what, where, which attempt."""
        events = self.ledger.events(instance.id)
        return [(it["what"], it["region"], it["attempt"]) for it in events]

    def state(self, region: str) -> RegionState:
        """Return what the ledger says of a region."""
        (state,) = self.ledger.regions([region])
        return state

    def held(self) -> dict[str, int]:
        """Return how many slots of each region are held."""
        return {name: self.state(name).held.instances for name in self.clouds}

    def slots(self, region: str) -> dict[tuple[str, int], Slot]:
        """Return a region's slots by instance and attempt."""
        return {(it.instance_id, it.attempt): it for it in self.ledger.view(region, []).slots}

    def server(self, instance: Instance) -> Server:
        """Return the server of an instance's attempt."""
        return self.clouds[instance.region].ours()[instance.id, instance.attempt]

    def keypair(self, instance: Instance | str, attempt: int = 1, region: str = A) -> str:
        """Return the name of an attempt's keypair in a region."""
        instance_id = instance if isinstance(instance, str) else instance.id
        signing = Signing(KEYRING, self.name, self.clouds[region].is_at.id)
        return name_of(signing, Attempted(instance_id, attempt))

    def servers(self) -> int:
        """Return how many servers of ours there are."""
        return sum(len(cloud.ours()) for cloud in self.clouds.values())

    def assert_agreement(self) -> None:
        """Ledger and clouds agree exactly: server by server, slot by slot, count by count."""
        for region, cloud in self.clouds.items():
            there = {key: server.id for key, server in cloud.ours().items()}
            assert {k: slot.server_id for k, slot in self.slots(region).items()} == there, region
            needs = [it.need for it in cloud.ours().values()]
            assert self.state(region).held == sum(needs, Resources()), region

    def assert_idle(self) -> None:
        """No slot is held, no server of ours is there."""
        assert (set(self.held().values()), self.servers()) == ({0}, 0)


def _region(name: str, file: FleetFile | None) -> Region:
    provider, _, region = name.partition("/")
    rule = (file or FleetFile()).regions.get(name)
    more = {"rule": rule} if rule else {}
    return Region(name=name, provider=provider, region=region, **more)


@pytest.fixture(scope="session")
def redis(valkey_port: int) -> "Iterator[Redis[str]]":
    """Return a client of the shared Valkey that counts its round trips."""
    pool = ConnectionPool(
        connection_class=CountedConnection,
        host="127.0.0.1",
        port=valkey_port,
        decode_responses=True,
    )
    with Redis(connection_pool=pool) as client:
        yield client
    pool.disconnect()


@pytest.fixture
def round_trips() -> Callable[[], int]:
    """Return what tells how often Redis was asked since the last time."""
    asked = CountedConnection.round_trips

    def since() -> int:
        nonlocal asked
        before, asked = asked, CountedConnection.round_trips
        return asked - before

    return since


@pytest.fixture
def make_house(redis: "Redis[str]") -> Callable[..., House]:
    """Return a maker of fleets that have been swept once; each has a ledger of its own."""

    def make(regions: Mapping[str, int] | None = None, *, swept: bool = True, **more: Any) -> House:
        house = House(redis, regions or {A: 4, B: 4, C: 4}, **more)
        if swept:
            house.sweep()
        return house

    return make


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """Return three regions of two providers, with four places in each."""
    return make_house()


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stays to see servers gone: fakes let time pass only when told to."""
    monkeypatch.setattr(deleting, "GONE_WITHIN_S", 0.0)
    monkeypatch.setattr(arriving, "FOLLOWED_MAX", 0)
    monkeypatch.setattr(leaving, "FOLLOWED_MAX", 0)
    monkeypatch.setattr(making_module, "LOOKS_S", (0.0,))
