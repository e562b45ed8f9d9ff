"""Envoy's own interface, on a socket that its user alone can reach: what it counts, and its end."""

import httpx
from layout import Stack


def stats(stack: Stack, pattern: str) -> dict[str, str]:
    """Return what Envoy counts under the names that a pattern finds; nothing if it is silent."""
    text = _asked(stack, "GET", "/stats", {"filter": pattern})
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def close_listeners(stack: Stack) -> None:
    """Have the gateway take no new connection; what is under way goes on."""
    _asked(stack, "POST", "/drain_listeners", {})


def _asked(stack: Stack, method: str, path: str, query: dict[str, str]) -> str:
    transport = httpx.HTTPTransport(uds=str(stack.admin_socket))
    try:
        with httpx.Client(transport=transport, base_url="http://envoy", timeout=5) as client:
            return client.request(method, path, params=query).text
    except httpx.HTTPError:
        return ""
