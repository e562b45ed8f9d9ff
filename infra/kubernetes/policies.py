"""Who may reach whom: nobody anybody, but for what stands here.

Who may reach the gateway comes with the gateway.

On Knative requests come by way of its activator and its ingress, whose namespaces are let in; who
may call these is not for us to say, and the functions verify each token themselves.
"""

from collections.abc import Mapping, Sequence

from infra.kubernetes.container import (
    CALLS_CLOUDS,
    FUNCTION,
    GATEWAY,
    NAME,
    NAMESPACE,
    PART,
    PORT,
    TRIGGER,
    WHICH,
    Json,
    meta,
)
from openmultistack.wiring.doors import DOORS

# Where Knative's activator and autoscaler are, and what its ingress is if nothing else was chosen.
KNATIVE = ("knative-serving", "kourier-system")
# Of queue-proxy, which stands in front of the function in its pod: requests, over HTTP/2, over TLS,
# and what the autoscaler counts by.
QUEUE_PROXY = (8012, 8013, 8112, 9090)
# Redis, Redis over TLS as managed ones have it, Sentinels.
LEDGER = (6379, 6380, 26379)
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
# Where machines ask who they are: no cloud's API is there.
LINK_LOCAL = {"0.0.0.0/0": ["169.254.0.0/16"], "::/0": ["fe80::/10", "fd00:ec2::254/128"]}
# Where nodes may have a cache of names of their own.
NODE_DNS = "169.254.20.10/32"


def on_knative() -> list[Json]:
    """Return the policies of a namespace whose functions are Knative Services."""
    platform = [_in_namespace(it) for it in KNATIVE]
    return [
        *_everywhere(),
        _into("functions-in", {PART: FUNCTION}, platform, QUEUE_PROXY),
        _out_of("gateway-out", {PART: GATEWAY}, platform, ()),
        _out_of("trigger-out", {PART: TRIGGER}, platform, ()),
    ]


def on_kubernetes() -> list[Json]:
    """Return the policies of a namespace whose functions are Deployments."""
    timed = [name for name, it in DOORS.items() if it.schedule]
    gateway, trigger = _pods({PART: GATEWAY}), _pods({PART: TRIGGER})
    called = [_pods({WHICH: it}) for it in timed]
    return [
        *_everywhere(),
        _into("functions-in", {PART: FUNCTION}, [gateway], (PORT,)),
        *(_into(f"{it}-in", {WHICH: it}, [trigger], (PORT,)) for it in timed),
        _out_of("gateway-out", {PART: GATEWAY}, [_pods({PART: FUNCTION})], (PORT,)),
        _out_of("trigger-out", {PART: TRIGGER}, called, (PORT,)),
    ]


def _everywhere() -> list[Json]:
    """Return what holds on both: no more than names, the ledger, and clouds for whom they are."""
    dns = [{"port": 53, "protocol": it} for it in ("UDP", "TCP")]
    names = [_in_namespace("kube-system"), {"ipBlock": {"cidr": NODE_DNS}}]
    ledger: list[Json] = [{"namespaceSelector": {}}, *({"ipBlock": {"cidr": it}} for it in PRIVATE)]
    outside = [{"ipBlock": {"cidr": it, "except": but}} for it, but in LINK_LOCAL.items()]
    return [
        _policy("nobody", {}, {"policyTypes": ["Ingress", "Egress"]}),
        _policy("names-out", {NAME: NAMESPACE}, _egress([{"to": names, "ports": dns}])),
        _out_of("ledger-out", {PART: FUNCTION}, ledger, LEDGER),
        _out_of("clouds-out", {CALLS_CLOUDS: "true"}, outside, ()),
    ]


def _pods(labelled: Mapping[str, str]) -> Json:
    return {"podSelector": {"matchLabels": {NAME: NAMESPACE, **labelled}}}


def _in_namespace(name: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _into(name: str, labelled: Json, peers: Sequence[Json], ports: Sequence[int]) -> Json:
    rule = {"from": list(peers), "ports": _tcp(ports)}
    return _policy(name, labelled, {"policyTypes": ["Ingress"], "ingress": [rule]})


def _out_of(name: str, labelled: Json, peers: Sequence[Json], ports: Sequence[int]) -> Json:
    """Return what lets pods out to peers; without ports to all of TCP."""
    return _policy(name, labelled, _egress([{"to": list(peers), "ports": _tcp(ports)}]))


def _egress(rules: list[Json]) -> Json:
    return {"policyTypes": ["Egress"], "egress": rules}


def _tcp(ports: Sequence[int]) -> list[Json]:
    return [{"port": it, "protocol": "TCP"} for it in ports] or [{"protocol": "TCP"}]


def _policy(name: str, labelled: Json, said: Json) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta(name),
        "spec": {"podSelector": {"matchLabels": labelled} if labelled else {}, **said},
    }
