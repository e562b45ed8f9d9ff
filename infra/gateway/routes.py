"""The API's routes: method and path to function, with the time each may take."""

from typing import Any, NamedTuple

Json = dict[str, Any]


class Route(NamedTuple):
    """One method on one path; `{id}` stands for one segment."""

    method: str
    path: str
    function: str
    # A create of 100 instances on slow clouds, a sweep of a sick region: these may take long.
    timeout_s: int = 15
    public: bool = False


ROUTES = (
    Route("POST", "/v1/instances", "create", 120),
    Route("GET", "/v1/instances", "list"),
    Route("DELETE", "/v1/instances", "destroy", 120),
    Route("GET", "/v1/instances/{id}", "list"),
    Route("PATCH", "/v1/instances/{id}", "renew"),
    Route("DELETE", "/v1/instances/{id}", "destroy", 120),
    Route("GET", "/v1/instances/{id}/events", "list"),
    Route("GET", "/v1/regions", "list"),
    Route("POST", "/v1/reap", "reap", 180),
    Route("GET", "/v1/healthz", "list", public=True),
    Route("GET", "/v1/openapi.json", "list", public=True),
)
FUNCTIONS = {route.function for route in ROUTES}

# Nothing was executed when one of these happened, so another replica may be asked, for a POST too.
_RETRY = {
    "retry_on": "connect-failure,refused-stream",
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
    "host_selection_retry_max_attempts": 3,
}


def path_match(route: Route) -> Json:
    """Return Envoy's match for a route's path."""
    if "{id}" not in route.path:
        return {"path": route.path}
    regex = route.path.replace(".", r"\.").replace("{id}", "[^/]+")
    return {"safe_regex": {"regex": regex}}


def method_match(method: str) -> Json:
    """Return Envoy's match for a method."""
    return {"name": ":method", "string_match": {"exact": method}}


def route_config() -> Json:
    """Return all routes, then for each known path a 405, then nothing: Envoy's 404."""
    return {
        "name": "api",
        "virtual_hosts": [
            {
                "name": "api",
                "domains": ["*"],
                "routes": [*(_forward(it) for it in ROUTES), *_refused_methods()],
                # A client's own wishes about routing are not for it to have.
                "request_headers_to_remove": [
                    "x-envoy-upstream-rq-timeout-ms",
                    "x-envoy-retry-on",
                    "x-envoy-max-retries",
                    "x-envoy-expected-rq-timeout-ms",
                ],
                "response_headers_to_remove": ["server"],
            }
        ],
    }


def _forward(route: Route) -> Json:
    return {
        "match": path_match(route) | {"headers": [method_match(route.method)]},
        "route": {
            "cluster": route.function,
            "timeout": f"{route.timeout_s}s",
            "retry_policy": _RETRY,
        },
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
