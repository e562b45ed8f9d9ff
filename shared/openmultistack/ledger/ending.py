"""The acts of the end: destroy, release, forget; and renew, which puts it off."""

import json
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, cast

from openmultistack.domain.models import Instance
from openmultistack.ledger.acts import AT_ONCE, Acting, Attempt

Destroyed = Literal["DELETING", "EMPTY", "DELETED", "MOVED", "WANTED", "MISSING"]
OnlyIf = Literal["due", "unpromised", ""]
# Why an instance is wanted no more; the last: its client was told that nothing was made.
EndedBy = Literal["destroyed", "expired", "refused"]

# How long a DELETED instance can still be shown and listed.
REMEMBER_MS = 24 * 3600 * 1000
# What is due and cannot be read is looked at again after this.
PUT_OFF_MS = 600_000
# Of one owner's so many ended ones are remembered: beyond that the oldest are forgotten.
GONE_MAX = 10_000


class Gone(NamedTuple):
    """An attempt whose server the cloud does not have; see Ending.release."""

    attempt: Attempt
    owner: str
    instance: Instance | None
    why: str
    end: bool = False


class Ending(Acting):
    """The acts of the end."""

    def destroy(
        self,
        instance: Instance,
        *,
        why: str,
        only_if: OnlyIf = "",
        ended: EndedBy = "destroyed",
    ) -> Destroyed:
        """Mark an instance as wanted no more; see destroy.lua for the answers."""
        keys = self._keys
        return cast(
            "Destroyed",
            self._scripts.run(
                "destroy",
                [
                    *self._story(instance.id),
                    keys.due,
                    keys.slots(instance.region),
                    keys.queue,
                    keys.heads,
                    keys.line(instance.identity.owner),
                    keys.usage(instance.identity.owner),
                ],
                instance.id,
                instance.attempt,
                self.place_of(instance.region),
                why,
                only_if,
                ended,
            ),
        )

    def release(
        self,
        attempt: Attempt,
        *,
        owner: str,
        instance: Instance | None,
        why: str,
        end: bool = False,
    ) -> bool:
        """Free the slot of an attempt whose server the cloud does not have; see release.lua.

        `instance` is what the ledger knows of it (its owner and labels never change); with `end`
        an instance in ERROR is over as well.
        """
        (freed,) = self.release_all([Gone(attempt, owner, instance, why, end)])
        return freed

    def release_all(self, gone: Sequence[Gone]) -> list[bool]:
        """Free the slots of attempts in one region, many at a time; tell of each if it was held."""
        freed: list[bool] = []
        for start in range(0, len(gone), AT_ONCE):
            freed += self._release_some(gone[start : start + AT_ONCE])
        for owner in {it.owner for it in gone}:
            self._forget_oldest(owner)
        return freed

    def _forget_oldest(self, owner: str) -> None:
        """Forget of an owner's ended instances those beyond the bound; their ids tell the age."""
        gone = self._keys.gone(owner)
        with self._pipeline() as pipe:
            pipe.zcard(gone)
            more = pipe.execute()[0] - GONE_MAX
        while more > 0:
            with self._pipeline() as pipe:
                pipe.zrange(gone, 0, min(more, AT_ONCE) - 1)
                ids = pipe.execute()[0]
            self._drop(owner, ids)
            more -= AT_ONCE

    def _release_some(self, gone: Sequence[Gone]) -> list[bool]:
        region = gone[0].attempt.region
        keys = [self._keys.region(region), self._keys.slots(region), self._keys.due]
        keys += [self._keys.shares, self._keys.heads, self._keys.orders]
        places = {key: place for place, key in enumerate(keys, start=1)}
        ask = {
            "region": self.place_of(region),
            "keep_ms": REMEMBER_MS,
            "attempts": [self._leave(it, places) for it in gone],
        }
        answer = self._scripts.run("release", list(places), json.dumps(ask))
        return [bool(it) for it in cast("list[int]", answer)]

    def _leave(self, it: Gone, places: dict[str, int]) -> dict[str, object]:
        """Return what release.lua is told of an attempt; its keys get their places."""

        def place(key: str) -> int:
            return places.setdefault(key, len(places) + 1)

        keys, (instance_id, number, _) = self._keys, it.attempt
        indices = keys.indices(it.owner, it.instance.identity.labels) if it.instance else ()
        return {
            "id": instance_id,
            "attempt": number,
            "why": it.why,
            "end": it.end,
            "usage": place(keys.usage(it.owner)),
            "record": place(keys.record(instance_id)),
            "events": place(keys.events(instance_id)),
            "gone": place(keys.gone(it.owner)),
            "indices": [place(key) for key in indices],
        }

    def renew(self, instance_id: str, ttl_ms: int) -> bool:
        """Move the expiry to ttl from now; False if the instance lives no more."""
        keys = [*self._story(instance_id), self._keys.due]
        return bool(self._scripts.run("renew", keys, instance_id, ttl_ms))

    def put_off(self, instance_ids: Iterable[str]) -> None:
        """Have what is due and cannot be read looked at later: what comes after it is in reach."""
        later_ms = self.now_ms() + PUT_OFF_MS
        with self._pipeline() as pipe:
            for instance_id in instance_ids:
                pipe.zadd(self._keys.due, {instance_id: later_ms}, xx=True)
            pipe.execute()

    def forget(self, instances: Iterable[Instance]) -> None:
        """Drop what is remembered of ended instances; safe to repeat."""
        by_owner: dict[str, list[str]] = {}
        for instance in instances:
            by_owner.setdefault(instance.identity.owner, []).append(instance.id)
        for owner, ids in by_owner.items():
            self._drop(owner, ids)

    def _drop(self, owner: str, ids: Sequence[str]) -> None:
        with self._pipeline(transaction=True) as pipe:
            for instance_id in ids:
                pipe.delete(*self._story(instance_id))
                pipe.zrem(self._keys.gone(owner), instance_id)
                pipe.zrem(self._keys.due, instance_id)
            pipe.execute()
