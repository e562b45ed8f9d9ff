"""What can be asked of the ledger: readings change nothing, and may be stale at once."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from openmultistack.ledger.catalogues import decode_catalogue
from openmultistack.ledger.decode import (
    RESTS,
    View,
    decode_instance,
    decode_region,
    decode_slots,
)
from openmultistack.ledger.keys import Keys
from openmultistack.ledger.queue import Queued, fair_order, queued_of
from openmultistack.ledger.scripts import FOREIGN, Scripts, unavailable
from openmultistack.models import Catalogue, Instance, RegionState, Resources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


class Readings:
    """The readings of one fleet's ledger; raises LedgerUnavailable when Redis does not answer."""

    def __init__(self, redis: "Redis", fleet: str, *, lease_ms: int) -> None:
        self._redis = redis
        self._keys = Keys(fleet)
        self._scripts = Scripts(redis)
        self._lease_ms = lease_ms
        self._catalogues: dict[str, tuple[str, Catalogue]] = {}
        self._unsuited: Mapping[str, tuple[str, Mapping[str, str]]] = {}

    def regions(self, names: Collection[str] | None = None) -> list[RegionState]:
        """Return what is known of these regions, or of all, in one or two round trips."""
        wanted = sorted(self._members() if names is None else names)
        with self._pipeline() as pipe:
            for name in wanted:
                pipe.hgetall(self._keys.region(name))
                pipe.hlen(self._keys.slots(name))
            answers = pipe.execute()
        rests = any(it in fields for fields in answers[::2] for it in RESTS)
        now_ms = self.now_ms() if rests else 0
        return [
            decode_region(name, fields, held, now_ms)
            for name, fields, held in zip(wanted, answers[::2], answers[1::2], strict=True)
        ]

    def catalogues(self, regions: Sequence[str]) -> dict[str, Catalogue]:
        """Return the catalogues of those of these regions that have one, in one or two round trips.

        Only what changed since the last time is read. `unsuited` is then of this moment, too.
        """
        with self._pipeline() as pipe:
            pipe.hgetall(self._keys.versions)
            pipe.hgetall(self._keys.unsuited)
            versions, unsuited = cast("list[dict[str, str]]", pipe.execute())
        self._read_unsuited(unsuited)
        there, known = [it for it in regions if it in versions], self._catalogues
        stale = [it for it in there if it not in known or known[it][0] != versions[it]]
        if stale:
            self._read_catalogues({it: versions[it] for it in stale})
        return {it: known[it][1] for it in there}

    def _read_catalogues(self, versions: Mapping[str, str]) -> None:
        with self._pipeline() as pipe:
            for region in versions:
                pipe.get(self._keys.catalogue(region))
            for (region, version), text in zip(versions.items(), pipe.execute(), strict=True):
                self._catalogues[region] = (version, decode_catalogue(text))

    def unsuited(self) -> Mapping[str, Mapping[str, str]]:
        """Return by region which kinds of orders it refused, as when catalogues were last read."""
        return {region: kinds for region, (_, kinds) in self._unsuited.items() if kinds}

    def _read_unsuited(self, versions: Mapping[str, str]) -> None:
        """Read of these regions what they refused, where that changed."""
        known = self._unsuited
        stale = [it for it in versions if it not in known or known[it][0] != versions[it]]
        kept = {it: known[it] for it in versions if it not in stale}
        if stale:
            with self._pipeline() as pipe:
                for region in stale:
                    pipe.hgetall(self._keys.refused(region))
                found = zip(stale, pipe.execute(), strict=True)
            kept |= {region: (versions[region], kinds) for region, kinds in found}
        self._unsuited = kept

    def get(self, instance_ids: Sequence[str]) -> list[Instance]:
        """Return those of the instances that are known, in the order asked."""
        with self._pipeline() as pipe:
            for instance_id in instance_ids:
                pipe.hgetall(self._keys.record(instance_id))
            return [decode_instance(fields) for fields in pipe.execute() if fields.get("id")]

    def events(self, instance_id: str) -> list[dict[str, Any]]:
        """Return an instance's story, oldest first; `at_ms` in each."""
        with self._pipeline() as pipe:
            pipe.lrange(self._keys.events(instance_id), 0, -1)
            return [json.loads(text) for text in pipe.execute()[0]]

    def page(
        self,
        owner: str,
        *,
        label: tuple[str, str] | None,
        gone: bool,
        after: str | None,
        limit: int,
    ) -> list[str]:
        """Return ids of an owner's instances, newest first, that come after a given id."""
        keys = self._keys
        index = keys.labelled(owner, *label) if label else keys.live(owner)
        with self._pipeline() as pipe:
            pipe.zrevrangebylex(
                keys.gone(owner) if gone else index,
                f"({after}" if after else "+",
                "-",
                start=0,
                num=limit,
            )
            return cast("list[str]", pipe.execute()[0])

    def rarest(self, owner: str, labels: Mapping[str, str]) -> tuple[str, str] | None:
        """Return which of these labels fewest of an owner's living instances have, if any is given.

        The ledger is asked only when there are several.
        """
        pairs = sorted(labels.items())
        if len(pairs) <= 1:
            return next(iter(pairs), None)
        with self._pipeline() as pipe:
            for key, value in pairs:
                pipe.zcard(self._keys.labelled(owner, key, value))
            return min(zip(pipe.execute(), pairs, strict=True))[1]

    def due(self, limit: int) -> list[str]:
        """Return ids whose time is up: to be destroyed, or if ended to be forgotten."""
        with self._pipeline() as pipe:
            pipe.zrange(
                self._keys.due, "-inf", str(self.now_ms()), byscore=True, offset=0, num=limit
            )
            return cast("list[str]", pipe.execute()[0])

    def queue(self) -> list[Queued]:
        """Return those who wait, in the order in which they will be served."""
        with self._pipeline() as pipe:
            pipe.zrange(self._keys.queue, 0, -1, withscores=True)
            waiting = [queued_of(member, score) for member, score in pipe.execute()[0]]
        owners = sorted({it.owner for it in waiting})
        held = {owner: usage.instances for owner, usage in self.usage(owners).items()}
        return fair_order(waiting, held)

    def usage(self, owners: Sequence[str]) -> dict[str, Resources]:
        """Return what owners' slots hold."""
        with self._pipeline() as pipe:
            for owner in owners:
                pipe.hmget(self._keys.usage(owner), *Resources._fields)
            return {
                owner: Resources(*(int(it or 0) for it in counts))
                for owner, counts in zip(owners, pipe.execute(), strict=True)
            }

    def now_ms(self) -> int:
        """Return Redis' clock, the only one that counts, in epoch milliseconds."""
        return int(self._scripts.run("clock", [self._keys.due]))

    def catalogue_age_ms(self, region: str) -> int | None:
        """Return how old a region's catalogue is; None if there is none, or it proved stale."""
        with self._pipeline() as pipe:
            pipe.hget(self._keys.region(region), "catalogue_at_ms")
            at_ms = pipe.execute()[0]
        return self.now_ms() - int(at_ms) if at_ms else None

    def view(self, region: str, seen: Collection[str]) -> View:
        """Return a region's slots, with the instances they and the ids `seen` belong to."""
        with self._pipeline() as pipe:
            pipe.hgetall(self._keys.slots(region))
            slots = decode_slots(pipe.execute()[0])
        ids = {slot.instance_id for slot in slots} | set(seen)
        return View(tuple(slots), {instance.id: instance for instance in self.get(sorted(ids))})

    def _story(self, instance_id: str) -> tuple[str, str]:
        return self._keys.record(instance_id), self._keys.events(instance_id)

    def _members(self) -> set[str]:
        with self._pipeline() as pipe:
            pipe.smembers(self._keys.regions)
            return cast("set[str]", pipe.execute()[0])

    @contextmanager
    def _pipeline(self, *, transaction: bool = False) -> "Iterator[Any]":
        try:
            with self._redis.pipeline(transaction=transaction) as pipe:
                yield pipe
        except FOREIGN as error:
            raise unavailable(error) from error
