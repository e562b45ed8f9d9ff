"""A Keystone and a Nova that answer what they are told to, over real sockets."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

REGION = "RegionOne"
PASSWORD = "very-secret-password"
TOKEN = "gAAAAA-very-secret-token"
LIMITS = {"maxTotalInstances": 20, "maxTotalCores": 40, "maxTotalRAMSize": -1}


class Answer(NamedTuple):
    """What is answered to a request, and what is done to its socket instead."""

    status: int = 200
    body: str = ""
    kind: str = "application/json"
    headers: Mapping[str, str] = {}
    # `reset`: the connection breaks; `silence`: nothing comes, until the stub ends.
    instead: str | None = None
    delay_s: float = 0


def nova(status: int, message: str, name: str = "fault") -> Answer:
    """Return a fault as Nova words them."""
    return Answer(status, json.dumps({name: {"code": status, "message": message}}))


def html(status: int) -> Answer:
    """Return what a proxy in front of a cloud says."""
    return Answer(status, f"<html><h1>{status} said nginx</h1></html>", "text/html")


class Stub:
    """One provider with one region; `answers` by `METHOD /path` come before the usual ones."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[], Answer]] = {}
        self.requests: list[str] = []
        self.queries: dict[str, list[str]] = {}
        self.bodies: list[Any] = []
        self.tokens: list[str | None] = []
        self.global_ids: list[str | None] = []
        self.over = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def answer(self) -> None:
                stub.answer(self)

            do_GET = do_POST = do_DELETE = do_PUT = answer  # noqa: N815  http.server's names

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.auth_url = f"{self.url}/v3"
        self.compute_url = f"{self.url}/v2.1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def clouds_yaml(self, provider: str = "stub") -> str:
        """Return a clouds.yaml that leads here."""
        auth = {
            "auth_url": self.auth_url,
            "username": "ci",
            "password": PASSWORD,
            "project_name": "ci",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }
        return json.dumps({"clouds": {provider: {"auth": auth, "regions": [REGION]}}})

    def posts(self, path: str) -> int:
        """Return how many POSTs a path has had."""
        return self.requests.count(f"POST {path}")

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path, _, query = handler.path.partition("?")
        asked = f"{handler.command} {path}"
        length = int(handler.headers.get("Content-Length") or 0)
        text = handler.rfile.read(length)
        self.requests.append(asked)
        self.queries.setdefault(asked, []).append(query)
        self.global_ids.append(handler.headers.get("X-OpenStack-Request-ID"))
        self.tokens.append(handler.headers.get("X-Auth-Token"))
        self.bodies.append(json.loads(text) if text else None)
        told = self.answers.get(asked) or self._usual(asked)
        answer = told() if callable(told) else told
        self.over.wait(answer.delay_s)
        if answer.instead == "silence":
            self.over.wait()
        if answer.instead:
            _reset(handler.connection)
            handler.close_connection = True
            return
        body = answer.body.encode()
        handler.send_response(answer.status)
        handler.send_header("Content-Type", answer.kind)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _usual(self, asked: str) -> Answer:
        usual: dict[str, tuple[int, Any]] = {
            "GET /v3": (200, {"version": _version("v3.14", f"{self.url}/v3", "stable")}),
            "POST /v3/auth/tokens": (201, {"token": self._token()}),
            "GET /v2.1": (200, self._nova_version()),
            "GET /v2.1/": (200, self._nova_version()),
            "POST /v2.1/servers": (202, {"server": {"id": "server-1"}}),
            "POST /v2.1/os-keypairs": (201, {"keypair": {"name": "k"}}),
            "GET /v2.1/servers/detail": (200, {"servers": []}),
            "GET /v2.1/servers": (200, {"servers": []}),
            "GET /v2.1/os-keypairs": (200, {"keypairs": []}),
            "GET /v2.1/limits": (200, {"limits": {"rate": [], "absolute": LIMITS}}),
        }
        if asked in usual:
            status, document = usual[asked]
            headers = {"X-Subject-Token": TOKEN} if asked.endswith("/tokens") else {}
            return Answer(status, json.dumps(document), headers=headers)
        return Answer(204) if asked.startswith("DELETE") else nova(404, "is not here")

    def _nova_version(self) -> dict[str, Any]:
        more = {"min_version": "2.1", "version": "2.90"}
        return {"version": _version("v2.1", self.compute_url, "CURRENT") | more}

    def _token(self) -> dict[str, Any]:
        catalog = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        "id": kind,
                        "interface": "public",
                        "region": REGION,
                        "region_id": REGION,
                        "url": url,
                    }
                ],
            }
            for kind, url in (("identity", self.auth_url), ("compute", self.compute_url))
        ]
        domain = {"id": "default", "name": "Default"}
        return {
            "methods": ["password"],
            "user": {"id": "u", "name": "ci", "domain": domain},
            "project": {"id": "p", "name": "ci", "domain": domain},
            "roles": [{"id": "r", "name": "member"}],
            "catalog": catalog,
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "expires_at": "2099-01-01T00:00:00.000000Z",
        }


def _version(name: str, url: str, status: str) -> dict[str, Any]:
    return {
        "id": name,
        "status": status,
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": url + "/"}],
        "media-types": [],
    }


def _reset(connection: socket.socket) -> None:
    """Break a connection with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
