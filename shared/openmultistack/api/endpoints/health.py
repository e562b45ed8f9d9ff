"""The endpoints that say whether all is well, to whom it may concern: health and metrics."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from openmultistack.api.calls import Call, Endpoint, Reply
from openmultistack.api.endpoints.regions import resources_of
from openmultistack.api.operations import TEXT, Operation, object_of
from openmultistack.auth.guards import public
from openmultistack.domain.regions import RegionState

if TYPE_CHECKING:
    from openmultistack.ledger import Ledger


def say_health(ledger: "Callable[[], Ledger]") -> Endpoint:
    """`GET /healthz`."""

    def run(_: Call) -> Reply:
        ledger().now_ms()
        return Reply(200, {"status": "ok"})

    told = Operation("Say whether the ledger answers", (200, object_of(status=TEXT)))
    return Endpoint("GET", "/healthz", public, run, told)


def show_metrics(ledger: "Callable[[], Ledger]") -> Endpoint:
    """`GET /metrics`, for those who reach the function itself."""

    def run(_: Call) -> Reply:
        now_ms = ledger().now_ms()
        return Reply(200, _metrics(ledger().regions(), ledger().queue_length(), now_ms))

    return Endpoint("GET", "/metrics", public, run, is_routed=False)


def _metrics(states: Sequence[RegionState], waiting: int, now_ms: int) -> str:
    """Return the regions' counts in Prometheus' text format."""
    lines = ["# HELP oms_queue_length Instances that wait.", "# TYPE oms_queue_length gauge"]
    lines += [f"oms_queue_length {waiting}"]
    lines += ["# HELP oms_region_up 1 if the region takes instances.", "# TYPE oms_region_up gauge"]
    lines += [f'oms_region_up{{region="{it.region}"}} {int(it.state == "up")}' for it in states]
    # One that only grows is a schedule that does not come, or a cloud that does not answer.
    lines += [
        "# HELP oms_region_swept_age_seconds Since a sweep last saw the region well.",
        "# TYPE oms_region_swept_age_seconds gauge",
    ]
    lines += [
        f'oms_region_swept_age_seconds{{region="{it.region}"}} {(now_ms - it.swept_at_ms) // 1000}'
        for it in states
        if it.swept_at_ms is not None
    ]
    lines += [
        "# HELP oms_region_resources What a quota counts.",
        "# TYPE oms_region_resources gauge",
    ]
    for state in states:
        for what, counts in resources_of(state).items():
            lines += [
                f'oms_region_resources{{region="{state.region}",resource="{what}",kind="{kind}"}}'
                f" {count}"
                for kind, count in counts.items()
            ]
    return "\n".join(lines) + "\n"
