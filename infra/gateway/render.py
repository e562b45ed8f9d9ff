"""Envoy's configuration, rendered from the issuers file and the functions' addresses.

    python -m infra.gateway.render --issuers FILE --gate FILE --listen HOST:PORT --admin unix:PATH
        --function create=unix:PATH[,HOST:PORT...] --function list=... > envoy.json

Who is let in is written into a file of its own, the gate (mode 0600), which Envoy reads again
whenever it is replaced: gatekeeper.py does so as issuers and keys change. The rest is printed.

What the gateway does: lets nobody in without a good JWT, routes by method and path, bounds sizes
and times, answers its own refusals as problem documents, and writes a line for each request.
"""

import argparse
import ipaddress
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.gateway import clusters, gate, listener, routes
from openmultistack.auth.issuers import load_issuers
from openmultistack.domain.errors import ConfigurationError

Json = dict[str, Any]
Address = clusters.Address

CONNECTIONS_MAX = 10_000
# Else Envoy passes over what stands between a chunk's end and its line's, and whoever reads the
# same bytes in front of it may have seen a request there.
STRICT = {"envoy.reloadable_features.strict_chunk_parsing": True}
_CONNECTIONS = (
    "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
    ".DownstreamConnectionsConfig"
)


def bootstrap(
    *,
    gate_file: Path,
    listen: tuple[str, int],
    admin: Address,
    functions: Mapping[str, Sequence[Address]],
    timeouts_s: Mapping[str, float] | None = None,
) -> Json:
    """Return all but the gate, which has to be in its file when Envoy starts.

    `timeouts_s` replaces the route timeouts of functions.

    Raises:
        ValueError: a routed function has no address, or others than this machine could reach the
            admin interface.
    """
    if not isinstance(admin, Path):
        _refuse_open_admin(admin[0])
    missing = [name for name in sorted(routes.FUNCTIONS) if not functions.get(name)]
    if missing:
        raise ValueError(f"no address for the functions {', '.join(missing)}")
    table = routes.route_config(timeouts_s or {})
    return {
        # What is discovered is asked for in the name of a node, be it of a file.
        "node": {"id": "gateway", "cluster": "gateway"},
        "admin": {"address": clusters.address(admin)},
        "static_resources": {
            "listeners": [listener.listener(listen, gate.discovered(gate_file), table)],
            "clusters": [clusters.cluster(name, where) for name, where in functions.items()],
        },
        "layered_runtime": {"layers": [{"name": "strict", "static_layer": STRICT}]},
        "overload_manager": {"resource_monitors": [_connections()]},
    }


def _refuse_open_admin(host: str) -> None:
    """Let nobody but this machine stop Envoy or read its configuration."""
    if not ipaddress.ip_address(host).is_loopback:
        raise ValueError(f"the admin interface on {host}: expected a loopback address")


def _connections() -> Json:
    """Bound the open connections, so that file descriptors are left for the functions."""
    return {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": _CONNECTIONS,
            "max_active_downstream_connections": CONNECTIONS_MAX,
        },
    }


def _address(text: str) -> Address:
    path = text.removeprefix("unix:")
    return Path(path) if path != text else _host_port(text)


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port):
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT")
    return host, int(port)


def _replicas(text: str) -> tuple[str, list[Address]]:
    name, _, where = text.partition("=")
    return name, [_address(it) for it in where.split(",")]


def _timeout(text: str) -> tuple[str, float]:
    name, _, seconds = text.partition("=")
    return name, float(seconds)


def main() -> None:
    """Print the configuration for the addresses of the command line, and write the gate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--issuers", type=Path, required=True)
    parser.add_argument("--gate", type=Path, required=True)
    parser.add_argument("--listen", type=_host_port, required=True)
    parser.add_argument("--admin", type=_address, required=True)
    parser.add_argument("--function", type=_replicas, action="append", required=True)
    parser.add_argument("--timeout", type=_timeout, action="append", default=[])
    given = parser.parse_args()
    try:
        config = bootstrap(
            gate_file=given.gate.absolute(),
            listen=given.listen,
            admin=given.admin,
            functions=dict(given.function),
            timeouts_s=dict(given.timeout),
        )
        gate.put(given.gate, gate.document(load_issuers(given.issuers).values()))
    except (ConfigurationError, ValueError) as error:
        sys.exit(f"render.py: {error}")
    except OSError as error:
        sys.exit(f"render.py: {given.gate}: cannot be written ({error.strerror})")
    print(json.dumps(config, indent=1))


if __name__ == "__main__":
    main()
