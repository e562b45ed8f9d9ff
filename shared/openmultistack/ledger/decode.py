"""What Redis returns, as values.

A record that cannot be read, be it damaged or of a version to come, stops nobody: it is left out,
and the log tells of it. Nothing of it is changed.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_args

from openmultistack.domain.models import Instance, Resources
from openmultistack.domain.regions import RegionHealth, RegionState, repeating
from openmultistack.domain.resources import AMOUNTS, LEAST, UNBOUNDED
from openmultistack.ledger.texts import read_ms, read_text
from openmultistack.logs import tell

Kept = TypeVar("Kept")
Value = TypeVar("Value")

# What comes of reading what is not as we write it.
_DAMAGE = (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)

# Until when a region rests: by its breaker, and by its provider's wish.
RESTS = ("open_until_ms", "paused_until_ms")


class Slot(NamedTuple):
    """A place in a region held by one attempt at one instance."""

    instance_id: str
    attempt: int
    owner: str
    need: Resources
    # When it was placed, or if proven when it was committed or adopted.
    since_ms: int
    # How long it may stay unproven; None once the cloud is known to have the server.
    lease_until_ms: int | None
    server_id: str | None


StrangerKind = Literal["copy", "spoilt", "unsigned", "unverified"]
STRANGER_KINDS: tuple[StrangerKind, ...] = get_args(StrangerKind)


class Stranger(NamedTuple):
    """A server that says it is of the fleet's, counts as foreign, and is let alone.

    `copy`: its marks are good, and another server is that attempt's. `spoilt`: the other way round,
    it is an attempt's by its id, and says nothing of it: it has its slot, and no destroy reaches
    it. See `clouds.port.Claim`.
    """

    kind: StrangerKind
    instance_id: str
    attempt: int


class View(NamedTuple):
    """One region as the ledger has it at one moment."""

    slots: tuple[Slot, ...]
    instances: Mapping[str, Instance]
    # Ids of those that are there, and of which slot or record cannot be read.
    unreadable: frozenset[str] = frozenset()
    # By server id, as the last sweep found them.
    strangers: Mapping[str, Stranger] = {}
    # A sweep has found no server without a signature but those that the ledger knew by their ids.
    all_signed: bool = False


def read_all(
    what: str, found: Iterable[tuple[str, Kept]], decode: Callable[[Kept], Value]
) -> tuple[list[Value], list[str]]:
    """Return what can be read of things found by name, and the names of what cannot."""
    values, unreadable = [], []
    for name, kept in found:
        try:
            values.append(decode(kept))
        except _DAMAGE:
            unreadable.append(name)
    if unreadable:
        tell("unreadable", "warning", what=what, count=len(unreadable), names=unreadable)
    return values, unreadable


def read_count(value: str | float) -> int:
    """Return a whole number; as the scripts take one (_slots.lua), whatever it is written as."""
    number = float(value)
    if not 0 <= number < 2**53 or number % 1:
        raise ValueError("expected a whole number")
    return int(number)


def read_need(slot: Mapping[str, Any]) -> Resources:
    """Return what a slot takes; as the scripts read it (_slots.lua)."""
    told = (slot[it] if getattr(LEAST, it) else slot.get(it, 0) for it in AMOUNTS)
    return Resources(1, *map(read_count, told))


def decode_slot(name: str, text: str) -> Slot:
    """Return a slot of a region's hash."""
    instance_id, _, attempt = name.rpartition("/")
    value = json.loads(text)
    return Slot(
        instance_id=instance_id,
        attempt=int(attempt),
        owner=read_text(value["owner"]),
        need=read_need(value),
        since_ms=int(value["since_ms"]),
        lease_until_ms=int(value["lease_until_ms"]) if "lease_until_ms" in value else None,
        server_id=read_text(value["server_id"]) if "server_id" in value else None,
    )


def decode_event(text: str) -> dict[str, Any]:
    """Return an event of an instance's story, its region by place."""
    event = json.loads(text)
    known = {"region": read_text(event["region"]), "what": read_text(event["what"])}
    return {**event, **known, "at_ms": read_ms(event["at_ms"]), "attempt": int(event["attempt"])}


def decode_stranger(text: str) -> Stranger:
    """Return a stranger from JSON."""
    kind, instance_id, attempt = json.loads(text)
    if kind not in STRANGER_KINDS:
        raise ValueError("expected a kind of stranger")
    return Stranger(kind, read_text(instance_id), int(attempt))


def decode_region(
    name: str, fields: Mapping[str, str], held_instances: int, now_ms: int
) -> RegionState:
    """Return the state of a region's hash; one that was never swept is unknown."""

    def resources(kind: str, unsaid: Resources = Resources()) -> Resources:  # noqa: B008  a value
        told = ((f"{kind}_{what}", count) for what, count in unsaid._asdict().items())
        return Resources(*(int(fields.get(field, count)) for field, count in told))

    def number(field: str) -> int | None:
        return int(float(fields[field])) if field in fields else None

    return RegionState(
        region=name,
        state=_health(fields, now_ms),
        # A sweep before that of a version that counts more bounded less; see _rooms.lua.
        cap=resources("cap", UNBOUNDED if "cap_instances" in fields else Resources()),
        held=resources("held")._replace(instances=held_instances),
        foreign=resources("foreign"),
        building=number("building") or 0,
        max_building=number("max_building"),
        starts_per_minute=number("starts_per_minute"),
        full=fields.get("full") == "1",
        drained=fields.get("drained"),
        resting_ms=max(0, *(int(float(fields.get(it, 0))) - now_ms for it in RESTS)),
        last_error=_last_error(fields),
        last_error_at_ms=number("last_error_at_ms"),
        swept_at_ms=number("swept_at_ms"),
        strangers={
            kind: count for kind in STRANGER_KINDS if (count := number(f"strangers_{kind}") or 0)
        },
    )


def _last_error(fields: Mapping[str, str]) -> str | None:
    if fields.get("state") == "duplicate" and "repeats" in fields:
        return repeating(fields["repeats"])
    return fields.get("last_error")


def _health(fields: Mapping[str, str], now_ms: int) -> RegionHealth:
    """Return the first reason for which a region takes nothing; else that it is up."""
    state = cast("RegionHealth", fields.get("state", "unknown"))
    if state not in get_args(RegionHealth):
        raise ValueError("expected a state of a region")
    if "drained" in fields:
        return "drained"
    if state == "up" and any(int(float(fields.get(it, 0))) > now_ms for it in RESTS):
        return "resting"
    return state
