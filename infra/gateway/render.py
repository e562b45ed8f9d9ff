"""Envoy's configuration, rendered from the issuers file and the functions' addresses.

    python render.py --issuers FILE --listen HOST:PORT --admin HOST:PORT
        --function create=HOST:PORT[,HOST:PORT...] --function list=... > envoy.json

What the gateway does: lets nobody in without a good JWT, routes by method and path, bounds sizes
and times, answers its own refusals as problem documents, and writes a line for each request.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt_rules
import problems
import routes

Json = dict[str, Any]
Address = tuple[str, int]

BODY_MAX_BYTES = 256 * 1024
HEADERS_MAX_KB = 32
CONNECT_TIMEOUT = "1s"
# gunicorn, under functions-framework, closes a connection that was idle for 2 s; a request sent
# into the closing one would be lost, and a POST must not be sent twice. So Envoy lets go first.
UPSTREAM_IDLE_TIMEOUT = "1.5s"

_TYPES = "type.googleapis.com/envoy.extensions"
_MANAGER = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bootstrap(
    *,
    issuers_file: Path,
    listen: Address,
    admin: Address,
    functions: Mapping[str, Sequence[Address]],
) -> Json:
    """Return the whole configuration.

    Raises:
        ValueError: the issuers file is wrong, or a routed function has no address.
    """
    missing = routes.FUNCTIONS - set(functions)
    if missing:
        raise ValueError(f"no address for the functions {', '.join(sorted(missing))}")
    return {
        "admin": {"address": _address(*admin)},
        "static_resources": {
            "listeners": [_listener(listen, issuers_file)],
            "clusters": [_cluster(name, where) for name, where in functions.items()],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPES}.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 10000,
                    },
                }
            ]
        },
    }


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(listen: Address, issuers_file: Path) -> Json:
    return {
        "name": "api",
        "address": _address(*listen),
        "per_connection_buffer_limit_bytes": BODY_MAX_BYTES,
        "filter_chains": [{"filters": [_filter("http", _manager(issuers_file), _MANAGER)]}],
    }


def _filter(name: str, config: Json, type_url: str) -> Json:
    prefix = "" if type_url.startswith("type.") else _TYPES + "."
    return {"name": name, "typed_config": {"@type": prefix + type_url} | config}


def _manager(issuers_file: Path) -> Json:
    """Return how requests are read, refused, routed and logged."""
    return {
        "stat_prefix": "api",
        "codec_type": "AUTO",
        "server_header_transformation": "PASS_THROUGH",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": HEADERS_MAX_KB,
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "request_timeout": "30s",
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "200s",
        "common_http_protocol_options": {
            "idle_timeout": "60s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http_protocol_options": {"accept_http_10": False},
        "local_reply_config": problems.local_replies(),
        "access_log": [_access_log()],
        "route_config": routes.route_config(),
        "http_filters": [
            _filter("jwt", jwt_rules.rules(issuers_file), jwt_rules.TYPE),
            _filter("body", {"max_request_bytes": BODY_MAX_BYTES}, "filters.http.buffer.v3.Buffer"),
            _filter("router", {"suppress_envoy_headers": True}, "filters.http.router.v3.Router"),
        ],
    }


def _access_log() -> Json:
    """Return the line of each request: never a query or a token, which can hold secrets."""
    fields = {
        "event": "access",
        "time": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "function": "%UPSTREAM_CLUSTER%",
        "upstream": "%UPSTREAM_HOST%",
        "sub": f"%DYNAMIC_METADATA({jwt_rules.NAMESPACE}:{jwt_rules.CLAIMS}:sub)%",
    }
    return _filter(
        "stdout",
        {"log_format": {"json_format": fields}},
        "access_loggers.stream.v3.StdoutAccessLog",
    )


def _cluster(name: str, replicas: Sequence[Address]) -> Json:
    """Return a function's replicas; one that takes no connection is passed over for a while."""
    endpoints = [{"endpoint": {"address": _address(*it)}} for it in replicas]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": CONNECT_TIMEOUT,
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {
            _PROTOCOL: {
                "@type": f"type.googleapis.com/{_PROTOCOL}",
                "common_http_protocol_options": {"idle_timeout": UPSTREAM_IDLE_TIMEOUT},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "base_ejection_time": "2s",
            "max_ejection_percent": 50,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
        },
    }


def _host_port(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT")
    return host, int(port)


def _replicas(text: str) -> tuple[str, list[Address]]:
    name, _, where = text.partition("=")
    return name, [_host_port(it) for it in where.split(",")]


def main() -> None:
    """Print the configuration for the addresses of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--issuers", type=Path, required=True)
    parser.add_argument("--listen", type=_host_port, required=True)
    parser.add_argument("--admin", type=_host_port, required=True)
    parser.add_argument("--function", type=_replicas, action="append", required=True)
    given = parser.parse_args()
    try:
        config = bootstrap(
            issuers_file=given.issuers,
            listen=given.listen,
            admin=given.admin,
            functions=dict(given.function),
        )
    except (ValueError, OSError) as error:
        sys.exit(f"render.py: {error}")
    print(json.dumps(config, indent=1))


if __name__ == "__main__":
    main()
