"""The endpoints of instances that there are: list, show, tell, renew and destroy them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from openmultistack.api.bodies import parse
from openmultistack.api.calls import Call, Endpoint, Reply
from openmultistack.api.operations import (
    BAD_BODY,
    COUNT,
    ID,
    TEXT,
    TIME,
    Json,
    Named,
    Operation,
    in_query,
    list_of,
    maybe,
    object_of,
)
from openmultistack.api.queries import LABEL, PAGE_MAX, read_query
from openmultistack.auth.guards import scope
from openmultistack.domain import errors
from openmultistack.domain.models import AddressKind, Instance, Status

if TYPE_CHECKING:  # a function has only its own use case
    from openmultistack.fleet.config import FleetFile
    from openmultistack.ledger import Ledger
    from openmultistack.usecases.destroy import Destroying

# A cloud is asked for each, one after another where they are many.
DESTROY_TIMEOUT_S = 120

INSTANCE = Named(
    "Instance",
    object_of(
        id={"type": "string", "pattern": "^i-[0-9A-Z]{26}$"},
        name=TEXT,
        status={"enum": [it.value for it in Status]},
        cloud_status=maybe(
            TEXT | {"description": "the cloud's own word where it says more, as SHUTOFF or RESCUE"}
        ),
        owner=TEXT,
        region=maybe(TEXT),
        provider=maybe(TEXT),
        server_id=maybe(TEXT),
        image=TEXT,
        flavor=TEXT,
        addresses=list_of(
            object_of(
                address=TEXT,
                version={"enum": [4, 6]},
                network=TEXT,
                kind={"enum": list(get_args(AddressKind))},
            )
        ),
        address=maybe(TEXT | {"description": "the one to use: floating, else public if any is"}),
        labels={"type": "object", "additionalProperties": TEXT},
        note=TEXT | {"description": "what its owner wrote of it; empty if nothing"},
        attempt=COUNT,
        created_at=TIME,
        expires_at=TIME
        | {"description": "of one that is QUEUED the end of its wait; its ttl begins with a slot"},
        error=maybe(TEXT),
    ),
)
EVENT = Named(
    "Event",
    object_of(at=TIME, what=TEXT, region=maybe(TEXT), attempt={"type": "integer"}, why=TEXT),
)
INSTANCES = list_of(INSTANCE)
_SHOWN = (202, object_of(instances=INSTANCES))


def list_instances(ledger: "Callable[[], Ledger]") -> Endpoint:
    """`GET /instances`."""
    from openmultistack.usecases import read as usecase

    def run(call: Call) -> Reply:
        asked = read_query(call, ("label", "status", "region", "limit", "cursor"))
        found = usecase.list_instances(
            ledger(),
            call.caller.owner,
            labels=asked.labels,
            status=asked.status,
            region=asked.single.get("region"),
            after=asked.single.get("cursor"),
            limit=asked.limit,
        )
        return Reply(200, _shown(found.instances) | {"next": found.next})

    told = Operation(
        "List own instances, newest first",
        (200, object_of(instances=INSTANCES, next=maybe(TEXT))),
        (errors.Invalid,),
        (
            LABEL,
            in_query("status", {"enum": [it.value for it in Status]}),
            in_query("region", TEXT),
            in_query("limit", {"type": "integer", "minimum": 1, "maximum": PAGE_MAX}),
            in_query("cursor", TEXT),
        ),
    )
    return Endpoint("GET", "/instances", scope("instances:read"), run, told)


def show_instance(ledger: "Callable[[], Ledger]") -> Endpoint:
    """`GET /instances/{id}`."""
    from openmultistack.usecases.read import owned, place_in_queue

    def run(call: Call) -> Reply:
        (instance,) = owned(ledger(), call.caller.owner, [call.path["id"]])
        place = place_in_queue(ledger(), instance)
        return Reply(200, instance.document() | ({"queue": place._asdict()} if place else {}))

    summary = "Show an instance, and how it waits"
    told = Operation(summary, (200, _with_queue()), (errors.NotFound,), (ID,))
    return Endpoint("GET", "/instances/{id}", scope("instances:read"), run, told)


def _with_queue() -> Json:
    """Return the schema of an instance, which may have a place in the queue."""
    queue = object_of(place=COUNT, waiting=COUNT, why=TEXT)
    return INSTANCE.schema | {"properties": INSTANCE.schema["properties"] | {"queue": queue}}


def tell_story(ledger: "Callable[[], Ledger]") -> Endpoint:
    """`GET /instances/{id}/events`."""
    from openmultistack.usecases.read import story

    def run(call: Call) -> Reply:
        return Reply(200, {"events": story(ledger(), call.caller.owner, call.path["id"])})

    answer = (200, object_of(events=list_of(EVENT)))
    told = Operation("Tell an instance's story", answer, (errors.NotFound,), (ID,))
    return Endpoint("GET", "/instances/{id}/events", scope("instances:read"), run, told)


def renew_instance(ledger: "Callable[[], Ledger]", fleet: "Callable[[], FleetFile]") -> Endpoint:
    """`PATCH /instances/{id}`."""
    from openmultistack.domain.commands import RenewInstance
    from openmultistack.usecases.renew import renew

    def run(call: Call) -> Reply:
        command = parse(RenewInstance, call.body)
        owner = call.caller.owner
        return Reply(200, renew(ledger(), fleet(), owner, call.path["id"], command.ttl).document())

    told = Operation(
        "Move an instance's expiry",
        (200, INSTANCE),
        (*BAD_BODY, errors.NotFound),
        (ID,),
        body=RenewInstance,
    )
    return Endpoint("PATCH", "/instances/{id}", scope("instances:create"), run, told)


def destroy_instance(destroying: "Callable[[], Destroying]") -> Endpoint:
    """`DELETE /instances/{id}`."""

    def run(call: Call) -> Reply:
        destroyed = destroying().destroy_ids(call.caller.owner, [call.path["id"]])
        return Reply(202, _shown(destroyed))

    summary = "Destroy an instance; repeating it is harmless"
    told = Operation(summary, _SHOWN, (errors.NotFound, errors.ProviderRemoved), (ID,))
    guard = scope("instances:destroy")
    return Endpoint("DELETE", "/instances/{id}", guard, run, told, DESTROY_TIMEOUT_S)


def destroy_labelled(destroying: "Callable[[], Destroying]") -> Endpoint:
    """`DELETE /instances?label=k:v`."""

    def run(call: Call) -> Reply:
        labels = read_query(call, ("label",)).labels
        if not labels:
            said = "expected an id in the path or at least one ?label=key:value"
            raise errors.Invalid([("", said)])
        return Reply(202, _shown(destroying().destroy_labelled(call.caller.owner, labels)))

    summary = "Destroy all own instances with these labels"
    told = Operation(summary, _SHOWN, (errors.Invalid, errors.ProviderRemoved), (LABEL,))
    guard = scope("instances:destroy")
    return Endpoint("DELETE", "/instances", guard, run, told, DESTROY_TIMEOUT_S)


def _shown(instances: Sequence[Instance]) -> dict[str, Any]:
    return {"instances": [it.document() for it in instances]}
