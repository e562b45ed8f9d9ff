"""The acts of the end: destroy, release, forget; and renew, which puts it off."""

from collections.abc import Iterable
from typing import Literal, cast

from openmultistack.ledger.acts import Acting, Attempt
from openmultistack.models import Instance

Destroyed = Literal["DELETING", "EMPTY", "DELETED", "MOVED", "WANTED", "MISSING"]
OnlyIf = Literal["due", "unpromised", ""]

# How long a DELETED instance can still be shown and listed.
REMEMBER_MS = 24 * 3600 * 1000


class Ending(Acting):
    """The acts of the end."""

    def destroy(self, instance: Instance, *, why: str, only_if: OnlyIf = "") -> Destroyed:
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
                ],
                instance.id,
                instance.attempt,
                instance.region,
                why,
                only_if,
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
        keys = self._keys
        return bool(
            self._scripts.run(
                "release",
                [
                    *self._place_keys(attempt),
                    keys.usage(owner),
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
