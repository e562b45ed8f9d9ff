"""Who reaches whom: the policies as Kubernetes reads them, allowed if any of them says so."""

import ipaddress
from functools import cache
from typing import NamedTuple

import pytest

from infra.kubernetes.container import (
    FUNCTION,
    GATEWAY,
    NAMESPACE,
    TRIGGER,
    function_labels,
    labels,
)
from infra.kubernetes.render import PLATFORMS, manifests
from openmultistack.wiring.doors import DOORS


class Place(NamedTuple):
    """A pod with its labels, or an address outside."""

    namespace: str | None
    labels: dict[str, str]
    address: str = "10.1.2.3"


FUNCTIONS = {name: Place(NAMESPACE, function_labels(name)) for name in DOORS}
GATE, CLOCK = Place(NAMESPACE, labels(GATEWAY)), Place(NAMESPACE, labels(TRIGGER))
STRANGER = Place("elsewhere", {"app": "x"})
# It says that it is the gateway, and is not of our namespace.
IMPOSTOR = Place("elsewhere", labels(GATEWAY))
UNLABELLED = Place(NAMESPACE, {})
REDIS, DNS = Place("redis", {"app": "redis"}), Place("kube-system", {"k8s-app": "kube-dns"})
ACTIVATOR, KOURIER = Place("knative-serving", {}), Place("kourier-system", {})
MANAGED = Place(None, {}, "10.200.0.9")
CLOUD = Place(None, {}, "203.0.113.7")
CLOUD6 = Place(None, {}, "2001:db8::7")
WHO_AM_I = [Place(None, {}, it) for it in ("169.254.169.254", "fe80::1", "fd00:ec2::254")]


@cache
def policies(platform: str) -> list[dict]:
    return [it["spec"] for it in manifests(platform) if it["kind"] == "NetworkPolicy"]


def fits(selector: dict | None, found: dict[str, str]) -> bool:
    return (selector or {}).get("matchLabels", {}).items() <= found.items()


def is_peer(peer: dict, other: Place) -> bool:
    """Whether a policy of our namespace means a place with what it says of a peer."""
    if "ipBlock" in peer:
        at = ipaddress.ip_address(other.address)
        inside = [at in ipaddress.ip_network(it) for it in peer["ipBlock"].get("except", ())]
        return at in ipaddress.ip_network(peer["ipBlock"]["cidr"]) and not any(inside)
    if other.namespace is None:
        return False
    named = {"kubernetes.io/metadata.name": other.namespace}
    here = (
        fits(peer["namespaceSelector"], named)
        if "namespaceSelector" in peer
        else other.namespace == NAMESPACE
    )
    return here and fits(peer.get("podSelector"), other.labels)


def lets(
    platform: str, pod: Place, way: str, other: Place, port: int, protocol: str = "TCP"
) -> bool:
    """Whether the policies let a pod of ours in or out; all is let that no policy is about."""
    kind, peers = {"in": ("ingress", "from"), "out": ("egress", "to")}[way]
    about = [
        it
        for it in policies(platform)
        if kind.capitalize() in it["policyTypes"] and fits(it["podSelector"], pod.labels)
    ]
    rules = [rule for it in about for rule in it.get(kind, ())]
    return not about or any(
        any(is_peer(it, other) for it in rule[peers])
        and any(it["protocol"] == protocol and it.get("port", port) == port for it in rule["ports"])
        for rule in rules
    )


@pytest.mark.parametrize("name", DOORS)
def test_on_kubernetes_only_gateway_and_trigger_reach_a_function(name):
    function = FUNCTIONS[name]
    timed = DOORS[name].schedule is not None
    assert lets("kubernetes", function, "in", GATE, 8080)
    assert lets("kubernetes", GATE, "out", function, 8080)
    assert lets("kubernetes", function, "in", CLOCK, 8080) == timed
    assert lets("kubernetes", CLOCK, "out", function, 8080) == timed
    for it in (STRANGER, IMPOSTOR, UNLABELLED, CLOUD, REDIS, *FUNCTIONS.values()):
        assert not lets("kubernetes", function, "in", it, 8080), it
    assert not lets("kubernetes", function, "in", GATE, 22)


@pytest.mark.parametrize("name", DOORS)
def test_on_knative_only_what_knative_is_made_of_reaches_a_function(name):
    """The activator, the autoscaler, the ingress: at queue-proxy, never past it."""
    function = FUNCTIONS[name]
    for it in (ACTIVATOR, KOURIER):
        assert all(lets("knative", function, "in", it, port) for port in (8012, 8112, 9090))
        assert not lets("knative", function, "in", it, 8080)
        assert lets("knative", CLOCK, "out", it, 8081)
        assert lets("knative", GATE, "out", it, 8081)
    for it in (STRANGER, IMPOSTOR, UNLABELLED, GATE, CLOCK, CLOUD, *FUNCTIONS.values()):
        assert not lets("knative", function, "in", it, 8012), it


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", DOORS)
def test_only_functions_that_call_clouds_reach_outside(platform, name):
    function, calls = FUNCTIONS[name], DOORS[name].calls_clouds
    for cloud in (CLOUD, CLOUD6):
        assert all(lets(platform, function, "out", cloud, at) == calls for at in (443, 5000, 8774))
        assert not lets(platform, function, "out", cloud, 443, "UDP")
    assert not any(lets(platform, function, "out", it, 80) for it in WHO_AM_I)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_function_reaches_the_ledger_and_names(platform):
    for function in FUNCTIONS.values():
        for it in (REDIS, MANAGED):
            assert all(lets(platform, function, "out", it, at) for at in (6379, 6380, 26379))
        assert all(lets(platform, function, "out", DNS, 53, it) for it in ("UDP", "TCP"))
        assert not lets(platform, function, "out", STRANGER, 53, "UDP")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_is_not_of_ours_reaches_nobody_and_is_reached_by_nobody(platform):
    for other in (CLOUD, DNS, REDIS, GATE, FUNCTIONS["list"]):
        for way in ("in", "out"):
            assert not lets(platform, UNLABELLED, way, other, 6379)
    assert not lets(platform, CLOCK, "out", CLOUD, 443)
    assert not lets(platform, CLOCK, "out", REDIS, 6379)
    assert not lets(platform, CLOCK, "in", GATE, 8080)
    assert not lets(platform, GATE, "out", CLOUD, 443)
    assert labels(FUNCTION).items() <= FUNCTIONS["list"].labels.items()
