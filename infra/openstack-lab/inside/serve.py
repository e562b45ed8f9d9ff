"""Serves one OpenStack WSGI application with cheroot: threads, one process.

usage: serve.py NAME HOST:PORT MODULE THREADS

MODULE is an upstream entry point with an `application`, such as keystone.wsgi.api. It finds its
configuration by the OS_*_CONFIG_DIR variable that upstream reads.
"""

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from cheroot import wsgi

MAX_CACHED_TOKENS = 5000
DEFAULT_LIFE_S = 300
IDLE_TIMEOUT_S = 30

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class TokenCache:
    """What keystonemiddleware asks of a cache; stands in for memcached."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[object, float]] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> object:
        """The value, unless its time is up."""
        with self._lock:
            value, until = self._entries.get(key, (None, 0.0))
        return value if until > time.monotonic() else None

    def set(self, key: str, value: object, time: int = DEFAULT_LIFE_S) -> None:
        """Keep a value for some seconds; the names are memcached's."""
        now = monotonic()
        with self._lock:
            if len(self._entries) > MAX_CACHED_TOKENS:
                self._entries = {k: v for k, v in self._entries.items() if v[1] > now}
            self._entries[key] = (value, now + (time or DEFAULT_LIFE_S))


monotonic = time.monotonic  # `set` has an argument named time


def with_token_cache(application: Application) -> Application:
    """Put a cache where `[keystone_authtoken] cache = swift.cache` looks for it."""
    cache = TokenCache()

    def cached(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["swift.cache"] = cache
        return application(environ, start_response)

    return cached


def serve(application: Application, address: str, threads: int) -> None:
    """Serve until a signal ends the process."""
    host, port = address.rsplit(":", 1)
    server = wsgi.Server(
        (host, int(port)),
        with_token_cache(application),
        numthreads=threads,
        max=threads * 4,
        request_queue_size=128,
        timeout=IDLE_TIMEOUT_S,
        server_name=host,
    )
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    try:
        server.start()
    finally:
        os._exit(1)


def main() -> None:
    """Serve what the command line names."""
    name, address, module, threads = sys.argv[1:]
    sys.argv = [name]  # upstream's applications read it for options of theirs
    serve(importlib.import_module(module).application, address, int(threads))


if __name__ == "__main__":
    main()
