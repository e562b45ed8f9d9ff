"""How requests reach clouds: a host that is gone costs one short wait, and each answer ends.

The sdk has one timeout for connecting and reading, and to learn an endpoint's versions it asks
several addresses of the same host. Of a body it bounds neither size nor time.
"""

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import requests
from keystoneauth1.session import TCPKeepAliveAdapter

from openmultistack.domain.cloud_errors import BadAnswer, TooLate
from openmultistack.logs import ASKING, answered

# By it a service is told for which request it is called, and says what it calls that itself.
REQUEST_ID = "X-OpenStack-Request-ID"
CONNECT_TIMEOUT_S = 3.05  # just over a multiple of 3 s, TCP's retransmission window
READ_TIMEOUT_S = 30.0
# For so long a host that took no connection is not tried again, by any region that is there.
GONE_FOR_S = 5.0
# A page of 1,000 servers, Nova's own limit, is some 5 MB; a catalog of 100 regions is 1 MB.
BODY_MAX_BYTES = 32 * 2**20
# For a body, from its first byte to its last: a cloud that is well needs a second or two.
BODY_MAX_S = 30.0
_READ_BYTES = 2**16


def call_timeouts() -> tuple[float, float]:
    """Return how long a call may take to connect, and then to be answered."""
    return CONNECT_TIMEOUT_S, READ_TIMEOUT_S


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

    def request(self, *args: Any, not_after: float = math.inf, **more: Any) -> Any:  # noqa: ANN401  as the one above
        """Send a request, if it is not too late: a rate limit or a login came before.

        `not_after` is of the monotonic clock, in seconds.
        """
        if time.monotonic() > not_after:
            raise TooLate("not sent: its lease was nearly over")
        return super().request(*args, **more)

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
        answered("")
        if asking:
            asking.called = True
            request.headers[REQUEST_ID] = asking.global_id
        if isinstance(more.get("timeout"), int | float):
            more["timeout"] = (CONNECT_TIMEOUT_S, more["timeout"])
        try:
            answer = super().send(request, *args, **more)
        except requests.exceptions.ConnectTimeout:
            self._hosts.went(host)
            raise
        answer.raw = _Bounded(answer.raw)
        own_id = answer.headers.get(REQUEST_ID, "")
        answered(own_id)
        if asking and request.method == "POST":
            asking.hear(own_id)
        return answer


class _Bounded:
    """A body as urllib3 gives it, which ends: by itself, or as a failure."""

    def __init__(self, raw: Any) -> None:  # noqa: ANN401  urllib3's response
        self._raw = raw

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  as urllib3 has it
        return getattr(self._raw, name)

    def stream(self, _: int, *, decode_content: bool) -> Iterator[bytes]:
        """Give the body as it comes.

        Raises:
            BadAnswer: it is longer, or takes longer, than any true one.
        """
        until, left = time.monotonic() + BODY_MAX_S, BODY_MAX_BYTES
        while chunk := self._raw.read1(_READ_BYTES, decode_content=decode_content):
            left -= len(chunk)
            if left < 0 or time.monotonic() > until:
                self._raw.close()
                raise BadAnswer("its answer does not end")
            yield chunk
