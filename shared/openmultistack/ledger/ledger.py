"""The ledger: every count, slot and instance of a fleet, changed only by atomic scripts."""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from redis.exceptions import LockError

from openmultistack.ledger.reading import Readings
from openmultistack.ledger.scripts import FOREIGN, unavailable
from openmultistack.models import (
    Catalogue,
    CreateInstances,
    Instance,
    Offer,
    Resources,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


Pick = Literal["freest", "first", "fullest"]
Destroyed = Literal["DELETING", "EMPTY", "DELETED", "MOVED", "WANTED", "MISSING"]

# How long a DELETED instance can still be shown and listed.
REMEMBER_MS = 24 * 3600 * 1000


class Attempt(NamedTuple):
    """One try of an instance in one region."""

    instance_id: str
    number: int
    region: str


class Admitted(NamedTuple):
    """What `place` answered: the attempts that hold a slot, and how many slots there were."""

    attempts: tuple[Attempt, ...]
    free: int
    created_at_ms: int


class Moved(NamedTuple):
    """What `move` answered; `attempt` is there only when it moved."""

    outcome: Literal["moved", "none", "ended"]
    attempt: Attempt | None = None


class Ledger(Readings):
    """The acts on one fleet's ledger, beside the readings; safe to share between threads.

    Every method raises LedgerUnavailable when Redis does not answer; then nothing may be asked
    of a cloud.
    """

    # ---------------------------------------------------------------- acts of a create

    def place(
        self,
        owner: str,
        command: CreateInstances,
        *,
        ids: Sequence[str],
        offers: Sequence[Offer],
        pick: Pick,
        ttl_ms: int,
    ) -> Admitted:
        """Reserve slots for a command among the ranked offers; see place.lua."""
        keys = self._keys
        fields = {
            "owner": owner,
            "name": command.name,
            "labels": json.dumps(command.labels),
            "order": command.model_dump_json(),
            "has_keypair": "1" if command.ssh_public_key else "0",
        }
        ask = {
            "pick": pick,
            "partial": command.partial,
            "lease_ms": self._lease_ms,
            "ttl_ms": ttl_ms,
            "ids": ids,
            "fields": fields,
            "candidates": [_candidate(offer) for offer in offers],
        }
        answer = self._ask(
            "place",
            [
                *self._region_keys(offers),
                *(key for i in ids for key in (keys.record(i), keys.events(i))),
                keys.due,
                *keys.indices(owner, command.labels),
            ],
            ask,
        )
        placed = zip(ids, answer["regions"] or (), strict=False)
        attempts = tuple(Attempt(instance_id, 1, region) for instance_id, region in placed)
        return Admitted(attempts, answer["free"], int(answer["now_ms"]))

    def commit(self, attempt: Attempt, server_id: str) -> bool:
        """Record an accepted server; False: it is not wanted any more, delete it."""
        answer = self._scripts.run(
            "commit",
            [*self._story(attempt.instance_id), self._keys.slots(attempt.region)],
            attempt.instance_id,
            attempt.number,
            attempt.region,
            server_id,
        )
        return answer == "BUILD"

    def move(
        self,
        attempt: Attempt,
        *,
        why: str,
        keep: bool,
        promised: bool,
        offers: Sequence[Offer],
        pick: Pick,
    ) -> Moved:
        """Leave the attempt's region and reserve a slot elsewhere; see move.lua.

        With `keep` the old slot is held on, as a server of that attempt may exist. With
        `promised` the client has been told of the instance: it must not be lost with the caller.
        """
        ask = {
            "id": attempt.instance_id,
            "attempt": attempt.number,
            "from": attempt.region,
            "keep": keep,
            "promised": promised,
            "why": why,
            "pick": pick,
            "lease_ms": self._lease_ms,
            "nonce": secrets.token_hex(8),
            "candidates": [_candidate(offer) for offer in offers],
        }
        keys = [
            *self._story(attempt.instance_id),
            self._keys.region(attempt.region),
            self._keys.slots(attempt.region),
            *self._region_keys(offers),
        ]
        answer = self._ask("move", keys, ask)
        if answer["outcome"] != "moved":
            return Moved(answer["outcome"])
        return Moved("moved", Attempt(attempt.instance_id, attempt.number + 1, answer["region"]))

    def fail(self, attempt: Attempt, error: str) -> Status | None:
        """No region is left for the instance: ERROR, until destroyed or expired."""
        keys = self._story(attempt.instance_id)
        answer = self._scripts.run("fail", keys, attempt.number, attempt.region, error)
        return Status(str(answer)) if answer else None

    # ---------------------------------------------------------------- acts of the end

    def destroy(self, instance: Instance, *, why: str, only_if_due: bool = False) -> Destroyed:
        """Mark an instance as wanted no more; see destroy.lua for the answers."""
        keys = self._keys
        return cast(
            "Destroyed",
            self._scripts.run(
                "destroy",
                [*self._story(instance.id), keys.due, keys.slots(instance.region)],
                instance.id,
                instance.attempt,
                instance.region,
                why,
                "due" if only_if_due else "",
            ),
        )

    def release(
        self, attempt: Attempt, instance: Instance | None, *, why: str, end: bool = False
    ) -> bool:
        """Free the slot of an attempt whose server the cloud does not have; see release.lua.

        `instance` is what the ledger knows of it (its owner and labels never change); with `end`
        an instance in ERROR is over as well.
        """
        keys, owner = self._keys, instance.owner if instance else ""
        return bool(
            self._scripts.run(
                "release",
                [
                    keys.region(attempt.region),
                    keys.slots(attempt.region),
                    *self._story(attempt.instance_id),
                    keys.due,
                    keys.gone(owner),
                    *(keys.indices(owner, instance.labels) if instance else ()),
                ],
                attempt.instance_id,
                attempt.number,
                attempt.region,
                why,
                REMEMBER_MS,
                "end" if end else "",
            )
        )

    def renew(self, instance_id: str, ttl_ms: int) -> bool:
        """Move the expiry to ttl from now; False if the instance lives no more."""
        keys = [*self._story(instance_id), self._keys.due]
        return bool(self._scripts.run("renew", keys, instance_id, ttl_ms))

    def forget(self, instances: Iterable[Instance]) -> None:
        """Drop what is remembered of ended instances; safe to repeat."""
        with self._pipeline(transaction=True) as pipe:
            for instance in instances:
                pipe.delete(*self._story(instance.id))
                pipe.zrem(self._keys.gone(instance.owner), instance.id)
                pipe.zrem(self._keys.due, instance.id)
            pipe.execute()

    # ---------------------------------------------------------------- acts of a sweep

    def observe(
        self, attempt: Attempt, *, server_id: str, status: Status, addresses: Sequence[Any]
    ) -> None:
        """Write down what the cloud shows of an attempt's server; see observe.lua."""
        self._scripts.run(
            "observe",
            [*self._story(attempt.instance_id), self._keys.slots(attempt.region)],
            attempt.instance_id,
            attempt.number,
            attempt.region,
            server_id,
            status,
            json.dumps([address.model_dump() for address in addresses]),
        )

    def hold(self, found: Instance, need: Resources) -> bool:
        """Count a marked server that holds no slot; True if its instance was adopted."""
        keys = self._keys
        fields = {
            "owner": found.owner,
            "name": found.name,
            "labels": json.dumps(dict(found.labels)),
            "image": found.image,
            "flavor": found.flavor,
            "created_at_ms": found.created_at_ms,
            "has_keypair": "1" if found.has_keypair else "0",
        }
        ask = {
            "id": found.id,
            "attempt": found.attempt,
            "region": found.region,
            "server_id": found.server_id,
            "need": {"vcpus": need.vcpus, "ram_mb": need.ram_mb},
            "expires_at_ms": found.expires_at_ms,
            "fields": fields,
        }
        return bool(
            self._scripts.run(
                "hold",
                [
                    keys.region(found.region),
                    keys.slots(found.region),
                    *self._story(found.id),
                    keys.due,
                    *keys.indices(found.owner, found.labels),
                ],
                json.dumps(ask),
            )
        )

    def survey(
        self, region: str, *, cap: Resources, foreign: Resources, catalogue: Catalogue | None
    ) -> None:
        """A sweep saw the region well: take its caps, foreign usage and (if read) catalogue."""
        fields = {f"cap_{what}": count for what, count in cap.model_dump().items()}
        fields |= {f"foreign_{what}": count for what, count in foreign.model_dump().items()}
        keys = self._keys
        self._scripts.run(
            "survey",
            [keys.regions, keys.region(region), keys.catalogue(region)],
            region,
            json.dumps(fields),
            catalogue.model_dump_json() if catalogue else "",
        )

    def report(self, region: str, error: str, means: Literal["down", "full", "stale", ""]) -> None:
        """Write down what a region said and what follows for placements; see report.lua."""
        keys = self._keys
        self._scripts.run("report", [keys.regions, keys.region(region)], region, error, means)

    @contextmanager
    def sweeping(self, region: str, *, budget_s: float) -> "Iterator[bool]":
        """Hold the region's sweep lock; False if somebody else has it."""
        lock = self._redis.lock(self._keys.sweep_lock(region), timeout=budget_s, thread_local=False)
        try:
            mine = lock.acquire(blocking=False)
        except FOREIGN as error:
            raise unavailable(error) from error
        try:
            yield mine
        finally:
            if mine:
                _give_back(lock)

    # ---------------------------------------------------------------- within

    def _ask(self, script: str, keys: Sequence[str], ask: Mapping[str, object]) -> dict[str, Any]:
        answer = self._scripts.run(script, keys, json.dumps(ask))
        return cast("dict[str, Any]", json.loads(cast("str", answer)))

    def _region_keys(self, offers: Sequence[Offer]) -> list[str]:
        keys = self._keys
        return [key for o in offers for key in (keys.region(o.region), keys.slots(o.region))]


def _candidate(offer: Offer) -> dict[str, object]:
    return {
        "region": offer.region,
        "need": {"vcpus": offer.flavor.vcpus, "ram_mb": offer.flavor.ram_mb},
        "fields": {"flavor": offer.flavor.name, "image": offer.image.name},
    }


def _give_back(lock: Any) -> None:  # noqa: ANN401  redis-py's lock is untyped
    """Release a lock; one that ran out or went with Redis is gone already."""
    try:
        lock.release()
    except (LockError, *FOREIGN):
        return
