"""The acts of a sweep and of operators: what a cloud shows, what a region said, what is drained."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from openmultistack.domain.models import Address, Catalogue, Instance, Resources, Status
from openmultistack.ledger.acts import AT_ONCE, Acting, Attempt
from openmultistack.ledger.catalogues import encode_catalogue
from openmultistack.ledger.decode import STRANGER_KINDS, StrangerKind
from openmultistack.ledger.idempotency import KEEP_KEY_MS
from openmultistack.ledger.records import encode_address, encode_identity
from openmultistack.ledger.texts import compact

Meaning = Literal["down", "full", "stale", "doubt", "paused", ""]


class Seen(NamedTuple):
    """An attempt's server as the cloud shows it."""

    attempt: Attempt
    server_id: str
    status: Status
    addresses: Sequence[Address]
    # The cloud's own word, where it says more.
    cloud_status: str = ""


class MarksSeen(NamedTuple):
    """What a sweep saw: strangers by kind; whether all but those known by their ids are signed."""

    strangers: Mapping[StrangerKind, int] = {}
    all_signed: bool = False


class Observing(Acting):
    """The acts of a sweep and of operators."""

    def observe(
        self, attempt: Attempt, *, server_id: str, status: Status, addresses: Sequence[Address]
    ) -> None:
        """Write down what the cloud shows of an attempt's server; see observe.lua."""
        self.observe_all([Seen(attempt, server_id, status, addresses)])

    def observe_all(self, seen: Sequence[Seen]) -> None:
        """Write down what the cloud shows of servers in one region, many at a time."""
        for start in range(0, len(seen), AT_ONCE):
            some = seen[start : start + AT_ONCE]
            stories = [key for it in some for key in self._story(it.attempt.instance_id)]
            place = self.place_of(some[0].attempt.region)
            ask = {"region": place, "attempts": [_seen(it) for it in some]}
            keys = [*self._place_keys(some[0].attempt), self._keys.shares]
            keys += [self._keys.orders, *stories]
            self._scripts.run("observe", keys, json.dumps(ask))

    def hold(
        self,
        found: Instance,
        need: Resources,
        *,
        building: bool = False,
        failed: str | None = None,
        was_in: str | None = None,
    ) -> bool:
        """Count a marked server, and adopt its instance where that gives way; see hold.lua.

        `failed`: what a server in ERROR says. `was_in`: another region in which the ledger has this
        very server. Returns whether the instance was adopted.
        """
        identity = found.identity
        ask: dict[str, object] = {
            "id": found.id,
            "attempt": found.attempt,
            "region": self.place_of(found.region),
            "server_id": found.server_id,
            "owner": identity.owner,
            "building": building,
            **({} if failed is None else {"failed": failed}),
            **({} if was_in is None else {"was_in": self.place_of(was_in)}),
            "need": need._asdict(),
            "expires_at_ms": identity.expires_at_ms,
            **_record(found),
        }
        if identity.idempotency:
            digest, body, index = identity.idempotency.split(":")
            ask["key"] = {"digest": digest, "body": body, "index": index, "keep_ms": KEEP_KEY_MS}
        keys = self._keys_to_hold(found, was_in or found.region)
        return bool(self._scripts.run("hold", keys, json.dumps(ask)))

    def _keys_to_hold(self, found: Instance, was_in: str) -> list[str]:
        keys, attempt = self._keys, Attempt(found.id, found.attempt, found.region)
        identity = found.identity
        return [
            *self._place_keys(attempt),
            keys.usage(identity.owner),
            *self._story(found.id),
            keys.due,
            keys.idempotency(identity.owner, identity.idempotency.partition(":")[0]),
            keys.queue,
            keys.gone(identity.owner),
            keys.shares,
            keys.heads,
            keys.line(identity.owner),
            *self._place_keys(attempt._replace(region=was_in)),
            keys.keyed(identity.owner),
            *keys.indices(identity.owner, identity.labels),
        ]

    def prolong(self, attempt: Attempt, expires_at_ms: int) -> bool:
        """Take over a later expiry than the ledger ever knew; see prolong.lua."""
        keys = [*self._story(attempt.instance_id), self._keys.due]
        place = self.place_of(attempt.region)
        return bool(self._scripts.run("prolong", keys, *attempt[:2], place, expires_at_ms))

    def survey(
        self,
        region: str,
        *,
        cap: Resources,
        foreign: Resources,
        catalogue: Catalogue | None,
        max_building: int | None = None,
        starts_per_minute: int | None = None,
        retiring: bool = False,
        marks_seen: MarksSeen | None = None,
    ) -> None:
        """A sweep saw the region well: take its caps and bounds, foreign usage and catalogue.

        One that is `retiring` takes nothing new.
        """
        fields: dict[str, object] = {f"cap_{what}": n for what, n in cap._asdict().items()}
        fields |= {f"foreign_{what}": count for what, count in foreign._asdict().items()}
        fields["max_building"] = "" if max_building is None else max_building
        fields["starts_per_minute"] = "" if starts_per_minute is None else starts_per_minute
        fields |= _fields_of(marks_seen or MarksSeen())
        keys = self._keys
        self._scripts.run(
            "survey",
            [
                keys.regions,
                keys.region(region),
                keys.catalogue(region),
                keys.versions,
                keys.slots(region),
                keys.shares,
                keys.numbers,
                keys.version,
                keys.unsuited,
                keys.refused(region),
            ],
            self.place_of(region),
            json.dumps(fields | {"state": "retiring" if retiring else "up"}),
            encode_catalogue(catalogue) if catalogue else "",
        )

    def report(self, region: str, error: str, means: Meaning, *, pause_s: float = 0) -> None:
        """Write down what a region said and what follows for placements; see report.lua."""
        keys = [self._keys.regions, self._keys.region(region), self._keys.shares]
        place = self.place_of(region)
        self._scripts.run("report", keys, place, error, means, round(pause_s * 1000))

    def drain(self, region: str, why: str) -> None:
        """Let nothing new into a region until it is opened; what is there stays."""
        self._drain(region, "drain", why)

    def open(self, region: str) -> None:
        """End a drain."""
        self._drain(region, "open", "")

    def _drain(self, region: str, what: Literal["drain", "open"], why: str) -> None:
        keys = self._keys
        of_region = [keys.regions, keys.region(region), keys.slots(region), keys.shares]
        self._scripts.run("drain", of_region, self.place_of(region), what, why)


def _seen(it: Seen) -> dict[str, object]:
    return {
        "id": it.attempt.instance_id,
        "attempt": it.attempt.number,
        "server_id": it.server_id,
        "status": it.status,
        "cloud_status": it.cloud_status,
        # None known: those known before stay.
        "addresses": compact([encode_address(one) for one in it.addresses]) if it.addresses else "",
    }


def _record(found: Instance) -> dict[str, object]:
    """Return what an adopted instance's record says of it, and what it must not say."""
    told = encode_identity(found.identity)
    fields = {name: text for name, text in told.items() if text}
    return {
        "fields": {
            **fields,
            "image": found.image,
            "flavor": found.flavor,
            "created_at_ms": found.identity.created_at_ms,
        },
        "without": [it for it in told if it not in fields],
    }


def _fields_of(seen: MarksSeen) -> dict[str, object]:
    """Return what of a region's hash tells of marks; once all are signed that stays."""
    counts = {f"strangers_{it}": seen.strangers.get(it, "") for it in STRANGER_KINDS}
    return {**counts, **({"all_signed": 1} if seen.all_signed else {})}
