"""The one way to start a function: locally, on OpenFaaS, on Knative.

    python -m openmultistack.launch [--source FILE] [--target NAME] [--bind unix:PATH|HOST:PORT]

What is not said comes from the environment, as functions-framework has it: FUNCTION_SOURCE,
FUNCTION_TARGET, PORT, THREADS, WORKERS; and OMS_GRANTED_S, OMS_LAME_DUCK_S: what is in flight at
SIGTERM has the first to end, and so long of it new requests are still taken. The app is
functions-framework's own; the server under it is gunicorn with the bounds that functions-framework
leaves open.
"""

import argparse
import os
import re
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import functions_framework
from flask import Flask
from gunicorn.app.base import BaseApplication

from openmultistack.domain.bounds import GRANTED_S, LAME_DUCK_S, THREADS
from openmultistack.launch.lame_duck import LameDuck
from openmultistack.launch.worker import FIELD_MAX_BYTES, FIELDS_MAX, BoundedWorker

CONNECTIONS_MAX = 1000
# A proxy that reuses a connection must not lose a race: those of the platforms let go of one that
# is idle for 90 s.
KEEPALIVE_S = 95
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  gunicorn's own file, without a name


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn with our settings, which no file and no command line changes."""

    def __init__(self, app: Flask, options: Mapping[str, object], lame_duck_s: int) -> None:
        self._app = app
        self._options = options
        self._lame_duck_s = lame_duck_s
        super().__init__()

    def run(self) -> None:
        """Serve until told to end."""
        LameDuck(self, self._lame_duck_s).run()

    def load_config(self) -> None:
        """Take over the settings."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Return what answers requests."""
        return self._app


def options(bind: str, graceful_s: int, environment: Mapping[str, str]) -> dict[str, object]:
    """Return gunicorn's settings: each that bounds something, or believes somebody."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return {
        "bind": bind,
        # Of a Unix socket; that of its folder counts, this is the second bolt.
        "umask": 0o077,
        "workers": int(environment.get("WORKERS", "1")),
        "worker_class": BoundedWorker,
        "threads": int(environment.get("THREADS", THREADS)),
        # Half of the files are left for clouds and ledger.
        "worker_connections": min(CONNECTIONS_MAX, files // 2),
        # Of a worker that says nothing; what takes long here are clouds, which have their own.
        "timeout": 0,
        "graceful_timeout": graceful_s,
        "keepalive": KEEPALIVE_S,
        "limit_request_line": FIELD_MAX_BYTES,
        "limit_request_field_size": FIELD_MAX_BYTES,
        "limit_request_fields": FIELDS_MAX,
        # Nobody is believed what only a proxy may say: on a Unix socket every peer would be one.
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        "control_socket_disable": True,
        # The root of a container may be read-only.
        "worker_tmp_dir": str(SHARED_MEMORY) if os.access(SHARED_MEMORY, os.W_OK) else None,
        "loglevel": environment.get("GUNICORN_LOG_LEVEL", "error"),
    }


def make_app(source: str, target: str) -> Flask:
    """Return functions-framework's app, which leaves unread what its function did not read.

    Its own hook reads every body to its end before the answer is sent, however long it is.
    """
    app: Flask = functions_framework.create_app(target, source, "http")
    hooks: dict[Any, list[Any]] = app.after_request_funcs
    hooks[None] = [it for it in hooks.get(None, []) if it is not functions_framework.read_request]
    return app


def main() -> None:
    """Serve one function until told to end."""
    environment = os.environ
    parser = argparse.ArgumentParser(
        prog="openmultistack.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", default=environment.get("FUNCTION_SOURCE") or "main.py")
    parser.add_argument("--target", default=environment.get("FUNCTION_TARGET") or "handle")
    parser.add_argument("--bind", default=f"0.0.0.0:{environment.get('PORT') or 8080}")
    told = parser.parse_args()
    granted_s = _seconds(environment, "OMS_GRANTED_S", GRANTED_S)
    lame_duck_s = min(_seconds(environment, "OMS_LAME_DUCK_S", LAME_DUCK_S), granted_s - 1)
    app = make_app(told.source, told.target)
    Server(app, options(told.bind, granted_s - lame_duck_s, environment), lame_duck_s).run()


def _seconds(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable) or str(default)
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise SystemExit(f"refused to start: environment: {variable}: expected seconds, up to 9999")
    return int(text)


if __name__ == "__main__":
    main()
