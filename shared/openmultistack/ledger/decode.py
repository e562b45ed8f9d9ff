"""What Redis returns, as values."""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from openmultistack.models import (
    Address,
    Instance,
    Quota,
    RegionHealth,
    RegionState,
    Resources,
    Status,
    repeating,
)

# Until when a region rests: by its breaker, and by its provider's wish.
RESTS = ("open_until_ms", "paused_until_ms")


class Slot(NamedTuple):
    """A place in a region held by one attempt at one instance."""

    instance_id: str
    attempt: int
    owner: str
    vcpus: int
    ram_mb: int
    # When it was placed, or if proven when it was committed or adopted.
    since_ms: int
    # How long it may stay unproven; None once the cloud is known to have the server.
    lease_until_ms: int | None
    server_id: str | None


class View(NamedTuple):
    """One region as the ledger has it at one moment."""

    slots: tuple[Slot, ...]
    instances: Mapping[str, Instance]


def decode_slots(fields: Mapping[str, str]) -> list[Slot]:
    """Return the slots of a region's hash."""
    slots = []
    for name, text in fields.items():
        instance_id, _, attempt = name.rpartition("/")
        value = json.loads(text)
        slots.append(
            Slot(
                instance_id=instance_id,
                attempt=int(attempt),
                owner=value["owner"],
                vcpus=int(value["vcpus"]),
                ram_mb=int(value["ram_mb"]),
                since_ms=int(value["since_ms"]),
                lease_until_ms=int(value["lease_until_ms"]) if "lease_until_ms" in value else None,
                server_id=value.get("server_id"),
            )
        )
    return slots


def decode_instance(fields: Mapping[str, str], name_of: Callable[[str], str]) -> Instance:
    """Return the instance of a record's hash; `name_of` gives the names of places."""
    return Instance(
        id=fields["id"],
        name=fields["name"],
        status=Status(fields["status"]),
        owner=fields["owner"],
        region=name_of(fields["region"]),
        image=fields["image"],
        flavor=fields["flavor"],
        attempt=int(fields["attempt"]),
        created_at_ms=int(float(fields["created_at_ms"])),
        expires_at_ms=int(float(fields["expires_at_ms"])),
        server_id=fields.get("server_id"),
        addresses=tuple(Address(**it) for it in json.loads(fields.get("addresses", "[]"))),
        cloud_status=fields.get("cloud_status", ""),
        labels=json.loads(fields["labels"]),
        error=fields.get("error"),
        order=fields.get("order"),
        has_keypair=fields.get("has_keypair") == "1",
        tried={name_of(it): why for it, why in json.loads(fields.get("tried", "{}")).items()},
        promised="promised" in fields,
        quota=Quota(**json.loads(fields.get("quota", "{}"))),
        idempotency=fields.get("idempotency", ""),
        ended=fields.get("ended"),
        stranded="stranded" in fields,
        was_due_ms=tuple(int(float(it)) for it in fields.get("was_due_ms", "").split(",") if it),
    )


def decode_region(
    name: str, fields: Mapping[str, str], held_instances: int, now_ms: int
) -> RegionState:
    """Return the state of a region's hash; one that was never swept is unknown."""

    def resources(kind: str) -> Resources:
        return Resources(*(int(fields.get(f"{kind}_{what}", 0)) for what in Resources._fields))

    def number(field: str) -> int | None:
        return int(float(fields[field])) if field in fields else None

    return RegionState(
        region=name,
        state=_health(fields, now_ms),
        cap=resources("cap"),
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
    )


def _last_error(fields: Mapping[str, str]) -> str | None:
    if fields.get("state") == "duplicate" and "repeats" in fields:
        return repeating(fields["repeats"])
    return fields.get("last_error")


def _health(fields: Mapping[str, str], now_ms: int) -> RegionHealth:
    """Return the first reason for which a region takes nothing; else that it is up."""
    state = cast("RegionHealth", fields.get("state", "unknown"))
    if "drained" in fields:
        return "drained"
    if state == "up" and any(int(float(fields.get(it, 0))) > now_ms for it in RESTS):
        return "resting"
    return state
