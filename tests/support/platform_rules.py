"""What platforms refuse of a manifest whose form is good.

Pod security's profile `restricted`, as Kubernetes' documentation has it; what Knative Serving's
webhook refuses (pkg/apis/serving and pkg/apis/autoscaling of its source); and what we want beyond.
Each rule yields a sentence for everything that breaks it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]

# Where a kind has its pod.
PODS: Mapping[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "Service": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip
SECCOMP = ("RuntimeDefault", "Localhost")
# Of Knative's pods: what is refused until the platform has a feature switched on for it.
SWITCHED_OFF = {
    "affinity", "dnsConfig", "dnsPolicy", "hostAliases", "hostIPC", "hostNetwork", "hostPID",
    "initContainers", "nodeSelector", "priorityClassName", "runtimeClassName", "schedulerName",
    "securityContext", "shareProcessNamespace", "tolerations", "topologySpreadConstraints",
}  # fmt: skip
KNATIVE_VOLUMES = {"configMap", "emptyDir", "projected", "secret"}
RESERVED_PORTS = (8008, 8012, 8013, 8022, 9090, 9091)
RESERVED_PATHS = ("/", "/dev", "/dev/log")
AUTOSCALING = "autoscaling.knative.dev/"
CONCURRENCY_MAX, TIMEOUT_MAX_S = 1000, 600


def broken_rules(manifest: Json) -> Iterator[str]:
    """Yield what is wrong with a manifest whose form is good."""
    pod = pod_of(manifest)
    if pod is None:
        return
    yield from _unrestricted_pod(pod)
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        yield from _unrestricted(container, pod.get("securityContext", {}))
        yield from _not_as_we_want(container, pod)
    yield from _mounts(pod)
    if is_knative(manifest):
        yield from _refused_by_knative(manifest, pod)


def pod_of(manifest: Json) -> Json | None:
    """Return the pod that a manifest has made, if it has."""
    pod: Any = manifest
    for part in PODS.get(manifest["kind"], ("none",)):
        pod = pod.get(part, {}) if pod else {}
    return pod if pod and "containers" in pod else None


def is_knative(manifest: Json) -> bool:
    """Return whether a manifest is a Service of Knative's."""
    return bool(manifest["apiVersion"] == "serving.knative.dev/v1")


def _unrestricted_pod(pod: Json) -> Iterator[str]:
    for it in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(it):
            yield f"{it}: `restricted` refuses it"
    for volume in pod.get("volumes", ()):
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volumes: `restricted` refuses {kind}"


def _unrestricted(container: Json, pods: Json) -> Iterator[str]:
    own = container.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    said = {**pods, **own}
    expected = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities.drop": "ALL" in capabilities.get("drop", ()),
        "capabilities.add": set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot": said.get("runAsNonRoot") is True,
        "runAsUser": said.get("runAsUser") != 0,
        "seccompProfile": said.get("seccompProfile", {}).get("type") in SECCOMP,
        "procMount": own.get("procMount", "Default") == "Default",
        "hostPort": not any(it.get("hostPort") for it in container.get("ports", ())),
    }
    yield from (f"{it}: `restricted` refuses it" for it, good in expected.items() if not good)


def _not_as_we_want(container: Json, pod: Json) -> Iterator[str]:
    own = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    names = [it["name"] for it in container.get("env", ())]
    if not own.get("readOnlyRootFilesystem"):
        yield "readOnlyRootFilesystem: expected true"
    if "runAsUser" not in own:
        yield "runAsUser: expected a number, as the platform must see that it is not root"
    if not re.search(r"[:@][^/]+$", container["image"]) or container["image"].endswith(":latest"):
        yield "image: expected a version"
    if len(names) != len(set(names)):
        yield "env: a variable is set twice"
    for it in names:
        if it == "PORT" or it.startswith("K_"):
            yield f"env: {it} is the platform's"
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield "resources: expected a limit of memory"


def _mounts(pod: Json) -> Iterator[str]:
    """Whether what is mounted is there, and what is there is mounted."""
    named = [it["name"] for it in pod.get("volumes", ())]
    mounts = [it for at in pod["containers"] for it in at.get("volumeMounts", ())]
    writable = {it["name"] for it in pod.get("volumes", ()) if "emptyDir" in it}
    if sorted(set(named)) != sorted({it["name"] for it in mounts}) or len(set(named)) != len(named):
        yield "volumes: expected each to be mounted, and each mount to be one"
    for it in mounts:
        if it["name"] not in writable and not it.get("readOnly"):
            yield f"volumeMounts: {it['name']}: expected readOnly"


def _refused_by_knative(manifest: Json, pod: Json) -> Iterator[str]:
    yield from (f"{it}: Knative has it switched off" for it in SWITCHED_OFF & pod.keys())
    yield from _refused_numbers(pod)
    yield from _refused_annotations(manifest)
    for volume in pod.get("volumes", ()):
        for kind in volume.keys() - {"name"} - KNATIVE_VOLUMES:
            yield f"volumes: Knative refuses {kind}"
    for container in pod["containers"]:
        yield from _refused_container(container)


def _refused_numbers(pod: Json) -> Iterator[str]:
    if not 0 <= pod.get("containerConcurrency", 0) <= CONCURRENCY_MAX:
        yield f"containerConcurrency: expected up to {CONCURRENCY_MAX}"
    if not 0 < pod.get("timeoutSeconds", 1) <= TIMEOUT_MAX_S:
        yield f"timeoutSeconds: expected 1 to {TIMEOUT_MAX_S}"


def _refused_container(container: Json) -> Iterator[str]:
    ports = container.get("ports", ())
    if len(ports) > 1:
        yield "ports: Knative takes one"
    for it in ports:
        if it.get("name", "") not in ("", "http1", "h2c") or it["containerPort"] in RESERVED_PORTS:
            yield f"ports: Knative refuses {it}"
    for it in container.get("volumeMounts", ()):
        if it["mountPath"].rstrip("/") in RESERVED_PATHS:
            yield f"mountPath: {it['mountPath']} is reserved"
    for it in container.get("env", ()):
        if it.get("valueFrom", {}).keys() & {"fieldRef", "resourceFieldRef"}:
            yield f"env: {it['name']}: Knative has fields switched off"
    probe = container.get("readinessProbe", {})
    if not probe.get("periodSeconds") and probe.keys() & {"failureThreshold", "timeoutSeconds"}:
        yield "readinessProbe: without periodSeconds neither failureThreshold nor timeoutSeconds"


def _refused_annotations(manifest: Json) -> Iterator[str]:
    said = manifest["metadata"].get("annotations", {})
    if any(it.startswith(AUTOSCALING) for it in said):
        yield "metadata.annotations: autoscaling is of the template"
    local = manifest["metadata"].get("labels", {}).get("networking.knative.dev/visibility")
    if local not in (None, "cluster-local"):
        yield "networking.knative.dev/visibility: expected cluster-local"
    scale = manifest["spec"]["template"].get("metadata", {}).get("annotations", {})
    bounds = [scale.get(f"{AUTOSCALING}{it}-scale", "0") for it in ("min", "max")]
    if not all(re.fullmatch(r"[0-9]{1,9}", it) for it in bounds):
        yield "autoscaling: expected numbers"
    elif 0 < int(bounds[1]) < int(bounds[0]):
        yield "autoscaling: max-scale is less than min-scale"
    kept = scale.get(f"{AUTOSCALING}scale-to-zero-pod-retention-period", "0s")
    if not re.fullmatch(r"([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+", kept):
        yield "scale-to-zero-pod-retention-period: expected a duration"
