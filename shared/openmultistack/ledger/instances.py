"""Reading of instances: by id, as an owner lists them, by region, with their stories."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from openmultistack.domain.models import Instance
from openmultistack.ledger.connected import Connected, each_answer
from openmultistack.ledger.decode import (
    View,
    decode_event,
    decode_slot,
    decode_stranger,
    read_all,
)
from openmultistack.ledger.records import decode_instance


class InstanceReadings(Connected):
    """What is known of instances."""

    def get(self, instance_ids: Sequence[str]) -> list[Instance]:
        """Return those of the instances that are known, in the order asked."""
        return self._get(instance_ids, {})[0]

    def _get(
        self, instance_ids: Sequence[str], shown: Mapping[str, str]
    ) -> tuple[list[Instance], list[str]]:
        """Return instances, and the ids of those that are there and cannot be read.

        `shown`: names of places that count more than those of now.
        """
        if not instance_ids:
            return [], []
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)
            for instance_id in instance_ids:
                pipe.hgetall(self._keys.record(instance_id))
            version, *found = each_answer(pipe)
        self._notice(version)
        names = self._places

        def name_of(place: str) -> str:
            return shown.get(place) or names.name_of(place)

        there = [(it, fields) for it, fields in zip(instance_ids, found, strict=True) if fields]
        return read_all("instance", there, lambda fields: decode_instance(fields, name_of))

    def order_of(self, instance: Instance) -> str | None:
        """Return what an instance was ordered as; None if it is ordered no more.

        Asks the ledger only for a long one.
        """
        if not instance.order or not instance.order.startswith("@"):
            return instance.order
        with self._pipeline() as pipe:
            pipe.hget(self._keys.orders, instance.order)
            return cast("str | None", pipe.execute()[0])

    def events(self, instance_id: str) -> list[dict[str, Any]]:
        """Return an instance's story, oldest first; `at_ms` in each. Renames are told, too."""
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)
            pipe.lrange(self._keys.events(instance_id), 0, -1)
            version, texts = pipe.execute()
        self._notice(version)
        events, _ = read_all("event", [(instance_id, text) for text in texts], decode_event)
        return self._places.with_renames(events)

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

    def view(self, region: str, seen: Collection[str]) -> View:
        """Return a region's slots, with the instances they and the ids `seen` belong to."""
        version, fields, strange, all_signed = self._read_slots_of(region)
        if self._notice(version):
            _, fields, strange, all_signed = self._read_slots_of(region)
        there = [(name, (name, text)) for name, text in fields.items()]
        slots, odd_slots = read_all("slot", there, lambda it: decode_slot(*it))
        ids = {slot.instance_id for slot in slots} | set(seen)
        found, odd = self._get(sorted(ids), {self.place_of(region): region})
        unreadable = frozenset(odd) | {name.rpartition("/")[0] for name in odd_slots}
        told = [(server, (server, text)) for server, text in strange.items()]
        strangers, _ = read_all("stranger", told, lambda it: (it[0], decode_stranger(it[1])))
        return View(
            tuple(slots), {it.id: it for it in found}, unreadable, dict(strangers), bool(all_signed)
        )

    def _read_slots_of(
        self, region: str
    ) -> tuple[str | None, Mapping[str, str], Mapping[str, str], str | None]:
        """Return the version of the names, and of a region slots and strangers as known here."""
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)
            pipe.hgetall(self._keys.slots(region))
            pipe.hgetall(self._keys.strangers(region))
            pipe.hget(self._keys.region(region), "all_signed")
            version, fields, strange, all_signed = pipe.execute()
        return version, fields, strange, all_signed
