"""The one container that every function is, on Knative and on plain Kubernetes."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from openmultistack.domain.bounds import LAME_DUCK_S
from openmultistack.wiring.doors import DOORS, Door

Json = dict[str, Any]

ROOT = Path(__file__).parent.parent.parent
NAMESPACE = "openmultistack"
PORT = 8080
# Of the image; with its numeric id the platform sees that it is not root.
USER = 65532
MOUNTED = "/etc/openmultistack"
# What everything of ours is labelled with, and what by: a function, the gateway, a trigger.
NAME, PART = "app.kubernetes.io/name", "app.kubernetes.io/component"
FUNCTION, GATEWAY, TRIGGER = "function", "gateway", "trigger"
# Of a function's pods, for what is said of this one or of all that call clouds.
WHICH, CALLS_CLOUDS = "function", "calls-clouds"
# Between the end of what is in flight and the platform's SIGKILL.
SPARE_S = 10


class Given(NamedTuple):
    """What a function is given under one name: which file of it a variable names."""

    variable: str
    file: str
    is_secret: bool = True


# By the names of the table of functions; all files of each are mounted, so that issuers.yaml finds
# its keys beside it, and clouds.yaml its certificates.
GIVEN: Mapping[str, Given] = {
    "issuers": Given("OMS_ISSUERS_FILE", "issuers.yaml"),
    "redis": Given("OMS_REDIS_URL_FILE", "url"),
    "fleet": Given("OMS_FLEET_FILE", "fleet.yaml", is_secret=False),
    "clouds": Given("OS_CLIENT_CONFIG_FILE", "clouds.yaml"),
    "marks": Given("OMS_MARKS_KEYS_FILE", "marks.keys"),
}
# What all functions are told alike, such as OMS_FLEET; it need not be there.
SETTINGS = "settings"


def image() -> str:
    """Return the image of this version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return f"openmultistack/functions:{version}"


def labels(part: str, **others: str) -> dict[str, str]:
    """Return the labels of one of our parts."""
    return {NAME: NAMESPACE, PART: part, **others}


def function_labels(name: str) -> dict[str, str]:
    """Return the labels of a function's pods."""
    clouds = {CALLS_CLOUDS: "true"} if DOORS[name].calls_clouds else {}
    return labels(FUNCTION, **{WHICH: name}, **clouds)


def meta(name: str, labelled: Mapping[str, str] | None = None) -> Json:
    """Return the metadata of something of ours."""
    return {
        "name": name,
        "namespace": NAMESPACE,
        "labels": dict(labelled or {NAME: NAMESPACE}),
    }


def ends_within_s(door: Door) -> int:
    """Return how long after SIGTERM a function's process may live."""
    return max(door.graceful_s, LAME_DUCK_S) + SPARE_S


def container(name: str, probes: Json) -> Json:
    """Return a function's container, with its platform's probes."""
    door = DOORS[name]
    return {
        "name": FUNCTION,
        "image": image(),
        "env": environment(name, door),
        "envFrom": [{"configMapRef": {"name": SETTINGS, "optional": True}}],
        "ports": [{"name": "http1", "containerPort": PORT}],
        **probes,
        # No limit of CPU: it would only slow down who waits for clouds all the time.
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": restricted(),
        "volumeMounts": [_mount(it) for it in door.secrets]
        + [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def environment(name: str, door: Door) -> list[Json]:
    """Return what a function is told; `PORT` and `K_*` are the platform's."""
    told = {
        "FUNCTION_SOURCE": f"functions/{name}.py",
        "FUNCTION_TARGET": "handle",
        "THREADS": str(door.threads),
        "OMS_GRANTED_S": str(door.graceful_s),
        **{GIVEN[it].variable: f"{MOUNTED}/{it}/{GIVEN[it].file}" for it in door.secrets},
        **({"OMS_TICK": "on"} if door.schedule else {}),
    }
    return [{"name": variable, "value": value} for variable, value in told.items()]


def restricted() -> Json:
    """Return what pod security's `restricted` asks of a container, and a root that is read-only."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def volumes(given: Sequence[str]) -> list[Json]:
    """Return the volumes of what a function is given, and the only place that it may write to."""
    return [_volume(it) for it in given] + [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}]


def _mount(given: str) -> Json:
    return {"name": given, "mountPath": f"{MOUNTED}/{given}", "readOnly": True}


def _volume(given: str) -> Json:
    if GIVEN[given].is_secret:
        return {"name": given, "secret": {"secretName": given}}
    return {"name": given, "configMap": {"name": given}}
