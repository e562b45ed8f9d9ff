"""The endpoint that creates instances."""

import re
from typing import TYPE_CHECKING

from openmultistack.api.bodies import parse
from openmultistack.api.calls import Call, Endpoint, Reply
from openmultistack.api.endpoints.instances import INSTANCES
from openmultistack.api.operations import BAD_BODY, COUNT, TEXT, Json, Operation, object_of
from openmultistack.api.problems import OURS
from openmultistack.auth.guards import scope
from openmultistack.domain import errors
from openmultistack.domain.models import Instance, Status

if TYPE_CHECKING:  # a function has only its own use case
    from collections.abc import Callable

    from openmultistack.usecases.create import Creating, Placed

KEY_CHARS = 255
# 100 instances on slow clouds.
TIMEOUT_S = 120
_WAIT: Json = {
    "name": "Prefer",
    "in": "header",
    "description": "wait=SECONDS: answer when all are ACTIVE, or the time (at most 60) is over",
    "schema": TEXT,
}
_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "the same key and command give the same instances again, for 24 hours",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS},
}
_REFUSED = (
    errors.IdempotencyConflict, errors.InstancesEnded, errors.OwnerQuotaExceeded,
    errors.NoRegionWorked, errors.CapacityExhausted,
)  # fmt: skip


def create_instances(creating: "Callable[[], Creating]") -> Endpoint:
    """`POST /instances`."""
    from openmultistack.domain.commands import CreateInstances

    def run(call: Call) -> Reply:
        command = parse(CreateInstances, call.body)
        key = _idempotency_key(call)
        return _reply(creating().create(call.caller, command, key=key, wait_s=_wait_s(call)))

    told = Operation(
        "Create instances",
        (202, object_of(instances=INSTANCES, requested=COUNT, placed=COUNT, queued=COUNT)),
        (*BAD_BODY, *_REFUSED),
        (_WAIT, _KEY),
        body=CreateInstances,
    )
    guard = scope("instances:create")
    return Endpoint("POST", "/instances", guard, run, told, TIMEOUT_S)


def _reply(placed: "Placed") -> Reply:
    shown = [it.document() for it in placed.instances]
    queued = sum(it.status == Status.QUEUED for it in placed.instances)
    document = {
        "instances": shown,
        "requested": placed.requested,
        "placed": len(shown) - queued,
        "queued": queued,
    }
    location = f"{OURS.prefix}/instances"
    if len(shown) == 1:
        location += f"/{placed.instances[0].id}"
    told = {
        "requested": placed.requested,
        "queued": queued,
        "instances": [_placed(it) for it in placed.instances],
        "regions": placed.said,
    }
    return Reply(202, document, {"Location": location}, told)


def _placed(it: Instance) -> dict[str, object]:
    """Return what the log has of an instance."""
    return {"id": it.id, "region": it.region, "attempt": it.attempt, "server": it.server_id}


def _wait_s(call: Call) -> int:
    """Return the seconds of `Prefer: wait=N` (RFC 7240); other preferences are ignored."""
    found = re.search(r"(?:^|[,;\s])wait=([0-9]{1,6})\b", call.headers.get("Prefer", ""))
    return int(found[1]) if found else 0


def _idempotency_key(call: Call) -> str:
    """Return the Idempotency-Key header (of the IETF's draft of that name), '' if there is none."""
    named = {name.lower(): value.strip() for name, value in call.headers.items()}
    key = named.get("idempotency-key")
    if key is None:
        return ""
    if not 0 < len(key) <= KEY_CHARS or not key.isprintable():
        said = f"Idempotency-Key: expected 1 to {KEY_CHARS} printable characters"
        raise errors.Malformed(said)
    return key
