"""What each kind of fault does to one exchange between a client and a compute endpoint."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web
from rules import Rule

# Longer than any client of ours waits.
HANG_S = 120
# How often a hang looks whether its client is still there.
LOOK_EVERY_S = 0.05
HTML = "<html><head><title>{0}</title></head><body><h1>{0} says nginx</h1></body></html>"


class Exchange(NamedTuple):
    """One request, its rule, and the way to have the target execute it."""

    request: web.BaseRequest
    rule: Rule
    forward: Callable[[], Awaitable[web.Response]]


def reset(request: web.BaseRequest) -> web.Response:
    """Break a connection with RST instead of FIN; what is returned reaches nobody."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def delay(it: Exchange) -> web.StreamResponse:
    """Only late, which every kind can be: see `delay_s`."""
    return await it.forward()


async def reset_before(it: Exchange) -> web.StreamResponse:
    """Break off before anything was executed."""
    return reset(it.request)


async def reset_after(it: Exchange) -> web.StreamResponse:
    """Have it executed, and lose the answer."""
    await it.forward()
    return reset(it.request)


async def error_before(it: Exchange) -> web.StreamResponse:
    """Answer an error in Nova's words; nothing is executed."""
    message = "Unexpected API Error."
    fault = {"computeFault": {"code": it.rule.status, "message": message}}
    return web.json_response(fault, status=it.rule.status)


async def error_after(it: Exchange) -> web.StreamResponse:
    """Have it executed, and answer an error."""
    await it.forward()
    return await error_before(it)


async def rate_limit(it: Exchange) -> web.StreamResponse:
    """Ask the client to come again later; nothing is executed."""
    wait = str(it.rule.retry_after_s)
    fault = {"code": it.rule.status, "message": "This request was rate-limited."}
    return web.json_response(
        {"overLimit": fault | {"retryAfter": wait}},
        status=it.rule.status,
        headers={"Retry-After": wait},
    )


async def truncated(it: Exchange) -> web.StreamResponse:
    """Have it executed, and close half way through the answer; without a body, reset."""
    answer = await it.forward()
    body = bytes(answer.body or b"")
    if not body:
        return reset(it.request)
    cut = web.StreamResponse(status=answer.status, headers=answer.headers)
    cut.content_length = len(body)
    await cut.prepare(it.request)
    await cut.write(body[: len(body) // 2])
    if it.request.transport is not None:
        it.request.transport.close()
    return cut


async def html(it: Exchange) -> web.StreamResponse:
    """Answer a page, as a proxy before a cloud does."""
    if it.rule.executed:
        await it.forward()
    page = HTML.format(it.rule.status)
    return web.Response(text=page, status=it.rule.status, content_type="text/html")


async def broken_body(it: Exchange) -> web.StreamResponse:
    """Have it executed, and accept it without saying what was made."""
    await it.forward()
    return web.json_response({"server": {"links": []}}, status=202)


async def hang(it: Exchange) -> web.StreamResponse:
    """Answer nothing, until the client goes or has waited `HANG_S`."""
    if it.rule.executed:
        await it.forward()
    until = asyncio.get_running_loop().time() + HANG_S
    # aiohttp tells nobody that a client went, it only forgets the transport.
    while it.request.transport is not None and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_EVERY_S)
    return reset(it.request)


# `refuse` is not here: it is a state of the target, there is no exchange.
KINDS: dict[str, Callable[[Exchange], Awaitable[web.StreamResponse]]] = {
    "delay": delay,
    "reset_before": reset_before,
    "reset_after": reset_after,
    "error_before": error_before,
    "error_after": error_after,
    "rate_limit": rate_limit,
    "truncated": truncated,
    "html": html,
    "broken_body": broken_body,
    "hang": hang,
}


async def commit(it: Exchange) -> web.StreamResponse:
    """Have the whole request, let the fault's delay pass, then do it.

    A client still at sending would hear of a reset there, and see an orderly end where it reads.
    """
    await it.request.read()
    await asyncio.sleep(it.rule.delay_s)
    return await KINDS[it.rule.kind](it)
