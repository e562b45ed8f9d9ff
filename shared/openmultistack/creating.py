"""The use case create: from a command to instances that a cloud has accepted."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from ulid import ULID

from openmultistack.attempts import Attempts, Ending, Wanted, candidates
from openmultistack.clouds import Clouds
from openmultistack.errors import (
    CapacityExhausted,
    CloudError,
    Invalid,
    NoRegionReady,
    NoRegionWorked,
    Problem,
)
from openmultistack.fleet import Fleet, Offers, nearest
from openmultistack.instances import Destroying, refuse_long_ttl
from openmultistack.ledger import Attempt, Ledger
from openmultistack.models import CreateInstances, Instance, Offer, RegionState, Status
from openmultistack.placement import STRATEGIES, Ranked, Strategy

# A client that waits polls the clouds this often, and this long at most.
WAIT_POLL_S = 1.0
WAIT_MAX_S = 60


class Placed(NamedTuple):
    """What a create came to."""

    instances: Sequence[Instance]
    requested: int


class Creating:
    """The use case create."""

    def __init__(
        self, ledger: Ledger, fleet: Fleet, fleet_name: str, clouds: Clouds, attempts: Attempts
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._fleet_name = fleet_name
        self._clouds = clouds
        self._attempts = attempts

    def create(self, owner: str, command: CreateInstances, *, wait_s: float = 0) -> Placed:
        """Place a command's instances and have them made; not safe to repeat.

        Raises:
            Invalid: the command asks for what is not there, or for too much.
            NoRegionReady, CapacityExhausted: nothing was made; may work later.
            NoRegionWorked: nothing is kept; says what each region said.
        """
        ttl_ms = self._ttl_ms(owner, command)
        strategy = _strategy(command)
        states, found = candidates(self._ledger, self._fleet, command)
        ranked = strategy.order([self._ranked(offer) for offer in found.able])
        able = [it.offer for it in ranked]
        ids = [f"i-{ULID()}" for _ in range(command.count)]
        placed_at = time.monotonic()
        admitted = self._ledger.place(
            owner, command, ids=ids, offers=able, pick=strategy.pick, ttl_ms=ttl_ms
        )
        if not admitted.attempts:
            raise _no_room(command, able, found, states)
        wanted = Wanted(
            fleet=self._fleet_name,
            owner=owner,
            command=command,
            offers=able,
            pick=strategy.pick,
            created_at_ms=admitted.created_at_ms,
            expires_at_ms=admitted.created_at_ms + ttl_ms,
        )
        endings = self._attempts.pursue_all(admitted.attempts, wanted, placed_at=placed_at)
        kept = self._keep(endings, wanted)
        if wait_s:
            kept = self._wait(kept, wait_s)
        return Placed(kept, command.count)

    def _ranked(self, offer: Offer) -> Ranked:
        rule = self._fleet.regions[offer.region].rule
        return Ranked(offer=offer, priority=rule.priority, price=rule.price)

    def _ttl_ms(self, owner: str, command: CreateInstances) -> int:
        rule = self._fleet.file.owner_rule(owner)
        ttl = rule.default_ttl if command.ttl is None else command.ttl
        refuse_long_ttl(ttl, rule.max_ttl)
        return ttl * 1000

    def _keep(self, endings: Sequence[Ending], wanted: Wanted) -> list[Instance]:
        """Return the instances that came about, or give all up and say why."""
        lost = [it for it in endings if it.how in ("nowhere", "refused")]
        kept = [it for it in endings if it not in lost]
        give_up = bool(lost) and (not wanted.command.partial or not kept or _refused(lost))
        for ending in endings if give_up else lost:
            self._abandon(ending.attempt.instance_id)
        if give_up:
            raise _why_not(lost)
        return [_born(ending, wanted) for ending in kept]

    def _abandon(self, instance_id: str) -> None:
        destroyer = Destroying(self._ledger, self._clouds)
        for instance in self._ledger.get([instance_id]):
            destroyer.destroy(instance, why="the command as a whole could not be served")

    def _wait(self, instances: Sequence[Instance], wait_s: float) -> list[Instance]:
        """Return the instances as they are when all are built, or the time is over."""
        until = time.monotonic() + min(wait_s, WAIT_MAX_S)
        while True:
            building = [it for it in instances if it.status == Status.BUILD]
            for instance in building:
                self._look(instance)
            instances = self._ledger.get([it.id for it in instances])
            left_s = until - time.monotonic()
            if left_s <= 0 or not any(it.status == Status.BUILD for it in instances):
                return list(instances)
            time.sleep(min(WAIT_POLL_S, left_s))

    def _look(self, instance: Instance) -> None:
        """Take an ACTIVE server into the ledger; whatever else there is, the sweep deals with."""
        try:
            server = instance.server_id and self._clouds.region(instance.region).show(
                instance.server_id
            )
        except CloudError:
            return
        if server and server.status == Status.ACTIVE:
            self._ledger.observe(
                Attempt(instance.id, instance.attempt, instance.region),
                server_id=server.id,
                status=server.status,
                addresses=server.addresses,
            )


def _strategy(command: CreateInstances) -> Strategy:
    if command.strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise Invalid(
            [("/strategy", f"{command.strategy!r} is unknown, expected one of {known}")],
            nearest=nearest(command.strategy, STRATEGIES),
        )
    return STRATEGIES[command.strategy]


def _no_room(
    command: CreateInstances, able: Sequence[Offer], found: Offers, states: Sequence[RegionState]
) -> Problem:
    """Return why nothing was placed: no free slots, or no region that is up."""
    by_name = {state.region: state for state in states}
    said = dict(found.unable)
    for offer in able:
        state = by_name[offer.region]
        if state.state != "up":
            said[offer.region] = f"is {state.state}: {state.last_error or 'not looked at yet'}"
        else:
            said[offer.region] = "has too few free slots"
    if all(by_name[offer.region].state != "up" for offer in able):
        return NoRegionReady("no region that can serve this is up", said)
    return CapacityExhausted(
        f"there are not {command.count} free slots for this; nothing was made", said
    )


def _refused(lost: Sequence[Ending]) -> bool:
    return any(it.how == "refused" for it in lost)


def _why_not(lost: Sequence[Ending]) -> Problem:
    for ending in lost:
        if ending.how == "refused":
            return Invalid(
                [("", f"the cloud refuses this request: {' '.join(ending.said.values())}")]
            )
    said = {region: text for ending in lost for region, text in ending.said.items()}
    if all(ending.only_full for ending in lost):
        return CapacityExhausted("every region that had free slots was full after all", said)
    return NoRegionWorked("every region that had free slots was tried, and none worked", said)


def _born(ending: Ending, wanted: Wanted) -> Instance:
    """Return an instance as it stands right after its server was accepted."""
    return Instance(
        id=ending.attempt.instance_id,
        name=wanted.command.name,
        status=Status.BUILD if ending.how == "made" else Status.DELETING,
        owner=wanted.owner,
        region=ending.attempt.region,
        server_id=ending.server_id,
        image=ending.offer.image.name,
        flavor=ending.offer.flavor.name,
        labels=wanted.command.labels,
        attempt=ending.attempt.number,
        created_at_ms=wanted.created_at_ms,
        expires_at_ms=wanted.expires_at_ms,
    )
