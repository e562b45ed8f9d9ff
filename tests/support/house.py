"""A whole fleet in the hand: fake clouds, a real ledger, and the use cases between them."""

import json
from collections.abc import Mapping
from typing import Any

from redis import Redis
from ulid import ULID

from openmultistack.clouds import Attempted, Server
from openmultistack.clouds.fake import FakeClouds
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.names import name_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import (
    Instance,
    Principal,
    Quota,
    Resources,
)
from openmultistack.domain.pace import PACE, Pace
from openmultistack.domain.regions import RegionState
from openmultistack.fleet.config import Fleet, FleetFile, Region
from openmultistack.ledger import Ledger, Slot
from openmultistack.ledger.keys import Keys
from openmultistack.usecases.vouch import Vouching
from openmultistack.wiring.use_cases import Ground, UseCases
from tests.support.past import Past
from tests.support.sky import A, Sky

# Nobody stays to see servers come and go: fakes let time pass only when told to.
QUIET = PACE._replace(
    building=PACE.building._replace(at_most=0),
    leaving=PACE.leaving._replace(at_most=0),
    gone_within_s=0.0,
    looks_s=(0.0,),
)
# A region gets one create after another.
ONE_BY_ONE = QUIET._replace(creates_at_once=1)


class House:
    """A fleet: `clouds` by name, the ledger, and its users' and operators' acts."""

    def __init__(
        self,
        redis: Redis,
        regions: Mapping[str, int],
        *,
        lease_ms: int = 60_000,
        call_budget_s: float = 0,
        pace: Pace = QUIET,
        file: FleetFile | None = None,
        fleet_name: str | None = None,
        clouds: Mapping[str, Sky] | None = None,
    ) -> None:
        self.redis = redis
        self.pace = pace
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
                pace=pace,
            )
        )
        self.arriving, self.serving, self.leaving = use.arriving(), use.serving(), use.leaving()
        self.creating, self.destroying, self.room = use.creating(), use.destroying(), use.room()
        self.draining, self.reaping = use.draining(), use.reaping()

    @property
    def vouching(self) -> Vouching:
        """Return what operators do about servers that nothing proves."""
        fakes = FakeClouds(dict(self.clouds))
        return Vouching(self.ledger, self.fleet, fakes, self.reaping, self.pace)

    def another(self, **more: Any) -> "House":
        """Return the same fleet as another process has it: what they share is ledger and clouds."""
        shared: dict[str, Any] = {
            "fleet_name": self.name,
            "clouds": self.clouds,
            "file": self.fleet.file,
            "pace": self.pace,
        }
        return House(self.redis, dict.fromkeys(self.clouds, 0), **shared | more)

    def changed(self, clouds: Mapping[str, Sky], *disabled: str) -> "House":
        """Return the fleet as it is after its files were changed: other names, other clouds."""
        rules = {name: {"enabled": False} for name in disabled}
        file = FleetFile.model_validate({"regions": rules})
        regions = dict.fromkeys(clouds, 0)
        shared: dict[str, Any] = {"fleet_name": self.name, "clouds": clouds, "pace": self.pace}
        return House(self.redis, regions, file=file, **shared)

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
