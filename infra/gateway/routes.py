"""The API's routes: method and path to function, as the library's table of functions has them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from openmultistack.wiring.doors import DOORS, endpoints_of

Json = dict[str, Any]


class Route(NamedTuple):
    """One method on one path; `{id}`, or any such name, stands for one segment."""

    method: str
    path: str
    function: str
    timeout_s: int
    public: bool


def _routes() -> Iterator[Route]:
    for name, door in DOORS.items():
        for it in endpoints_of(name):
            path, is_public = door.dialect.prefix + it.path, it.guard.scope is None
            if it.is_routed:
                yield Route(it.method, path, name, it.timeout_s, is_public)


# A path without a name in it is matched before those of the same form with one.
ROUTES = tuple(sorted(_routes(), key=lambda it: "{" in it.path))
_UNBUFFERED = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
FUNCTIONS = {route.function for route in ROUTES}

# Nothing was executed when one of these happened, so another replica may be asked, for a POST too.
_RETRY = {
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": 3,
    "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
    "retry_host_predicate": [
        {
            "name": "previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3"
                ".PreviousHostsPredicate"
            },
        }
    ],
    # Chosen by lot each time: with ten lots a replica that lives is as good as certain.
    "host_selection_retry_max_attempts": 10,
}


def path_match(route: Route) -> Json:
    """Return Envoy's match for a route's path."""
    if "{" not in route.path:
        return {"path": route.path}
    regex = re.sub(r"\{\w+\}", "[^/]+", route.path.replace(".", r"\."))
    return {"safe_regex": {"regex": regex}}


def method_match(method: str) -> Json:
    """Return Envoy's match for a method."""
    return {"name": ":method", "string_match": {"exact": method}}


def route_config(timeouts_s: Mapping[str, float]) -> Json:
    """Return all routes, then for each known path a 405, then nothing: Envoy's 404."""
    forwarded = [_forward(it, timeouts_s.get(it.function, it.timeout_s)) for it in ROUTES]
    host = {
        "name": "api",
        "domains": ["*"],
        "routes": [_refused_hosts(), *forwarded, *_refused_methods(), _refused_tunnels()],
        "response_headers_to_remove": ["server"],
    }
    return {"name": "api", "virtual_hosts": [host]}


def _forward(route: Route, timeout_s: float) -> Json:
    return {
        "match": path_match(route) | {"headers": [method_match(route.method)]},
        "route": {
            "cluster": route.function,
            "timeout": f"{timeout_s}s",
            "retry_policy": _RETRY,
        },
    }


def _refused_hosts() -> Json:
    """Return the refusal of several `Host` (RFC 9112, 3.2), which Envoy joins with commas."""
    several = {"name": ":authority", "string_match": {"contains": ","}}
    return {"match": {"prefix": "/", "headers": [several]}, "direct_response": {"status": 400}}


def _refused_tunnels() -> Json:
    """Return the refusal of CONNECT at once: what follows it has no end to wait for."""
    return {
        "match": {"connect_matcher": {}},
        "direct_response": {"status": 404},
        "typed_per_filter_config": {"body": {"@type": _UNBUFFERED, "disabled": True}},
    }


def _refused_methods() -> list[Json]:
    allowed: dict[str, list[Route]] = {}
    for route in ROUTES:
        allowed.setdefault(route.path, []).append(route)
    return [
        {
            "match": path_match(known[0]),
            "direct_response": {"status": 405},
            "response_headers_to_add": [
                {"header": {"key": "allow", "value": ", ".join(it.method for it in known)}}
            ],
        }
        for known in allowed.values()
    ]
