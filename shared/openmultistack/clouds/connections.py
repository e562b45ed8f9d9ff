"""How connections to clouds come about: a host that is gone costs one short wait, not many.

The sdk has one timeout for connecting and reading, and to learn an endpoint's versions it asks
several addresses of the same host.
"""

import threading
import time
from typing import Any

import requests
from keystoneauth1.session import TCPKeepAliveAdapter

from openmultistack.logs import ASKING

# By it a service is told for which request it is called, and says what it calls that itself.
REQUEST_ID = "X-OpenStack-Request-ID"
CONNECT_TIMEOUT_S = 3.05  # just over a multiple of 3 s, TCP's retransmission window
# For so long a host that took no connection is not tried again, by any region that is there.
GONE_FOR_S = 5.0


class Hosts:
    """Which hosts took no connection just now, of all that a process speaks to."""

    def __init__(self) -> None:
        self._gone: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_gone(self, host: str) -> bool:
        """Return whether it took no connection just now."""
        with self._lock:
            return self._gone.get(host, 0) > time.monotonic()

    def went(self, host: str) -> None:
        """Take note that it took no connection."""
        with self._lock:
            self._gone[host] = time.monotonic() + GONE_FOR_S


class HostSession(requests.Session):
    """Looks up once for a host what the environment says of it: proxies, certificates."""

    def __init__(self) -> None:
        self._said: dict[tuple[object, ...], dict[str, Any]] = {}
        super().__init__()

    def merge_environment_settings(self, url: Any, proxies: Any, *how: Any) -> Any:  # noqa: ANN401  as the one above
        """Return the settings for a request; one with proxies of its own is looked up each time."""
        if proxies:
            return super().merge_environment_settings(url, proxies, *how)
        key = (*url.split("/", 3)[:3], *how)
        if key not in self._said:
            self._said[key] = super().merge_environment_settings(url, {}, *how)
        return dict(self._said[key])


class ImpatientAdapter(TCPKeepAliveAdapter):
    """Waits for a connection for a short time only, and not for each step of a call."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        super().__init__()

    def send(self, request: Any, *args: Any, **more: Any) -> Any:  # noqa: ANN401  as the one above
        """Send a request, or refuse to when its host took no connection just now."""
        host = request.url.split("/", 3)[2]
        if self._hosts.is_gone(host):
            raise requests.exceptions.ConnectTimeout("took no connection just now")
        asking = ASKING.get()
        if asking:
            request.headers[REQUEST_ID] = asking.global_id
        if isinstance(more.get("timeout"), int | float):
            more["timeout"] = (CONNECT_TIMEOUT_S, more["timeout"])
        try:
            answer = super().send(request, *args, **more)
        except requests.exceptions.ConnectTimeout:
            self._hosts.went(host)
            raise
        if asking and request.method == "POST":
            asking.hear(answer.headers.get(REQUEST_ID, ""))
        return answer
