"""The endpoints of regions: show them, drain and open them, forget those that were removed."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from openmultistack.api.bodies import parse
from openmultistack.api.calls import Call, Endpoint, Reply
from openmultistack.api.operations import (
    BAD_BODY,
    COUNT,
    TEXT,
    TIME,
    Named,
    Operation,
    list_of,
    maybe,
    object_of,
)
from openmultistack.auth.guards import scope
from openmultistack.domain.models import Resources
from openmultistack.domain.regions import RegionHealth, RegionState
from openmultistack.domain.times import rfc3339

if TYPE_CHECKING:  # a function has only its own use case
    from openmultistack.ledger import Ledger
    from openmultistack.usecases.drain import Draining

# What frees slots serves those who wait for them.
SERVE_TIMEOUT_S = 120
_COUNTS = object_of(cap=COUNT, held=COUNT, foreign=COUNT, free=COUNT)
REGION = Named(
    "Region",
    object_of(
        region=TEXT,
        provider=TEXT,
        state={"enum": list(get_args(RegionHealth))},
        cap=COUNT,
        held=COUNT,
        foreign=COUNT,
        free=COUNT,
        resources=object_of(**dict.fromkeys(Resources._fields, _COUNTS)),
        building=COUNT,
        max_building=maybe(COUNT),
        drained=maybe(TEXT),
        resting_s=COUNT,
        last_error=maybe(TEXT),
        last_error_at=maybe(TIME),
        swept_at=maybe(TIME),
        strangers={
            "type": "object",
            "additionalProperties": COUNT,
            "description": "of the foreign servers those that say they are the fleet's: how many"
            " are a `copy`, `unsigned` or `unverified`; and how many are an instance's own by their"
            " ids, with marks and name `spoilt`",
        },
    ),
)
_SHOWN = (200, object_of(regions=list_of(REGION)))


def list_regions(ledger: "Callable[[], Ledger]") -> Endpoint:
    """`GET /regions`."""

    def run(_: Call) -> Reply:
        return _shown(ledger().regions())

    told = Operation("Show every region's counts and state", _SHOWN)
    return Endpoint("GET", "/regions", scope("fleet:read"), run, told)


def drain_regions(draining: "Callable[[], Draining]") -> Endpoint:
    """`POST /regions/drain`."""
    from openmultistack.domain.commands import DrainRegions

    def run(call: Call) -> Reply:
        command = parse(DrainRegions, call.body)
        return _shown(draining().drain(command.regions, command.why))

    told = Operation("Let nothing new into regions", _SHOWN, BAD_BODY, body=DrainRegions)
    return Endpoint("POST", "/regions/drain", scope("fleet:drain"), run, told)


def open_regions(draining: "Callable[[], Draining]") -> Endpoint:
    """`POST /regions/open`."""
    from openmultistack.domain.commands import OpenRegions

    def run(call: Call) -> Reply:
        return _shown(draining().open(parse(OpenRegions, call.body).regions))

    told = Operation("Open drained regions", _SHOWN, BAD_BODY, body=OpenRegions)
    guard = scope("fleet:drain")
    return Endpoint("POST", "/regions/open", guard, run, told, SERVE_TIMEOUT_S)


def forget_regions(draining: "Callable[[], Draining]") -> Endpoint:
    """`POST /regions/forget`."""
    from openmultistack.domain.commands import ForgetRegions

    def run(call: Call) -> Reply:
        return _shown(draining().forget(parse(ForgetRegions, call.body).regions))

    summary = "Drop removed regions with what they hold"
    told = Operation(summary, _SHOWN, BAD_BODY, body=ForgetRegions)
    guard = scope("fleet:drain")
    return Endpoint("POST", "/regions/forget", guard, run, told, SERVE_TIMEOUT_S)


def _shown(states: Sequence[RegionState]) -> Reply:
    return Reply(200, {"regions": [_region(it) for it in states]})


def _region(state: RegionState) -> dict[str, Any]:
    resources = resources_of(state)
    return {
        "region": state.region,
        "provider": state.provider,
        "state": state.state,
        **resources["instances"],
        "resources": resources,
        "building": state.building,
        "max_building": state.max_building,
        "drained": state.drained,
        "resting_s": math.ceil(state.resting_ms / 1000),
        "last_error": state.last_error,
        "last_error_at": _at(state.last_error_at_ms),
        "swept_at": _at(state.swept_at_ms),
        "strangers": dict(state.strangers),
    }


def resources_of(state: RegionState) -> dict[str, dict[str, int]]:
    """Return of each resource that a region counts its cap, and what is held, foreign and free."""
    kinds = {
        "cap": state.cap,
        "held": state.held,
        "foreign": state.foreign,
        "free": state.free(),
    }
    return {
        what: {kind: getattr(counts, what) for kind, counts in kinds.items()}
        for what in Resources._fields
    }


def _at(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)
