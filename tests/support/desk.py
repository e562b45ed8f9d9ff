"""Speaks to a ledger in short words, and checks its books."""

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import Flavor, Image, Instance, Network, Offer, Resources, Status
from openmultistack.domain.regions import RegionState
from openmultistack.domain.resources import AMOUNTS, LEAST
from openmultistack.ledger import Admitted, Attempt, Ledger, Moved, Served, Waiting, Wish
from openmultistack.ledger.keys import Keys

FLEET = "test"
LEASE_MS = 60_000
TTL_MS = 3_600_000
WAITING = Waiting(priority=10, max_queued=100, wait_ms=600_000, max_of_owner=100)


class Needing(Offer):
    """An offer whose servers take whatever a test says, of each resource there is."""

    taken = LEAST

    @property
    def need(self) -> Resources:
        """What one server of it takes of the region."""
        return self.taken


class Desk:
    """Speaks to a ledger in short words, and checks its books."""

    def __init__(self, ledger: Ledger, redis: Redis) -> None:
        self.ledger = ledger
        self.redis = redis
        self.keys = Keys(FLEET)
        self.fleet = FLEET
        self._serial = itertools.count(1)

    def open(self, *regions: str, instances: int = 20, **more: Any) -> None:
        """Let regions be up with these caps (999 of what is not named), with nothing foreign."""
        cap = Resources(instances, *(more.pop(it, 999) for it in AMOUNTS))
        for region in regions:
            self.ledger.survey(region, cap=cap, foreign=Resources(), catalogue=None, **more)

    def offer(self, region: str, *amounts: int) -> Offer:
        """Return what a region would give, which takes these amounts; the least of the others."""
        need = Resources(1, *amounts, *LEAST[1 + len(amounts) :])
        name, vcpus, ram_mb = f"flavor-{region}", need.vcpus, need.ram_mb
        made = Needing(
            region=region,
            flavor=Flavor(id="f", name=name, vcpus=vcpus, ram_mb=ram_mb, disk_gb=1),
            image=Image(id="i", name=f"image-{region}"),
            network=Network(id="n", name="n"),
        )
        made.taken = need
        return made

    def offers(self, regions: Sequence[str | Offer]) -> list[Offer]:
        """Return offers, of the smallest need where only a name is given."""
        return [self.offer(it) if isinstance(it, str) else it for it in regions]

    def new_ids(self, count: int) -> list[str]:
        """Return ids that sort by age, as ULIDs do."""
        return [f"i-{next(self._serial):06}" for _ in range(count)]

    def place(self, *regions: str | Offer, count: int = 1, **more: Any) -> Admitted:
        """Place instances; `owner`, `ids`, `pick`, `ttl_ms` and fields of the command in `more`."""
        ids = more.pop("ids", None) or self.new_ids(count)
        wish: dict[str, Any] = {"owner": "alice", "pick": "freest", "ttl_ms": TTL_MS}
        wish |= {name: more.pop(name) for name in list(more) if name in Wish._fields}
        command = CreateInstances(image="debian", size="small", count=len(ids), **more)
        return self.ledger.place(
            Wish(command=command, ids=ids, offers=self.offers(regions), **wish)
        )

    def placed(self, *regions: str | Offer, **more: Any) -> Attempt:
        """Place one instance, and return its attempt."""
        (attempt,) = self.place(*regions, **more).attempts
        return attempt

    def active(self, *regions: str | Offer, **more: Any) -> Attempt:
        """Place one instance and let its server come up."""
        attempt = self.placed(*regions, **more)
        assert self.ledger.commit(attempt, "srv")
        self.ledger.observe(attempt, server_id="srv", status=Status.ACTIVE, addresses=())
        return attempt

    def served(self, region: str, *, offer: Offer | None = None) -> list[Attempt]:
        """Give a region's room to those who wait, in the order of the queue."""
        offer = offer or self.offer(region)
        waiting = self.ledger.get(self.waiting())
        return list(self.ledger.serve(region, [Served(it, offer) for it in waiting])[0])

    def queued(self, *regions: str | Offer, priority: int = 10, **more: Any) -> str:
        """Let one instance wait, and return its id."""
        waiting = WAITING._replace(priority=priority)
        (instance_id,) = self.place(*regions, waiting=waiting, **more).queued
        return instance_id

    def later(self, key: str, field: str, ms: int) -> None:
        """Let time pass for one field of a hash that holds an epoch in ms."""
        self.redis.hset(key, field, int(float(self.redis.hget(key, field) or 0)) - ms)

    def later_score(self, key: str, member: str, ms: int) -> None:
        """Let time pass for one member of a sorted set by epoch ms."""
        self.redis.zincrby(key, -ms, member)

    def move(self, attempt: Attempt, *regions: str | Offer, **more: Any) -> Moved:
        """Move an attempt on."""
        known = self.ledger.get([attempt.instance_id])
        owner = known[0].identity.owner if known else "alice"
        usual: dict[str, Any] = {
            "why": "full",
            "keep": False,
            "blame": True,
            "promised": False,
            "wait": False,
        }
        more = {**usual, "owner": owner, "pick": "freest", **more}
        return self.ledger.move(attempt, offers=self.offers(regions), **more)

    def get(self, attempt: Attempt | str) -> Instance:
        """Return an instance as the ledger has it."""
        wanted = attempt if isinstance(attempt, str) else attempt.instance_id
        (instance,) = self.ledger.get([wanted])
        return instance

    def end(self, attempt: Attempt, why: str = "gone", *, end: bool = False) -> bool:
        """Release an attempt."""
        known = self.ledger.get([attempt.instance_id])
        instance = known[0] if known else None
        owner = instance.identity.owner if instance else "alice"
        return self.ledger.release(attempt, owner=owner, instance=instance, why=why, end=end)

    def events(self, attempt: Attempt) -> list[str]:
        """Return what an instance's story is made of."""
        return [event["what"] for event in self.ledger.events(attempt.instance_id)]

    def slots(self, region: str) -> dict[tuple[str, int], Any]:
        """Return a region's slots by instance and attempt."""
        found = self.ledger.view(region, []).slots
        return {(slot.instance_id, slot.attempt): slot for slot in found}

    def state(self, region: str) -> RegionState:
        """Return a region as the ledger has it."""
        (state,) = self.ledger.regions([region])
        return state

    def held(self, *regions: str) -> list[int]:
        """Return how many slots of each region are held, after checking the books."""
        self.check(*regions)
        by_name = {state.region: state.held.instances for state in self.ledger.regions()}
        return [by_name[region] for region in regions]

    def check(self, *regions: str) -> None:
        """Check that the counters of regions are the sums over their slots."""
        for state in self.ledger.regions(regions):
            slots = self.slots(state.region).values()
            assert state.held == _sum(slots)
            assert state.building == self.building(state.region)
        self.check_owners()

    def building(self, region: str) -> int:
        """Count the slots of a region whose server has not been seen ACTIVE."""
        return sum("building" in json.loads(it) for it in self.redis.hvals(self.keys.slots(region)))

    def check_owners(self) -> None:
        """Check that what owners are said to use is the sum over their slots, in all regions."""
        slots = [it for state in self.ledger.regions() for it in self.slots(state.region).values()]
        for owner in {slot.owner for slot in slots} | {"alice"}:
            (used,) = self.ledger.usage([owner]).values()
            assert used == _sum([slot for slot in slots if slot.owner == owner]), owner

    def waiting(self) -> list[str]:
        """Return the ids of those who wait, in the order in which they will be served."""
        return [it.instance_id for it in self.ledger.queue()]

    def members(self, key: str) -> list[str]:
        """Return an index."""
        return [str(it) for it in self.redis.zrange(key, 0, -1)]


def _sum(slots: Iterable[Any]) -> Resources:
    return sum((slot.need for slot in slots), Resources())
