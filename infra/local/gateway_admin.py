"""Envoy's own interface, on a socket that its user alone can reach: what it counts, and its end."""

import httpx

from infra.local.layout import Stack


def stats(stack: Stack, pattern: str) -> dict[str, str]:
    """Return what Envoy counts under the names that a pattern finds; nothing if it is silent."""
    text = _asked(stack, "GET", "/stats", {"filter": pattern})
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def under_way(stack: Stack) -> int:
    """Return how many requests are being answered; sweeps, which may be cut off, are none."""
    told = stats(stack, r"^cluster\.[^.]+\.upstream_rq_active$")
    return sum(int(count) for name, count in told.items() if not name.startswith("cluster.reap."))


def close_listeners(stack: Stack) -> None:
    """Have the gateway take no new connection; what is under way goes on."""
    _asked(stack, "POST", "/drain_listeners", {})


def _asked(stack: Stack, method: str, path: str, query: dict[str, str]) -> str:
    transport = httpx.HTTPTransport(uds=str(stack.admin_socket))
    try:
        with httpx.Client(transport=transport, base_url="http://envoy", timeout=5) as client:
            answer = client.request(method, path, params=query)
            return answer.text if answer.is_success else ""
    except httpx.HTTPError:
        return ""
