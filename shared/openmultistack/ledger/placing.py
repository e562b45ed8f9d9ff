"""The acts of a create: reserve, prove, move on, wait, serve those who wait."""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from openmultistack.domain.models import Instance, Offer, Quota, Status
from openmultistack.ledger.acts import Acting, Attempt, Pick, candidates, compact, need_of
from openmultistack.ledger.queue import member_of
from openmultistack.ledger.shares import Shares, is_long, short_list

if TYPE_CHECKING:  # a ledger that is only read needs no pydantic
    from openmultistack.domain.commands import CreateInstances

# What an instance is tried again by, beside what its record says of it anyway.
ORDERED = {"image", "size", "ssh_public_key", "user_data", "regions", "strategy", "on_full"}

# How long an idempotency key stands for what it made.
KEEP_KEY_MS = 24 * 3600 * 1000
# None of them is forgotten before that; of one owner's so many at once are remembered, where one
# counts once for every ten of its instances.
KEYS_MAX = 100_000


class Key(NamedTuple):
    """A client's idempotency key: digests of it, and of the command that came with it."""

    digest: str
    body: str


class Waiting(NamedTuple):
    """How the rest of a command may wait: in which place, so long, with at most so many others."""

    priority: int
    max_queued: int
    wait_ms: int
    # Of the same owner.
    max_of_owner: int


class Wish(NamedTuple):
    """A command with all that decides whether it is admitted."""

    owner: str
    command: "CreateInstances"
    ids: Sequence[str]
    offers: Sequence[Offer]
    pick: Pick
    ttl_ms: int
    quota: Quota = Quota()
    # How many commands of the owner's are admitted in a minute, whatever they ask for.
    commands_per_minute: int | None = None
    key: Key | None = None
    waiting: Waiting | None = None
    # How free the regions were a moment ago; read by the act where it needs them and has none.
    shares: Shares | None = None


Outcome = Literal[
    "placed",
    "full",
    "quota",
    "rate",
    "command_rate",
    "queue_full",
    "owner_queue_full",
    "keys_full",
    "conflict",
    "repeated",
]


class Admitted(NamedTuple):
    """What `place` answered: the attempts that hold a slot, and the instances that wait."""

    outcome: Outcome
    attempts: tuple[Attempt, ...]
    queued: tuple[str, ...]
    free: int
    created_at_ms: int
    retry_ms: int


class Moved(NamedTuple):
    """What `move` answered; `attempt` is there only when it moved."""

    outcome: Literal["moved", "queued", "none", "ended"]
    attempt: Attempt | None = None


class Served(NamedTuple):
    """One that waits, as `serve` is to consider it."""

    instance: Instance
    offer: Offer


class Placing(Acting):
    """The acts of a create."""

    def place(self, wish: Wish) -> Admitted:
        """Reserve slots for a command among the ranked offers; see place.lua.

        Of many offers a few are looked at, and all only when these have too little room.
        """
        ids = wish.ids
        asked = self._short_list(wish.offers, wish.pick, len(ids), wish.shares)
        answer = self._place(wish, asked)
        if answer["outcome"] == "short":
            asked = wish.offers
            answer = self._place(wish, asked)
        places = answer["regions"] or ()
        names = self._names_of(places, asked)
        placed = [(i, names[place]) for i, place in zip(ids, places, strict=False)]
        return Admitted(
            outcome=answer["outcome"],
            attempts=tuple(Attempt(i, 1, region) for i, region in placed if region),
            queued=tuple(i for i, region in placed if not region),
            free=int(answer["free"]),
            created_at_ms=int(answer["now_ms"]),
            retry_ms=int(answer.get("retry_ms", 0)),
        )

    def _place(self, wish: Wish, offers: Sequence[Offer]) -> dict[str, Any]:
        keys, owner = self._keys, wish.owner
        return self._ask(
            "place",
            [
                *self._region_keys(offers),
                *(key for i in wish.ids for key in self._story(i)),
                keys.due,
                keys.queue,
                keys.usage(owner),
                keys.idempotency(owner, wish.key.digest if wish.key else ""),
                keys.shares,
                keys.heads,
                keys.line(owner),
                keys.orders,
                keys.keyed(owner),
                *keys.indices(owner, wish.command.labels),
            ],
            self._wish(wish) | candidates(offers, self.place_of),
        )

    def _short_list(
        self, offers: Sequence[Offer], pick: Pick, count: int, shares: Shares | None = None
    ) -> Sequence[Offer]:
        if not is_long(offers, count):
            return offers
        return short_list(offers, shares or self.shares(), pick, count)

    def _wish(self, wish: Wish) -> dict[str, object]:
        command, key = wish.command, wish.key
        ask: dict[str, object] = {
            "pick": wish.pick,
            "partial": command.partial,
            "lease_ms": self._lease_ms,
            "ttl_ms": wish.ttl_ms,
            "ids": wish.ids,
            "fields": _fields(wish),
            "quota": wish.quota.bounds(),
            "of": len(wish.offers),
        }
        if wish.commands_per_minute is not None:
            ask["commands_per_minute"] = wish.commands_per_minute
        if key:
            mark = f"{key.digest}:{key.body}"
            told = {"digest": key.digest, "body": key.body, "mark": mark}
            ask["key"] = told | {"keep_ms": KEEP_KEY_MS, "max": KEYS_MAX}
        if wish.waiting:
            ask["queue"] = _queue(wish, wish.waiting)
        return ask

    def commit(self, attempt: Attempt, server_id: str) -> bool:
        """Record an accepted server; False: it is not wanted any more, delete it."""
        answer = self._scripts.run(
            "commit",
            [
                *self._story(attempt.instance_id),
                *self._place_keys(attempt),
                self._keys.shares,
            ],
            attempt.instance_id,
            attempt.number,
            self.place_of(attempt.region),
            server_id,
        )
        return answer != "UNWANTED"

    def move(  # noqa: PLR0913  each says another thing about the same failure
        self,
        attempt: Attempt,
        *,
        owner: str,
        why: str,
        keep: bool,
        blame: bool,
        promised: bool,
        wait: bool,
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
            "from": self.place_of(attempt.region),
            "from_name": self._places.name_of(self.place_of(attempt.region)),
            "owner": owner,
            "keep": keep,
            "blame": blame,
            "promised": promised,
            "wait": wait,
            "why": why,
            "pick": pick,
            "lease_ms": self._lease_ms,
            "nonce": secrets.token_hex(8),
            "of": len(offers),
        }
        answer = self._move(attempt, ask, self._short_list(offers, pick, 1))
        if answer["outcome"] == "short":
            answer = self._move(attempt, ask, offers)
        if answer["outcome"] != "moved":
            return Moved(answer["outcome"])
        (region,) = self._names_of([answer["region"]], offers).values()
        return Moved("moved", Attempt(attempt.instance_id, attempt.number + 1, region))

    def _move(
        self, attempt: Attempt, ask: dict[str, object], offers: Sequence[Offer]
    ) -> dict[str, Any]:
        keys, owner = self._keys, str(ask["owner"])
        return self._ask(
            "move",
            [
                *self._story(attempt.instance_id),
                keys.usage(owner),
                keys.queue,
                *self._place_keys(attempt),
                keys.shares,
                keys.heads,
                keys.line(owner),
                keys.orders,
                *self._region_keys(offers),
            ],
            ask | candidates(offers, self.place_of),
        )

    def serve(self, region: str, waiting: Sequence[Served]) -> tuple[dict[Attempt, int], bool]:
        """Give a region's room to those who wait, in this order, and tell whether more is left.

        Returns the attempts, each with its instance's expiry: what counted before was how long it
        may wait.
        """
        keys = self._keys
        stories = [
            (*self._story(it.id), keys.usage(it.owner), keys.line(it.owner)) for it, _ in waiting
        ]
        answer = self._ask(
            "serve",
            [
                keys.region(region),
                keys.slots(region),
                keys.queue,
                keys.due,
                keys.shares,
                keys.heads,
                *(key for story in stories for key in story),
            ],
            {
                "region": self.place_of(region),
                "lease_ms": self._lease_ms,
                "waiting": [_served(it.instance, it.offer) for it in waiting],
            },
        )
        placed: Iterable[Mapping[str, Any]] = answer["placed"] or ()
        attempts = {
            Attempt(it["id"], int(it["attempt"]), region): int(it["expires_at_ms"]) for it in placed
        }
        return attempts, bool(answer["more"])

    def fail(self, attempt: Attempt, error: str) -> Status | None:
        """The instance's server failed for good: ERROR, until destroyed or expired."""
        keys = [*self._story(attempt.instance_id), self._keys.orders]
        place = self.place_of(attempt.region)
        answer = self._scripts.run("fail", keys, attempt.number, place, error)
        return Status(str(answer)) if answer else None

    # ---------------------------------------------------------------- idempotency keys

    def made_under(self, owner: str, key: Key) -> list[str]:
        """Return the ids that a key stands for, in the order of the command; none if unknown."""
        with self._pipeline() as pipe:
            pipe.hgetall(self._keys.idempotency(owner, key.digest))
            fields = pipe.execute()[0]
        return [fields[it] for it in sorted((it for it in fields if it.isdecimal()), key=int)]

    def promise(self, owner: str, key: Key, ids: Sequence[str]) -> bool:
        """Have a key's instances kept, whoever makes them; False if any was given up meanwhile."""
        return bool(self._scripts.run("promise", self._keyed(owner, key, ids), *ids))

    def leave_out(self, owner: str, key: Key, ids: Sequence[str]) -> list[str]:
        """Have a key stand for others of its instances only; return those nobody was told of."""
        left_out = self._scripts.run("leave_out", self._keyed(owner, key, ids), *ids)
        return list(json.loads(str(left_out)))

    def give_key_back(
        self, owner: str, key: Key, ids: Sequence[str], *, even_promised: bool = False
    ) -> None:
        """Let a key be used anew, if it still stands for this command and nobody was told."""
        keys = [self._keys.keyed(owner), *self._keyed(owner, key, ids)]
        self._scripts.run("unkey", keys, key.digest, ids[0], "even" if even_promised else "")

    def _keyed(self, owner: str, key: Key, ids: Sequence[str]) -> list[str]:
        return [self._keys.idempotency(owner, key.digest), *map(self._keys.record, ids)]


def _fields(wish: Wish) -> dict[str, str]:
    """Return what the records of a command's instances have in common.

    What is usual is left out: while no value is longer than 64 bytes, Redis keeps a record in half
    the memory (`hash-max-listpack-value`).
    """
    command = wish.command
    fields = {
        "owner": wish.owner,
        "name": command.name,
        "labels": compact(command.labels),
        "order": command.model_dump_json(include=ORDERED, exclude_defaults=True),
    }
    if command.ssh_public_key:
        fields["has_keypair"] = "1"
    if wish.quota != Quota():
        fields["quota"] = compact(wish.quota.bounds())
    return fields


def _queue(wish: Wish, waiting: Waiting) -> dict[str, object]:
    command = wish.command
    size = command.size if isinstance(command.size, str) else command.size.model_dump_json()
    return {
        "members": [member_of(waiting.priority, wish.owner, i) for i in wish.ids],
        "max": waiting.max_queued,
        "max_of_owner": waiting.max_of_owner,
        "wait_ms": waiting.wait_ms,
        "fields": {"image": command.image, "flavor": size},
    }


def _served(instance: Instance, offer: Offer) -> dict[str, object]:
    return {
        "id": instance.id,
        "owner": instance.owner,
        "quota": instance.quota.bounds(),
        **need_of(offer),
    }
