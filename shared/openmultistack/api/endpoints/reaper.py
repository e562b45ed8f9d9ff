"""The endpoints of the reaper: sweep regions, adopt what nothing proves, end copies."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from openmultistack.api.bodies import parse
from openmultistack.api.calls import Call, Endpoint, Reply
from openmultistack.api.operations import (
    BAD_BODY,
    COUNT,
    TEXT,
    Named,
    Operation,
    list_of,
    maybe,
    object_of,
)
from openmultistack.auth.guards import scope
from openmultistack.domain.errors import NotFound

if TYPE_CHECKING:  # a function has only its own use case
    from openmultistack.usecases.reap import Reaping
    from openmultistack.usecases.vouch import Vouching

# A sweep of a sick region may take long.
SWEEP_TIMEOUT_S, COPIES_TIMEOUT_S = 180, 120
SWEEP = Named(
    "Sweep",
    object_of(
        region=TEXT,
        outcome={"enum": ["swept", "busy", "failed", "refused"]},
        error=maybe(TEXT),
        actions={"type": "object", "additionalProperties": COUNT},
        duration_ms=COUNT,
    ),
)


def reap(reaping: "Callable[[], Reaping]") -> Endpoint:
    """`POST /reap`."""
    from openmultistack.domain.commands import Reap

    def run(call: Call) -> Reply:
        reaped = reaping().reap(now=parse(Reap, call.body or b"{}").now)
        return Reply(200, reaped, told=_done(reaped))

    answer = (200, object_of(regions=list_of(SWEEP), expired=COUNT, forgotten=COUNT))
    told = Operation("Sweep all regions", answer, BAD_BODY, body=Reap, needs_body=False)
    return Endpoint("POST", "/reap", scope("fleet:reap"), run, told, SWEEP_TIMEOUT_S)


def _done(reaped: Mapping[str, Any]) -> dict[str, object]:
    """Return what the log has of a run of the reaper: what it did, and which regions failed."""
    actions = Counter[str]()
    for it in reaped["regions"]:
        actions.update({name: count for name, count in it["actions"].items() if count})
    failed = {it["region"]: it["error"] for it in reaped["regions"] if it["error"]}
    ended = {name: reaped[name] for name in ("expired", "forgotten")}
    return {**ended, "actions": actions, "regions": failed}


def adopt_unverified(vouching: "Callable[[], Vouching]") -> Endpoint:
    """`POST /regions/adopt`."""
    from openmultistack.domain.commands import AdoptUnverified

    def run(call: Call) -> Reply:
        return Reply(200, {"regions": vouching().adopt(parse(AdoptUnverified, call.body).regions)})

    summary = "Sweep regions, and adopt servers whose marks nothing proves"
    answer = (200, object_of(regions=list_of(SWEEP)))
    told = Operation(summary, answer, BAD_BODY, body=AdoptUnverified)
    return Endpoint("POST", "/regions/adopt", scope("fleet:reap"), run, told, SWEEP_TIMEOUT_S)


def destroy_copies(vouching: "Callable[[], Vouching]") -> Endpoint:
    """`POST /copies/destroy`."""
    from openmultistack.domain.commands import DestroyCopies

    def run(call: Call) -> Reply:
        return Reply(200, {"copies": vouching().end(parse(DestroyCopies, call.body).servers)})

    told = Operation(
        "Delete servers that are copies of an instance's",
        (200, object_of(copies=list_of(object_of(server=TEXT, region=TEXT, instance=TEXT)))),
        (*BAD_BODY, NotFound),
        body=DestroyCopies,
    )
    return Endpoint("POST", "/copies/destroy", scope("fleet:reap"), run, told, COPIES_TIMEOUT_S)
