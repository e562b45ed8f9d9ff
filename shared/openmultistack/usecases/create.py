"""The use case create: from a command to instances that a cloud has accepted, or that wait."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ulid import ULID

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.errors import InstancesEnded, Invalid
from openmultistack.domain.models import Instance, Offer, Principal, Status
from openmultistack.domain.placement import STRATEGIES
from openmultistack.fleet.config import Fleet
from openmultistack.fleet.offers import nearest
from openmultistack.ledger import Admitted, Attempt, Key, Ledger, Waiting, Wish
from openmultistack.provision.arriving import Arriving
from openmultistack.provision.attempts import Attempts
from openmultistack.provision.planning import Candidates, Wanted, reoffering
from openmultistack.provision.pursuing import Ending, Pursuit
from openmultistack.usecases.instances import Destroying, refuse_long_ttl
from openmultistack.usecases.refusals import Refusals, why_not
from openmultistack.usecases.waiting_room import WaitingRoom

# For a client that waits the ledger is read this often, and this long at most.
WAIT_POLL_S = 0.5
WAIT_MAX_S = 60
# How long a repeated command waits for the one that came first to know its servers. If that one
# has died, a sweep makes what is missing.
REPEAT_WAIT_S = 10.0
REPEAT_POLL_S = 0.1


class Placed(NamedTuple):
    """What a create came to."""

    instances: Sequence[Instance]
    requested: int
    # What each region said that did not take one of them.
    said: Mapping[str, str] = {}


class Creating:
    """The use case create."""

    def __init__(
        self,
        ledger: Ledger,
        fleet: Fleet,
        fleet_name: str,
        arriving: Arriving,
        attempts: Attempts,
        destroying: Destroying,
        room: WaitingRoom,
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._fleet_name = fleet_name
        self._arriving = arriving
        self._attempts = attempts
        self._destroying = destroying
        self._room = room
        self._candidates = Candidates(ledger, fleet)

    def create(
        self, caller: Principal, command: CreateInstances, *, key: str = "", wait_s: float = 0
    ) -> Placed:
        """Place a command's instances and have them made.

        Safe to repeat with the same idempotency key only: then it returns the same instances.

        Raises:
            Invalid: the command asks for what is not there, or for too much.
            IdempotencyConflict: the key came with another command before.
            OwnerQuotaExceeded, QueueFull: nothing was made.
            NoRegionReady, CapacityExhausted: nothing was made; may work later.
            NoRegionWorked: nothing is kept; says what each region said.
            InstancesEnded: what was made under the key has all ended.
        """
        said: Mapping[str, str] = {}
        wish, refusals = self._wish(caller, command, key)
        while True:
            placed_at = time.monotonic()
            admitted = self._ledger.place(wish)
            if admitted.outcome == "placed":
                self._refuse_idle_wait(wish, admitted, refusals)
                kept, said = self._make(wish, admitted, placed_at)
            elif admitted.outcome == "repeated" and wish.key:
                found = self._made_before(wish, wish.key)
                if found is None:  # given up meanwhile: the key is free again
                    continue
                _refuse_ended(found)
                kept = found
            else:
                raise refusals.of(admitted)
            if wait_s:
                kept = self._wait(caller.owner, kept, wait_s)
            return Placed(kept, command.count, said)

    def _wish(self, caller: Principal, command: CreateInstances, key: str) -> tuple[Wish, Refusals]:
        rule = self._fleet.file.owner_rule(caller.owner)
        ttl = rule.default_ttl if command.ttl is None else command.ttl
        refuse_long_ttl(ttl, rule.max_ttl)
        _refuse_unknown_strategy(command)
        found, shares = self._candidates.look(command, caller.owner)
        quota = rule.quota.quota().within(caller.quota)
        queue = self._fleet.file.queue
        wish = Wish(
            owner=caller.owner,
            command=command,
            ids=[f"i-{ULID()}" for _ in range(command.count)],
            offers=found.able,
            pick=STRATEGIES[command.strategy].pick,
            ttl_ms=ttl * 1000,
            quota=quota,
            commands_per_minute=rule.commands_per_minute,
            key=_key(key, command) if key else None,
            waiting=Waiting(rule.priority, queue.max, queue.max_wait * 1000, queue.of_owner)
            if command.on_full == "queue"
            else None,
            shares=shares,
        )
        refusals = Refusals(self._ledger, wish, found)
        refusals.refuse_what_never_fits()
        return wish, refusals

    def _refuse_idle_wait(self, wish: Wish, admitted: Admitted, refusals: Refusals) -> None:
        """Keep out of the queue what no region will ever have room for."""
        try:
            refusals.refuse_what_no_cap_allows(admitted)
        except Invalid:
            if self._give_up(wish, refused=True):
                raise

    def _make(
        self, wish: Wish, admitted: Admitted, placed_at: float
    ) -> tuple[Sequence[Instance], Mapping[str, str]]:
        """Return what is kept of a command, and what the regions said that failed it."""
        wanted = Wanted(
            fleet=self._fleet_name,
            owner=wish.owner,
            command=wish.command,
            offers=wish.offers,
            pick=wish.pick,
            created_at_ms=admitted.created_at_ms,
            expires_at_ms=admitted.created_at_ms + wish.ttl_ms,
            idempotency=_marks(wish),
            reoffer=reoffering(self._fleet, wish.command),
        )
        endings = self._attempts.pursue_all(
            [Pursuit(it, wanted, placed_at) for it in admitted.attempts]
        )
        said = {region: text for it in endings for region, text in it.said.items()}
        lost = [it for it in endings if it.how in ("nowhere", "refused")]
        refused = any(it.how == "refused" for it in lost)
        give_up = lost and (not wish.command.partial or len(lost) == len(endings) or refused)
        if give_up and self._give_up(wish, refused=refused):
            raise why_not(lost)
        kept = [it for it in endings if it not in lost]
        gone = [] if give_up else self._leave_out(wish, lost)
        told_on = len(gone) < len(lost)
        if told_on or admitted.queued or any(it.how == "later" for it in kept):
            return self._ledger.get([it for it in wish.ids if it not in gone]), said
        return [_born(ending, wanted) for ending in kept], said

    def _leave_out(self, wish: Wish, lost: Sequence[Ending]) -> Sequence[str]:
        """End those of a command that came to nothing; what somebody was told of stays, in ERROR.

        Returns the ids of those ended; a repeat under the command's key does not show them either.
        """
        ids = [it.attempt.instance_id for it in lost]
        gone = self._ledger.leave_out(wish.owner, wish.key, ids) if ids and wish.key else ids
        for instance_id in gone:
            self._abandon(instance_id, even_promised=True)
        return gone

    def _give_up(self, wish: Wish, *, refused: bool) -> bool:
        """End all instances of a command; False if somebody has been told of them meanwhile."""
        even_promised = refused and wish.waiting is not None
        if wish.key:
            self._ledger.give_key_back(wish.owner, wish.key, wish.ids, even_promised=even_promised)
        ended = [self._abandon(it, even_promised=even_promised) for it in wish.ids]
        return all(ended)

    def _abandon(self, instance_id: str, *, even_promised: bool) -> bool:
        return all(
            self._destroying.destroy(
                instance,
                why="the command as a whole could not be served",
                only_if="" if even_promised else "unpromised",
                ended="refused",
            )
            for instance in self._ledger.get([instance_id])
        )

    def _made_before(self, wish: Wish, key: Key) -> Sequence[Instance] | None:
        """Return what a key stands for, when its servers are known; None if it was given up."""
        with self._room.place(wish.owner) as may_sleep:
            until = time.monotonic() + (REPEAT_WAIT_S if may_sleep else 0)
            while True:
                ids = self._ledger.made_under(wish.owner, key)
                instances = self._ledger.get(ids)
                unproven = any(it.status == Status.BUILD and not it.server_id for it in instances)
                if not ids or not unproven or time.monotonic() >= until:
                    break
                time.sleep(REPEAT_POLL_S)
        if not ids or not self._ledger.promise(wish.owner, key, ids):
            return None
        return instances

    def _wait(self, owner: str, instances: Sequence[Instance], wait_s: float) -> Sequence[Instance]:
        """Return the instances as they are when all are built, or the time is over.

        At once where as many wait as may: waiting is a client's wish (RFC 7240), no promise.
        """
        with self._room.place(owner) as may_sleep:
            until = time.monotonic() + (min(wait_s, WAIT_MAX_S) if may_sleep else 0)
            # Those of a repeated command may be somebody else's, who has died.
            self._arriving.follow(_under_way(instances))
            while True:
                instances = self._ledger.get([it.id for it in instances])
                left_s = until - time.monotonic()
                if left_s <= 0 or not any(it.status in _COMING for it in instances):
                    return instances
                time.sleep(min(WAIT_POLL_S, left_s))


def _refuse_ended(found: Sequence[Instance]) -> None:
    """Raise InstancesEnded where a repeat would be shown nothing but what is over."""
    if all(it.status in _OVER for it in found):
        raise InstancesEnded(
            "all that was made under this Idempotency-Key has ended; another key makes it anew",
            [it.id for it in found],
        )


_OVER = (Status.DELETING, Status.DELETED)
_COMING = (Status.QUEUED, Status.BUILD)


def _under_way(instances: Sequence[Instance]) -> dict[Attempt, str]:
    return {
        Attempt(it.id, it.attempt, it.region): it.server_id
        for it in instances
        if it.status == Status.BUILD and it.server_id
    }


def _key(key: str, command: CreateInstances) -> Key:
    told = json.dumps(command.model_dump(mode="json"), sort_keys=True)
    return Key(_digest(key), _digest(told))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _marks(wish: Wish) -> dict[str, str]:
    """Return what each instance's servers carry of the key, so that it outlives the ledger."""
    if not wish.key:
        return {}
    mark = f"{wish.key.digest}:{wish.key.body}"
    return {it: f"{mark}:{position}" for position, it in enumerate(wish.ids, start=1)}


def _refuse_unknown_strategy(command: CreateInstances) -> None:
    if command.strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise Invalid(
            [("/strategy", f"{command.strategy!r} is unknown, expected one of {known}")],
            nearest=nearest(command.strategy, STRATEGIES),
        )


def _born(ending: Ending, wanted: Wanted) -> Instance:
    """Return an instance as it stands right after its server was accepted."""
    offer: Offer = ending.offer
    return Instance(
        id=ending.attempt.instance_id,
        name=wanted.command.name,
        status=Status.BUILD if ending.how == "made" else Status.DELETING,
        owner=wanted.owner,
        region=ending.attempt.region,
        server_id=ending.server_id,
        image=offer.image.name,
        flavor=offer.flavor.name,
        labels=wanted.command.labels,
        attempt=ending.attempt.number,
        created_at_ms=wanted.created_at_ms,
        expires_at_ms=wanted.expires_at_ms,
    )
