"""A function's replicas as an Envoy cluster: how they are balanced, held open and passed over."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]
# Host and port, or a Unix socket.
Address = tuple[str, int] | Path

CONNECT_TIMEOUT = "1s"
# A function that ends closes its idle connections after 2 s. A request sent into a closing
# connection is lost, and as it may have been read, a POST must not be sent twice. So Envoy lets go
# well before: half a second covers the clocks of both.
IDLE_TIMEOUT = "1.5s"
# Envoy's own bounds (1024, and 3 retries at a time for a whole cluster) would refuse a burst that
# meets a dead replica: each of its requests needs a retry at the same moment.
BURST = 4096

_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def address(where: Address) -> Json:
    """Return Envoy's form of an address; a socket that it makes itself is its user's alone."""
    if isinstance(where, Path):
        return {"pipe": {"path": str(where), "mode": 0o600}}
    host, port = where
    return {"socket_address": {"address": host, "port_value": port}}


def cluster(name: str, replicas: Sequence[Address]) -> Json:
    """Return a function's replicas; one that takes no connection is passed over for a while."""
    endpoints = [{"endpoint": {"address": address(it)}} for it in replicas]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": CONNECT_TIMEOUT,
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {
            _PROTOCOL: {
                "@type": f"type.googleapis.com/{_PROTOCOL}",
                "common_http_protocol_options": {"idle_timeout": IDLE_TIMEOUT},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "circuit_breakers": {"thresholds": [_bounds()]},
        "outlier_detection": _outliers(),
    }


def _bounds() -> Json:
    kinds = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return dict.fromkeys(kinds, BURST)


def _outliers() -> Json:
    """Return when a replica is passed over: only when it cannot be reached.

    A 5xx is an answer about a cloud, not about the replica that gave it.
    """
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "interval": "1s",
        "base_ejection_time": "2s",
        "max_ejection_time": "10s",
        "max_ejection_percent": 50,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
    }
