"""The use case create: from a command to instances that a cloud has accepted, or that wait."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ulid import ULID

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.errors import (
    CapacityExhausted,
    InstancesEnded,
    Invalid,
    NoRegionReady,
)
from openmultistack.domain.models import Instance, Offer, Principal, Status
from openmultistack.domain.pace import Pace
from openmultistack.domain.placement import STRATEGIES
from openmultistack.fleet.config import Fleet
from openmultistack.fleet.offers import NOT_LOOKED_AT, nearest
from openmultistack.ledger import Admitted, Key, Ledger, Waiting, Wish
from openmultistack.provision.arriving import Arriving
from openmultistack.provision.attempts import Attempts
from openmultistack.provision.planning import Candidates, Wanted, reoffering
from openmultistack.provision.pursuing import Ending, Pursuit
from openmultistack.usecases.abandoning import Abandoning
from openmultistack.usecases.awaiting import Awaiting
from openmultistack.usecases.destroy import Destroying
from openmultistack.usecases.looking import Looking
from openmultistack.usecases.refusals import Refusals, why_not
from openmultistack.usecases.renew import refuse_long_ttl
from openmultistack.usecases.waiting_room import WaitingRoom

_OVER = (Status.DELETING, Status.DELETED)
# What a command's digest has had from the start. What fields came later is told if it is not the
# usual: a command without them, repeated after an upgrade, is the same.
_TOLD_ANYWAY = {
    "image", "size", "count", "ttl", "name", "labels", "ssh_public_key", "user_data", "regions",
    "strategy", "on_full", "partial",
}  # fmt: skip


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
        looking: Looking,
        room: WaitingRoom,
        pace: Pace,
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._fleet_name = fleet_name
        self._attempts = attempts
        self._awaiting = Awaiting(ledger, arriving, room, pace)
        self._abandoning = Abandoning(ledger, destroying)
        self._looking = looking
        self._wait_max_s = pace.wait_max_s
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
        began = time.monotonic()
        try:
            placed = self._create(caller, command, key)
        except (Invalid, NoRegionReady, CapacityExhausted) as refusal:
            # Nothing is kept: it may be tried again where nobody had looked.
            unseen = [it for it, why in refusal.regions.items() if why == NOT_LOOKED_AT]
            if not self._looking.look(unseen, caller.owner):
                refusal.regions |= self._looking.why_unseen(unseen)
                raise
            placed = self._create(caller, command, key)
        if wait_s:
            # All of the request has to be over within what the platform grants.
            left_s = self._wait_max_s - (time.monotonic() - began)
            kept = self._awaiting.wait(caller.owner, placed.instances, min(wait_s, left_s))
            placed = placed._replace(instances=kept)
        return placed

    def _create(self, caller: Principal, command: CreateInstances, key: str) -> Placed:
        said: Mapping[str, str] = {}
        wish, refusals = self._wish(caller, command, key)
        while True:
            placed_at = time.monotonic()
            admitted = self._ledger.place(wish)
            if admitted.outcome == "placed":
                self._refuse_idle_wait(wish, admitted, refusals)
                kept, said = self._make(wish, admitted, placed_at)
                if admitted.queued:
                    self._looking.look(refusals.unseen, wish.owner, wait=False)
            elif admitted.outcome == "repeated" and wish.key:
                found = self._awaiting.made_before(wish.owner, wish.key)
                if found is None:  # given up meanwhile: the key is free again
                    continue
                _refuse_ended(found)
                kept = found
            else:
                raise refusals.of(admitted)
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
            if self._abandoning.give_up(wish, refused=True):
                raise

    def _make(
        self, wish: Wish, admitted: Admitted, placed_at: float
    ) -> tuple[Sequence[Instance], Mapping[str, str]]:
        """Return what is kept of a command, and what the regions said that failed it."""
        wanted = Wanted(
            fleet=self._fleet_name,
            identity=wish.command.identity(wish.owner)._replace(
                created_at_ms=admitted.created_at_ms,
                expires_at_ms=admitted.created_at_ms + wish.ttl_ms,
            ),
            command=wish.command,
            offers=wish.offers,
            pick=wish.pick,
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
        if give_up and self._abandoning.give_up(wish, refused=refused):
            raise why_not(lost)
        kept = [it for it in endings if it not in lost]
        gone = [] if give_up else self._abandoning.leave_out(wish, lost)
        told_on = len(gone) < len(lost)
        if told_on or admitted.queued or any(it.how == "later" for it in kept):
            return self._ledger.get([it for it in wish.ids if it not in gone]), said
        return [_born(ending, wanted) for ending in kept], said


def _refuse_ended(found: Sequence[Instance]) -> None:
    """Raise InstancesEnded where a repeat would be shown nothing but what is over."""
    if all(it.status in _OVER for it in found):
        raise InstancesEnded(
            "all that was made under this Idempotency-Key has ended; another key makes it anew",
            [it.id for it in found],
        )


def _key(key: str, command: CreateInstances) -> Key:
    first = command.model_dump(mode="json", include=_TOLD_ANYWAY)
    later = command.model_dump(mode="json", exclude=_TOLD_ANYWAY, exclude_defaults=True)
    return Key(_digest(key), _digest(json.dumps(first | later, sort_keys=True)))


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
        identity=wanted.identity_of(ending.attempt.instance_id),
        status=Status.BUILD if ending.how == "made" else Status.DELETING,
        region=ending.attempt.region,
        server_id=ending.server_id,
        image=offer.image.name,
        flavor=offer.flavor.name,
        attempt=ending.attempt.number,
    )
