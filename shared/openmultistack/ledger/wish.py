"""What a create asks of the ledger, and in which words the ledger is told of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from openmultistack.domain.models import Instance, Offer, Quota
from openmultistack.ledger import idempotency
from openmultistack.ledger.acts import Attempt, Pick, need_of
from openmultistack.ledger.idempotency import Key
from openmultistack.ledger.queue import member_of
from openmultistack.ledger.records import encode_identity, encode_order
from openmultistack.ledger.shares import Shares
from openmultistack.ledger.texts import compact

if TYPE_CHECKING:  # a ledger that is only read needs no pydantic
    from openmultistack.domain.commands import CreateInstances


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


class Served(NamedTuple):
    """One that waits, as `serve` is to consider it."""

    instance: Instance
    offer: Offer


def told_of_wish(wish: Wish, lease_ms: int) -> dict[str, object]:
    """Return what place.lua is told of a command, beside its offers."""
    command, key = wish.command, wish.key
    ask: dict[str, object] = {
        "pick": wish.pick,
        "partial": command.partial,
        "lease_ms": lease_ms,
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
        ask["key"] = told | {"keep_ms": idempotency.KEEP_KEY_MS, "max": idempotency.KEYS_MAX}
    if wish.waiting:
        ask["queue"] = _queue(wish, wish.waiting)
    return ask


def _fields(wish: Wish) -> dict[str, str]:
    """Return what the records of a command's instances have in common."""
    told = encode_identity(wish.command.identity(wish.owner))
    fields = {name: text for name, text in told.items() if text}
    fields["order"] = encode_order(wish.command)
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


def told_of_served(it: Served) -> dict[str, object]:
    """Return what serve.lua is told of one that waits."""
    return {
        "id": it.instance.id,
        "owner": it.instance.identity.owner,
        "quota": it.instance.quota.bounds(),
        **need_of(it.offer),
    }
