"""A target of the fault proxy: a port of its own before one compute endpoint."""

import re
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any

from aiohttp import ClientError, ClientSession, web
from kinds import Exchange, commit, reset
from multidict import CIMultiDict as Headers
from rules import Rule, Script
from yarl import URL

HOST = "127.0.0.1"
# RFC 9110, 7.6.1, and what describes a body as it was encoded on the way.
OF_ONE_CONNECTION = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-encoding",
    "accept-encoding",
    "host",
}
# When a target closes, exchanges get no more than this to end: a hang would take minutes.
CLOSE_WITHIN_S = 0.1


class Target:
    """One compute endpoint, the port that leads to it, its faults, and what was done."""

    def __init__(self, name: str, url: str, seed: int, session: ClientSession) -> None:
        self.name = name
        self._base = URL(url.rstrip("/"))
        # Links are absolute. A longer port that only begins like ours is another's.
        self._origin = re.compile(re.escape(str(self._base.origin())) + r"(?!\d)")
        self._seed = f"{seed} {name}"
        self._session = session
        self._socket: socket.socket | None = None
        self._runner: web.ServerRunner | None = None
        self.port = self._open = 0
        self.set_rules(())

    @property
    def url(self) -> str:
        """Where a client finds the endpoint, with the path that it has itself."""
        return f"http://{HOST}:{self.port}{self._base.path}"

    def set_rules(self, rules: tuple[Rule, ...]) -> None:
        """Begin anew: these rules, the die and the counts."""
        self._script = Script(rules, self._seed)
        self._done: Counter[str] = Counter()
        self._requests = self._forwarded = 0

    def pass_everything(self) -> None:
        """Have no faults any more; the counts stay to be read."""
        self._script = Script((), self._seed)

    def counts(self) -> dict[str, Any]:
        """Return what was done since the rules were set."""
        return {
            "requests": self._requests,
            "forwarded": self._forwarded,
            "open": self._open,
            "done": dict(self._done),
        }

    def bind(self, port: int) -> None:
        """Take a port, 0 for any; connections are refused there until `follow`."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, port))
        self.port = self._socket.getsockname()[1]

    async def follow(self) -> None:
        """Listen, or refuse connections, as the rules want it; safe to repeat."""
        if self._script.refuses and self._runner:
            await self.close()
            self.bind(self.port)
        elif not self._script.refuses and not self._runner:
            self._runner = web.ServerRunner(
                web.Server(self._answer, access_log=None), shutdown_timeout=CLOSE_WITHIN_S
            )
            await self._runner.setup()
            await web.SockSite(self._runner, self._socket).start()

    async def close(self) -> None:
        """End it, with all its connections."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None
        self._socket.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._open += 1
        try:
            return await self._meet(request)
        except (ClientError, OSError):
            # The target failed, not we; a client sees the same as when it talks to it directly.
            self._done["target_failed"] += 1
            return reset(request)
        finally:
            self._open -= 1

    async def _meet(self, request: web.BaseRequest) -> web.StreamResponse:
        self._requests += 1
        if self._script.refuses:  # it came while the port was being closed
            return reset(request)
        rule = self._fault_for(request)
        self._done[rule.kind if rule else "pass"] += 1
        if rule is None:
            return await self._forward(request)
        return await commit(Exchange(request, rule, lambda: self._forward(request)))

    def _fault_for(self, request: web.BaseRequest) -> Rule | None:
        """Return the fault a request meets; what is not below the endpoint meets none."""
        path, base = request.rel_url.raw_path, self._base.raw_path
        if path != base and not path.startswith(f"{base}/"):
            return None
        return self._script.fault_for(request.method, path.removeprefix(base))

    async def _forward(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        url = URL(f"{self._base.origin()}{request.raw_path}", encoded=True)
        headers = _passed_on(request.headers)
        headers["Accept-Encoding"] = "identity"
        self._forwarded += 1
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            text = await answer.read()
            return self._led_back(answer.status, _passed_on(answer.headers), text)

    def _led_back(self, status: int, headers: Headers, body: bytes) -> web.Response:
        """Return an answer whose links lead through here."""
        here = f"http://{HOST}:{self.port}"
        headers = Headers((name, self._origin.sub(here, it)) for name, it in headers.items())
        if "json" in headers.get("Content-Type", ""):
            body = self._origin.sub(here, body.decode()).encode()
        return web.Response(status=status, headers=headers, body=body)


def _passed_on(headers: Mapping[str, str]) -> Headers:
    return Headers(it for it in headers.items() if it[0].lower() not in OF_ONE_CONNECTION)
