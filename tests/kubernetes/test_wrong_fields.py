"""Each wrong field of a manifest is red: what a schema refuses, and what a platform does beyond."""

import copy
from typing import NamedTuple

import pytest

from infra.kubernetes.render import manifests
from tests.support.manifests import faults

KNATIVE, PLAIN = "knative", "kubernetes"
GONE = object()
# Of a workload: its pod, and its one container.
POD = "spec.template.spec"
ONE = f"{POD}.containers.0"
SCALE = "spec.template.metadata.annotations.autoscaling~knative~dev/"
JOB = "spec.jobTemplate.spec.template.spec.containers.0"


class Wrong(NamedTuple):
    """One field of a good manifest, what it is made, and what has to be said of it."""

    platform: str
    kind: str
    # Dots part the path; a `~` stands for one that is of a name.
    path: str
    value: object
    said: str


SERVICE = [
    Wrong(KNATIVE, "Service", path, value, said)
    for path, value, said in [
        # Misspelt.
        ("specs", {}, "'specs' was unexpected"),
        (f"{POD}.containerConcurency", 64, "containerConcurency"),
        (f"{POD}.timeoutSecond", 200, "timeoutSecond"),
        (f"{ONE}.readinesProbe", {}, "readinesProbe"),
        (f"{ONE}.volumeMounts.0.mountpath", "/x", "mountpath"),
        (f"{ONE}.securityContext.readOnlyRootFileSystem", True, "readOnlyRootFileSystem"),
        # In the wrong place.
        (f"{ONE}.timeoutSeconds", 200, "timeoutSeconds"),
        ("spec.containerConcurrency", 64, "containerConcurrency"),
        (f"{ONE}.annotations", {"a": "b"}, "annotations"),
        (f"{POD}.terminationGracePeriodSeconds", 200, "terminationGracePeriodSeconds"),
        ("metadata.annotations", {"autoscaling.knative.dev/min-scale": "1"}, "of the template"),
        # Of the wrong type.
        (f"{POD}.containerConcurrency", "64", "containerConcurrency"),
        (f"{ONE}.securityContext.runAsUser", "65532", "runAsUser"),
        (f"{ONE}.securityContext.runAsNonRoot", "true", "runAsNonRoot"),
        (f"{SCALE}min-scale", 1, "min-scale"),
        (f"{ONE}.env", {"THREADS": "64"}, "env"),
        (f"{ONE}.resources.limits.memory", "512MB", "memory"),
        (f"{POD}.volumes.0.secret", "issuers", "secret"),
        ("metadata.labels", ["local"], "labels"),
        # Missing.
        (f"{ONE}.env.0.name", GONE, "name"),
        ("spec", GONE, "spec"),
        (f"{ONE}.volumeMounts.0.readOnly", GONE, "readOnly"),
        (f"{POD}.volumes", [], "volumes"),
        # The platform's.
        (f"{ONE}.env.0.name", "PORT", "PORT"),
        (f"{ONE}.env.0.name", "K_SERVICE", "K_SERVICE"),
        (f"{ONE}.env.0.name", "K_REVISION", "K_REVISION"),
        (f"{ONE}.env.1.name", "FUNCTION_SOURCE", "twice"),
        # Refused by Knative's webhook.
        (f"{POD}.containerConcurrency", 1001, "containerConcurrency"),
        (f"{POD}.timeoutSeconds", 601, "timeoutSeconds"),
        (f"{SCALE}min-scale", "6", "less than min-scale"),
        (f"{SCALE}max-scale", "many", "expected numbers"),
        (f"{SCALE}scale-to-zero-pod-retention-period", "3 min", "duration"),
        ("metadata.labels.networking~knative~dev/visibility", "private", "visibility"),
        (f"{ONE}.ports.0.name", "http", "ports"),
        (f"{ONE}.ports.0.containerPort", 8012, "ports"),
        (f"{ONE}.volumeMounts.0.mountPath", "/dev", "reserved"),
        (f"{ONE}.readinessProbe.failureThreshold", 3, "readinessProbe"),
        (f"{POD}.securityContext", {"runAsNonRoot": True}, "switched off"),
        (f"{POD}.nodeSelector", {"a": "b"}, "switched off"),
        (f"{POD}.volumes.0", {"name": "issuers", "hostPath": {"path": "/etc"}}, "hostPath"),
        (f"{ONE}.env.0", {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}, "fields"),
        # Not restricted.
        (f"{ONE}.securityContext.privileged", True, "privileged"),
        (f"{ONE}.securityContext.allowPrivilegeEscalation", True, "allowPrivilegeEscalation"),
        (f"{ONE}.securityContext.capabilities.drop", ["KILL"], "capabilities.drop"),
        (f"{ONE}.securityContext.capabilities.add", ["NET_ADMIN"], "capabilities.add"),
        (f"{ONE}.securityContext.seccompProfile.type", "Unconfined", "seccompProfile"),
        (f"{ONE}.securityContext.runAsNonRoot", GONE, "runAsNonRoot"),
        (f"{ONE}.securityContext.runAsUser", 0, "runAsUser"),
        (f"{ONE}.securityContext.runAsUser", GONE, "expected a number"),
        (f"{ONE}.securityContext.readOnlyRootFilesystem", False, "readOnlyRootFilesystem"),
        # What we want beyond.
        (f"{ONE}.image", "openmultistack/functions:latest", "image"),
        (f"{ONE}.image", "r.example:5000/functions", "image"),
        (f"{ONE}.resources.limits", GONE, "limit of memory"),
    ]
]
OTHERS = [
    Wrong(*it)
    for it in [
        (KNATIVE, "PingSource", "spec.shedule", "* * * * *", "shedule"),
        (KNATIVE, "PingSource", "spec.sink.name", "reap", "name"),
        (KNATIVE, "PingSource", "spec.schedule", 1, "schedule"),
        (KNATIVE, "PingSource", "kind", "PingSauce", "unknown"),
        (KNATIVE, "PingSource", "apiVersion", "sources.knative.dev/v1beta9", "apiVersion"),
        (PLAIN, "Deployment", "kind", "Deploymint", "unknown"),
        (PLAIN, "Deployment", "apiVersion", "apps/v1beta1", "unknown"),
        (PLAIN, "Deployment", "spec.replica", 2, "replica"),
        (PLAIN, "Deployment", "spec.replicas", "two", "replicas"),
        (PLAIN, "Deployment", f"{ONE}.livenessProbe.httpGet.port", GONE, "port"),
        (PLAIN, "Deployment", f"{ONE}.readinessProbe.httpGet.url", "/", "url"),
        (PLAIN, "Deployment", f"{ONE}.env.0.name", "PORT", "PORT"),
        (PLAIN, "Deployment", f"{ONE}.env.0.name", "K_SERVICE", "K_SERVICE"),
        (PLAIN, "Deployment", f"{ONE}.securityContext.runAsUser", "65532", "runAsUser"),
        (PLAIN, "Deployment", f"{ONE}.securityContext.privileged", True, "privileged"),
        (PLAIN, "Deployment", f"{ONE}.securityContext.procMount", "Unmasked", "procMount"),
        (PLAIN, "Deployment", f"{ONE}.ports.0.hostPort", 80, "hostPort"),
        (PLAIN, "Deployment", f"{POD}.hostNetwork", True, "hostNetwork"),
        (
            PLAIN,
            "Deployment",
            f"{POD}.volumes.0",
            {"name": "issuers", "hostPath": {"path": "/"}},
            "hostPath",
        ),
        (PLAIN, "Deployment", f"{POD}.terminationGracePeriodSeconds", "150s", "Grace"),
        (PLAIN, "CronJob", "spec.schedules", "* * * * *", "schedules"),
        (PLAIN, "CronJob", f"{JOB}.securityContext.privileged", True, "privileged"),
        (PLAIN, "CronJob", f"{JOB}.image", "functions", "image"),
        (PLAIN, "NetworkPolicy", "spec.policyTypes", "Ingress", "policyTypes"),
        (PLAIN, "NetworkPolicy", "spec.podSelektor", {}, "podSelektor"),
        (PLAIN, "PodDisruptionBudget", "spec.maxUnavailible", 1, "maxUnavailible"),
        (PLAIN, "ServiceAccount", "automountServiceAccountToken", "no", "automount"),
        (PLAIN, "Service", "spec.ports.0.port", "http", "port"),
    ]
]


def good(platform: str, kind: str) -> dict:
    """Return a good manifest of a kind: of `create`, or the first there is."""
    found = [it for it in manifests(platform) if it["kind"] == kind]
    return next((it for it in found if it["metadata"]["name"] == "create"), found[0])


def changed(manifest: dict, path: str, value: object) -> dict:
    """Return a manifest with one field that is another, new or gone."""
    whole = at = copy.deepcopy(manifest)
    *parts, last = [it.replace("~", ".") for it in path.split(".")]
    for part in parts:
        at = at[int(part) if isinstance(at, list) else part]
    key = int(last) if isinstance(at, list) else last
    if value is GONE:
        del at[key]
    else:
        at[key] = value
    return whole


@pytest.mark.parametrize("wrong", [*SERVICE, *OTHERS], ids=lambda it: f"{it.kind} {it.path}")
def test_a_wrong_field_is_red(wrong):
    """And it alone: the same manifest is good without it."""
    manifest = good(wrong.platform, wrong.kind)
    assert faults(manifest) == []
    found = faults(changed(manifest, wrong.path, wrong.value))
    assert any(wrong.said in it for it in found), found
