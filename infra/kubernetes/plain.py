"""The functions as Deployments, each behind a Service; for a Kubernetes without Knative."""

from infra.kubernetes.container import (
    PORT,
    USER,
    WHICH,
    Json,
    container,
    ends_within_s,
    function_labels,
    meta,
    volumes,
)
from openmultistack.wiring.doors import DOORS, Door

REPLICAS = 2


def workloads() -> list[Json]:
    """Return a Deployment and a Service for each function."""
    return [it for name, door in DOORS.items() for it in (_deployment(name, door), _service(name))]


def _deployment(name: str, door: Door) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(name, function_labels(name)),
        "spec": {
            "replicas": REPLICAS,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": {WHICH: name}},
            # A replica ends only when another is ready.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": {"metadata": {"labels": function_labels(name)}, "spec": _pod(name, door)},
        },
    }


def _pod(name: str, door: Door) -> Json:
    return {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        # Else each Service of the namespace is told as variables, REDIS_PORT among them.
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER},
        "terminationGracePeriodSeconds": ends_within_s(door),
        "topologySpreadConstraints": [
            _spread(name, it) for it in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [container(name, _probes())],
        "volumes": volumes(door.secrets),
    }


def _spread(name: str, over: str) -> Json:
    return {
        "maxSkew": 1,
        "topologyKey": over,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {WHICH: name}},
        "matchLabelKeys": ["pod-template-hash"],
    }


def _probes() -> Json:
    """Return the probes: none that fails with the ledger ends a process."""
    alive = {"httpGet": {"path": "/_/health", "port": PORT}, "timeoutSeconds": 5}
    ready = {"httpGet": {"path": "/_/ready", "port": PORT}, "timeoutSeconds": 5}
    return {
        "startupProbe": {**alive, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**ready, "periodSeconds": 5, "failureThreshold": 2},
        "livenessProbe": {**alive, "periodSeconds": 10, "failureThreshold": 6},
    }


def _service(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(name, function_labels(name)),
        "spec": {
            "selector": {WHICH: name},
            "ports": [{"name": "http", "port": 80, "targetPort": PORT, "appProtocol": "http"}],
        },
    }
