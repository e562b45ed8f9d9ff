"""How connections to clouds come about: a host that is gone costs one short wait, not many.

The sdk has one timeout for connecting and reading, and to learn an endpoint's versions it asks
several addresses of the same host.
"""

import threading
import time
from typing import Any

import requests
from keystoneauth1.session import TCPKeepAliveAdapter

CONNECT_TIMEOUT_S = 3.05  # just over a multiple of 3 s, TCP's retransmission window
# For so long a host that took no connection is not tried again: as long as one call's own steps.
GONE_FOR_S = 2.0


class ImpatientAdapter(TCPKeepAliveAdapter):
    """Waits for a connection for a short time only, and once for all steps of a call."""

    def __init__(self) -> None:
        self._gone: dict[str, float] = {}
        self._lock = threading.Lock()
        super().__init__()

    def send(self, request: Any, *args: Any, **more: Any) -> Any:  # noqa: ANN401  as the one above
        """Send a request, or refuse to when its host took no connection just now."""
        host = request.url.split("/", 3)[2]
        with self._lock:
            if self._gone.get(host, 0) > time.monotonic():
                raise requests.exceptions.ConnectTimeout("took no connection just now")
        if isinstance(more.get("timeout"), int | float):
            more["timeout"] = (CONNECT_TIMEOUT_S, more["timeout"])
        try:
            return super().send(request, *args, **more)
        except requests.exceptions.ConnectTimeout:
            with self._lock:
                self._gone[host] = time.monotonic() + GONE_FOR_S
            raise
