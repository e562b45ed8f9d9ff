"""What can be asked of the ledger: readings change nothing, and may be stale at once."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from openmultistack.domain.models import Catalogue, Instance, RegionState, Resources
from openmultistack.ledger.catalogues import decode_catalogue
from openmultistack.ledger.decode import (
    RESTS,
    View,
    decode_event,
    decode_instance,
    decode_region,
    decode_slot,
    decode_stranger,
    read_all,
)
from openmultistack.ledger.keys import Keys
from openmultistack.ledger.places import Places, decode_places
from openmultistack.ledger.queue import Head, Queued, fair_order, head_of, in_line, queued_of
from openmultistack.ledger.scripts import FOREIGN, Scripts, unavailable
from openmultistack.ledger.shares import Numbers, Shares

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


# So many of a long list are read in one step.
READ_AT_ONCE = 1000


class _Offered(NamedTuple):
    """What was read last of the regions asked for, and the version that it had."""

    version: str
    regions: Sequence[str]
    catalogues: Mapping[str, Catalogue]
    numbers: Numbers


class Readings:
    """The readings of one fleet's ledger; raises LedgerUnavailable when Redis does not answer."""

    def __init__(self, redis: "Redis", fleet: str, *, lease_ms: int) -> None:
        self._redis = redis
        self._names: Places | None = None
        self._keys = Keys(fleet, self.place_of)
        self._scripts = Scripts(redis)
        self._lease_ms = lease_ms
        self._catalogues: dict[str, tuple[str, Catalogue]] = {}
        self._offered = _Offered("", (), {}, Numbers({}))
        # By place: the version of what it refused, and that.
        self._unsuited: Mapping[str, tuple[str, Mapping[str, str]]] = {}

    @property
    def _places(self) -> Places:
        """The names as this process knows them; it looks them up before it uses one at all."""
        if self._names is None:
            self.look_up_names()
        return self._names or Places()

    def place_of(self, region: str) -> str:
        """Return the key of a region's state, as far as this process knows; see Places."""
        return self._places.place_of(region)

    def name_of(self, place: str) -> str:
        """Return the name of a place, as far as this process knows; see Places."""
        return self._places.name_of(place)

    def look_up_names(self) -> None:
        """Read which place each name stands for now."""
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)
            pipe.hgetall(self._keys.named)
            pipe.hgetall(self._keys.places)
            version, named, places = pipe.execute()
        self._names = decode_places(version or "", named, places, self._names or Places())

    def _notice(self, version: str | None) -> bool:
        """Read the names anew if the ledger has changed since the last time; tell whether it had.

        What was asked for by name is then to be read again: another place may be meant.
        """
        changed = (version or "") != self._places.version
        if changed:
            self.look_up_names()
        return changed

    def regions(self, names: Collection[str] | None = None) -> list[RegionState]:
        """Return what is known of these regions, or of all that take part, in a few round trips."""
        version, places, answers = self._read_regions(names)
        if self._notice(version):
            _, places, answers = self._read_regions(names)
        rests = any(it in fields for fields in answers[::2] for it in RESTS)
        now_ms = self.now_ms() if rests else 0

        def decode(it: tuple[str, Mapping[str, str], int]) -> RegionState:
            return decode_region(*it, now_ms)

        told = list(zip(places.values(), answers[::2], answers[1::2], strict=True))
        found, unreadable = read_all("region", [(it[0], it) for it in told], decode)
        # As one that was never swept.
        found += [decode_region(name, {}, held, 0) for name, _, held in told if name in unreadable]
        listed = [it for it in found if names is not None or it.state != "retired"]
        return sorted(listed, key=lambda it: it.region)

    def _read_regions(
        self, names: Collection[str] | None
    ) -> tuple[str | None, Mapping[str, str], Sequence[Any]]:
        """Return the version of the names, the name of each place, and what is kept of it."""
        if names is None:
            places = {it: self._places.name_of(it) for it in self._members()}
        else:
            places = {self.place_of(it): it for it in names}
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)
            for place in places:
                pipe.hgetall(self._keys.region(place))
                pipe.hlen(self._keys.slots(place))
            version, *answers = pipe.execute()
        return version, places, answers

    def offered(self, regions: Sequence[str]) -> tuple[Mapping[str, Catalogue], Shares]:
        """Return the catalogues of those of these regions that have one, and how free all are.

        In one round trip, and up to two more for what changed since the last time. While nothing
        has, the catalogues are the same object. `unsuited` is then of this moment, too.
        """
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)  # no MGET: a Cluster's pipeline takes none
            pipe.get(self._keys.shares)
            version, shares = pipe.execute()
        known = self._offered
        if not version or version != known.version or regions != known.regions:
            self._offered = known = self._read_offered(version or "", regions)
        return known.catalogues, Shares(known.numbers, shares or "")

    def catalogues(self, regions: Sequence[str]) -> Mapping[str, Catalogue]:
        """Return the catalogues of those of these regions that have one; see `offered`."""
        return self.offered(regions)[0]

    def shares(self) -> Shares:
        """Return how free the regions are now."""
        return self.offered(self._offered.regions)[1]

    def _read_offered(self, version: str, regions: Sequence[str]) -> _Offered:
        with self._pipeline() as pipe:
            pipe.hgetall(self._keys.versions)
            pipe.hgetall(self._keys.numbers)
            pipe.hgetall(self._keys.unsuited)
            versions, numbers, unsuited = pipe.execute()
        self._notice(version)
        self._read_unsuited(unsuited)
        places = {it: self.place_of(it) for it in regions}
        # One without a number is not on short lists but by chance.
        told = {at: number for at, number in numbers.items() if number.isdecimal()}
        there, known = [it for it in regions if places[it] in versions], self._catalogues
        stale = {places[it] for it in there}
        stale -= {it for it in stale if it in known and known[it][0] == versions[it]}
        if stale:
            self._read_catalogues({it: versions[it] for it in stale})
        return _Offered(
            version=version,
            regions=regions,
            catalogues={it: known[places[it]][1] for it in there},
            numbers=Numbers(
                {self._places.name_of(at): int(number) for at, number in told.items()}
                | {it: int(told[at]) for it, at in places.items() if at in told}
            ),
        )

    def _read_catalogues(self, versions: Mapping[str, str]) -> None:
        with self._pipeline() as pipe:
            for region in versions:
                pipe.get(self._keys.catalogue(region))
            texts = dict(zip(versions, pipe.execute(), strict=True))

        def decode(region: str) -> tuple[str, Catalogue]:
            return region, decode_catalogue(texts[region])

        found, unreadable = read_all("catalogue", [(it, it) for it in versions], decode)
        known = dict(found) | dict.fromkeys(unreadable, Catalogue())
        self._catalogues |= {it: (versions[it], catalogue) for it, catalogue in known.items()}

    def unsuited(self) -> Mapping[str, Mapping[str, str]]:
        """Return by region which kinds of orders it refused, as when catalogues were last read."""
        known = self._unsuited.items()
        return {self._places.name_of(place): kinds for place, (_, kinds) in known if kinds}

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
            version, *found = pipe.execute()
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

    def queue(self) -> list[Queued]:
        """Return all who wait, in the order in which they will be served.

        For who asks about a place in it: it is read in many steps, so that no other act waits long.
        """
        try:
            scores = dict(self._redis.zscan_iter(self._keys.queue, count=READ_AT_ONCE))
        except FOREIGN as error:
            raise unavailable(error) from error
        waiting, _ = read_all(
            "queue", [(it[0], it) for it in scores.items()], lambda it: queued_of(*it)
        )
        owners = sorted({it.owner for it in waiting})
        held = {owner: usage.instances for owner, usage in self.usage(owners).items()}
        return fair_order(waiting, held)

    def queue_length(self) -> int:
        """Return how many wait."""
        with self._pipeline() as pipe:
            pipe.zcard(self._keys.queue)
            return int(pipe.execute()[0])

    def next_in_queue(self, limit: int) -> list[Queued]:
        """Return the first so many of `queue`, at a cost that does not grow with how many wait.

        Of the owners to come first so many suffice, and of each those of them who wait first.
        """
        heads = self._heads(limit)
        held = {it.first.owner: it.holds for it in heads}
        with self._pipeline() as pipe:
            for owner in held:
                pipe.zrange(self._keys.line(owner), 0, limit - 1, withscores=True)
            lines = pipe.execute()
        there = [(it[0], it) for line in lines for it in line]
        waiting, _ = read_all("queue", there, lambda it: in_line(*it))
        return fair_order(waiting, held)[:limit]

    def _heads(self, limit: int) -> list[Head]:
        with self._pipeline() as pipe:
            pipe.zrange(self._keys.heads, 0, limit - 1, withscores=True)
            there = [(it[0], it) for it in pipe.execute()[0]]
        return read_all("queue", there, lambda it: head_of(*it))[0]

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
        return self.now_ms() - int(at_ms) if (at_ms or "").isdecimal() else None

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
