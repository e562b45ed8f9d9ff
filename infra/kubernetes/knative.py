"""The functions as Knative Services, and the PingSource that has regions swept.

Only fields that Knative takes without a feature being switched on for them.
"""

from infra.kubernetes.container import (
    TRIGGER,
    Json,
    container,
    ends_within_s,
    function_labels,
    labels,
    meta,
    volumes,
)
from openmultistack.wiring.doors import DOORS, Door

AUTOSCALING = "autoscaling.knative.dev"
# A pod that has nothing to answer may still watch an instance that is being built: it is kept for
# as long as an attempt's lease, with some to spare.
RETENTION = "3m"
# Those that may end at all: nobody notices a cold start of these.
MAY_SLEEP = ("renew", "reap")
MAX_SCALE = 5
# Nothing that the gateway waits for takes longer; Knative's own upper bound is 600.
TIMEOUT_S = 200


def services() -> list[Json]:
    """Return a Service for each function, reached from inside the cluster alone."""
    return [_service(name, door) for name, door in DOORS.items()]


def ping_sources() -> list[Json]:
    """Return what calls each function that has a schedule; its `POST /` is a tick."""
    timed = {name: it.schedule for name, it in DOORS.items() if it.schedule}
    return [_ping_source(name, schedule) for name, schedule in timed.items()]


def _service(name: str, door: Door) -> Json:
    local = {"networking.knative.dev/visibility": "cluster-local"}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": meta(name, {**function_labels(name), **local}),
        "spec": {
            "template": {
                "metadata": {"labels": function_labels(name), "annotations": _scale(name)},
                "spec": {
                    "serviceAccountName": name,
                    "containerConcurrency": door.threads,
                    # After SIGTERM a pod has as long.
                    "timeoutSeconds": max(TIMEOUT_S, ends_within_s(door)),
                    "containers": [container(name, _probes())],
                    "volumes": volumes(door.secrets),
                },
            }
        },
    }


def _scale(name: str) -> dict[str, str]:
    return {
        f"{AUTOSCALING}/min-scale": "0" if name in MAY_SLEEP else "1",
        f"{AUTOSCALING}/max-scale": str(MAX_SCALE),
        f"{AUTOSCALING}/scale-to-zero-pod-retention-period": RETENTION,
    }


def _probes() -> Json:
    """Return the probes; without a period Knative asks many times a second until it is ready."""
    return {
        "readinessProbe": {"httpGet": {"path": "/_/ready"}},
        "livenessProbe": {
            "httpGet": {"path": "/_/health"},
            "initialDelaySeconds": 30,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


def _ping_source(name: str, schedule: str) -> Json:
    sink = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": name}
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "PingSource",
        "metadata": meta(f"{name}-tick", labels(TRIGGER)),
        "spec": {
            "schedule": schedule,
            "contentType": "application/json",
            "data": "{}",
            "sink": {"ref": sink},
        },
    }
