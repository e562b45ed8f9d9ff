"""What both platforms have alike: namespace, accounts, how many pods may be missing, the clock."""

from collections.abc import Mapping

from infra.kubernetes.container import (
    FUNCTION,
    NAMESPACE,
    TRIGGER,
    WHICH,
    Json,
    image,
    labels,
    meta,
    restricted,
)
from openmultistack.api.endpoints.probes import TICK, TICK_WITHIN_S
from openmultistack.wiring.doors import DOORS

POD_SECURITY = "pod-security.kubernetes.io"
# The image has no program to call with but Python. An answer that is no 2xx raises.
CALL = (
    "import sys, urllib.request as it; it.urlopen(it.Request(sys.argv[1], method='POST'), timeout="
)


def namespace() -> Json:
    """Return the namespace, which takes no pod but what is `restricted`."""
    named = {f"{POD_SECURITY}/{it}": "restricted" for it in ("enforce", "audit", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": named},
    }


def accounts() -> list[Json]:
    """Return an account for each function and for the trigger; none can ask Kubernetes anything."""
    return [_account(it, labels(FUNCTION)) for it in DOORS] + [_account(TRIGGER, labels(TRIGGER))]


def _account(name: str, labelled: Mapping[str, str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta(name, labelled),
        "automountServiceAccountToken": False,
    }


def disruption_budgets() -> list[Json]:
    """Return for each function that nodes are emptied one replica after the other."""
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": meta(name, labels(FUNCTION)),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {WHICH: name}}},
        }
        for name in DOORS
    ]


def cron_jobs() -> list[Json]:
    """Return what calls, by the clock, each function that has a schedule."""
    timed = {name: it.schedule for name, it in DOORS.items() if it.schedule}
    return [_cron_job(name, schedule) for name, schedule in timed.items()]


def _cron_job(name: str, schedule: str) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": meta(f"{name}-tick", labels(TRIGGER)),
        "spec": {
            "schedule": schedule,
            # A tick is a hint: one that is late is not made up for.
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 30,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 1,
                    "activeDeadlineSeconds": 90,
                    "ttlSecondsAfterFinished": 600,
                    "template": {"metadata": {"labels": labels(TRIGGER)}, "spec": _calling(name)},
                }
            },
        },
    }


def _calling(name: str) -> Json:
    """Return a pod that calls a function once."""
    # Of Knative's names for a Service the shortest; the last part differs between clusters.
    url = f"http://{name}.$(NAMESPACE).svc{TICK}"
    space = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    return {
        "serviceAccountName": TRIGGER,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "containers": [
            {
                "name": TRIGGER,
                "image": image(),
                "command": ["python3", "-c", f"{CALL}{TICK_WITHIN_S + 20:.0f})", url],
                "env": [{"name": "NAMESPACE", "valueFrom": space}],
                "resources": {
                    "requests": {"cpu": "10m", "memory": "32Mi"},
                    "limits": {"memory": "64Mi"},
                },
                "securityContext": restricted(),
            }
        ],
    }
