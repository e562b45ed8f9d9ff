"""One HTTP call: counted, slowed, its token and microversion looked at, and answered as JSON."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from aiohttp import web
from faults import Fault, NotAuthenticated
from region import Region

Microversion = tuple[int, int]
OLDEST: Microversion = (2, 1)
REQUEST_ID = "x-openstack-request-id"
SERVICE_AT = 5  # http://host/provider/region/service


@dataclass(slots=True)
class Call:
    """What a client asks of a region."""

    region: Region
    url: str  # of the service, without a slash at its end
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    microversion: Microversion


@dataclass(slots=True)
class Answer:
    """What it gets; no body without a document."""

    status: int
    document: Any = None
    headers: Mapping[str, str] | None = None

    def response(self) -> web.Response:
        """Return it for the wire."""
        if self.document is None:
            return web.Response(status=self.status, headers=self.headers)
        return web.json_response(self.document, status=self.status, headers=self.headers)


Handler = Callable[[Call], Answer]
# method, path (as aiohttp's router takes it), handler
Route = tuple[str, str, Handler]
# Gives a request its answer; raises NotAuthenticated.
Check = Callable[[web.Request], None]


def bound(
    region: Region, url: str, handler: Handler, check: Check, kind: str
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return what serves a route of a region's service.

    Half of the latency is before the act and half after it: a server may exist before its client
    knows, also if the client has given up.
    """

    async def serve(request: web.Request) -> web.Response:
        region.calls[kind] += 1
        text = await request.read()
        await pause(region.conduct.latency_ms / 2)
        answer = _answer(region, url, handler, check, request, text)
        await pause(region.conduct.latency_ms / 2)
        return answer.response()

    return serve


async def pause(pause_ms: float) -> None:
    """Let others go on; nothing at all for no time."""
    if pause_ms > 0:
        await asyncio.sleep(pause_ms / 1000)


def _answer(
    region: Region, url: str, handler: Handler, check: Check, request: web.Request, text: bytes
) -> Answer:
    version = OLDEST
    try:
        check(request)
        _check_works(region, url)
        asked = request.headers.get("OpenStack-API-Version", "")
        version = asked_microversion(asked, newest(region))
        call = Call(region, url, request.match_info, request.query, parsed(text), version)
        answer = handler(call)
    except Fault as fault:
        answer = refused(fault)
    answer.headers = {**_headers(version), **(answer.headers or {})}
    if request.method != "GET":
        _record(region, request, answer)
    return answer


def _record(region: Region, request: web.Request, answer: Answer) -> None:
    """Keep a request as the log of an OpenStack's service has it."""
    told = {
        "global_request_id": request.headers.get(REQUEST_ID),
        "request_id": (answer.headers or {})[REQUEST_ID],
        "method": request.method,
        "path": request.path.rpartition("/v2.1")[2],
        "status": int(answer.status),
    }
    region.requests.append(told)


def _check_works(region: Region, url: str) -> None:
    if url.split("/")[SERVICE_AT] in region.broken:
        raise Fault(HTTPStatus.SERVICE_UNAVAILABLE, "The server is currently unavailable.")


def refused(fault: Fault) -> Answer:
    """Return a fault as an answer."""
    headers = {}
    if isinstance(fault, NotAuthenticated):
        headers["WWW-Authenticate"] = "Keystone"
    return Answer(fault.status, fault.document(), headers)


def parsed(text: bytes) -> Any:  # noqa: ANN401  JSON
    """Return a body's JSON, None for no body.

    Raises:
        Fault: it is none.
    """
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        raise Fault(HTTPStatus.BAD_REQUEST, "Malformed request body") from error


def newest(region: Region) -> Microversion:
    """Return the newest microversion that a region's Nova has."""
    return 2, region.conduct.newest_minor


@lru_cache(maxsize=256)
def asked_microversion(header: str, newest: Microversion) -> Microversion:
    """Return the microversion of a call (`compute 2.90`); the oldest if it names none.

    Raises:
        Fault: this Nova does not have it.
    """
    found = re.search(r"compute\s+(latest|\d+\.\d+)", header)
    if not found:
        return OLDEST
    if found[1] == "latest":
        return newest
    major, minor = map(int, found[1].split("."))
    if not OLDEST <= (major, minor) <= newest:
        message = f"Version {found[1]} is not supported by the API."
        message += f" Minimum is {shown(OLDEST)} and maximum is {shown(newest)}."
        raise Fault(HTTPStatus.NOT_ACCEPTABLE, message)
    return major, minor


def shown(version: Microversion) -> str:
    """Return a microversion as headers and documents have it."""
    return f"{version[0]}.{version[1]}"


def _headers(version: Microversion) -> dict[str, str]:
    return {
        "OpenStack-API-Version": f"compute {shown(version)}",
        "X-OpenStack-Nova-API-Version": shown(version),
        REQUEST_ID: f"req-{uuid4()}",
        "Vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version",
    }
