"""HTTP: request -> (principal, command) -> response; the only place where errors become HTTP.

A door serves a few endpoints. For each request it finds the endpoint, has its guard say who calls
and that they may, runs it, and writes one line to the log.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

from openmultistack.api.calls import Call, Endpoint, Reply, content_of
from openmultistack.api.endpoints.probes import TICK
from openmultistack.api.problems import OURS, Dialect, cut
from openmultistack.auth.callers import Callers
from openmultistack.domain.bounds import BODY_MAX_BYTES
from openmultistack.domain.errors import (
    Malformed,
    MethodNotAllowed,
    NotFound,
    Problem,
    TooLarge,
    TooSlow,
    Unauthenticated,
)
from openmultistack.domain.models import Principal
from openmultistack.logs import ASKING, ATTEMPTS_TOLD, ITEMS_MAX, Asking, tell

Handler = Callable[[flask.Request], flask.Response]
# Of what a problem tells its client these are in the log as well.
_TOLD = ("instances", "unreachable", "regions", "quota", "used")


def door(
    action: str,
    endpoints: Sequence[Endpoint],
    callers: Callers,
    dialect: Dialect = OURS,
) -> Handler:
    """Return a function's handler."""

    def handle(request: flask.Request) -> flask.Response:
        began = time.monotonic()
        request_id = _request_id(request)
        asking = Asking(request_id)
        ASKING.set(asking)
        line: dict[str, object] = {"request_id": request_id, "action": action}
        is_logged = True
        try:
            endpoint, parameters = _find(endpoints, request, dialect.prefix)
            is_logged = endpoint.is_logged
            reply = _answer(endpoint, parameters, _Knock(request, callers, line))
            line |= {"outcome": "ok", **reply.told}
        except Problem as problem:
            reply = dialect.refuse(problem, request_id)
            line |= {"outcome": problem.slug, "detail": cut(str(problem)), **_told_of(problem)}
        except Exception:  # noqa: BLE001  the last line of defence: a bare 500
            said = Problem("something went wrong here; the log has it")
            reply = dialect.refuse(said, request_id)
            line["outcome"] = Problem.slug
            tell("unexpected", "exception", **line)
        line |= {"status": reply.status, "duration_ms": round((time.monotonic() - began) * 1000, 1)}
        response = _response(reply, request_id)
        # When the answer is sent: nobody waits for it, nor for structlog to be imported.
        if is_logged:
            response.call_on_close(lambda: _write(line, asking))
        return response

    if flask.has_app_context():  # functions-framework loads a function in its app's
        _refuse_in_our_words(flask.current_app, handle, dialect)
    return handle


def _refuse_in_our_words(app: flask.Flask, handle: Handler, dialect: Dialect) -> None:
    """Have problems where the framework would answer with a page, as to a path of two lines."""

    def refuse(error: HTTPException) -> flask.Response:
        if flask.request.routing_exception is error:
            return handle(flask.request)
        known = error.code == NotFound.status
        problem = (
            NotFound("there is nothing at this path") if known else Malformed("no such request")
        )
        request_id = _request_id(flask.request)
        return _response(dialect.refuse(problem, request_id), request_id)

    app.url_map.merge_slashes = False  # a redirect is nothing that the API has
    app.register_error_handler(HTTPException, refuse)


class _Knock:
    """A request of flask's before it is let in; whom it names is in the log whatever follows."""

    def __init__(self, request: flask.Request, callers: Callers, line: dict[str, object]) -> None:
        self.request = request
        self._callers = callers
        self._line = line
        self._read: bytes | None = None

    def header(self, name: str) -> str:
        return self.request.headers.get(name, "")

    def body(self) -> bytes:
        # No cached_property: until Python 3.12 it has one lock for the bodies of all requests.
        if self._read is None:
            self._read = _body(self.request)
        return self._read

    def caller(self) -> Principal:
        caller = self._callers.named_by(_token(self.request))
        self._line["owner"] = caller.owner
        return caller


def _answer(endpoint: Endpoint, parameters: Mapping[str, str], knock: _Knock) -> Reply:
    caller = endpoint.guard.admit(knock)
    return endpoint.run(
        Call(
            caller=caller,
            path=parameters,
            query=list(knock.request.args.items(multi=True)),
            headers=dict(knock.request.headers),
            body=knock.body(),
        )
    )


def _body(request: flask.Request) -> bytes:
    """Return the body; one of unknown length (chunked) is read no further than is allowed."""
    said, parts = request.content_length, []
    size = said or 0
    while size <= BODY_MAX_BYTES and (part := _part(request)):
        parts.append(part)
        size = sum(map(len, parts))
    if size > BODY_MAX_BYTES:
        raise TooLarge(f"the body is over {BODY_MAX_BYTES} bytes")
    if said is not None and sum(map(len, parts)) != said:
        raise Malformed("the body ended before its length was reached")
    return b"".join(parts)


def _part(request: flask.Request) -> bytes:
    try:
        return request.stream.read(BODY_MAX_BYTES)
    except TimeoutError:
        raise TooSlow("the request did not arrive in time") from None
    except Exception:  # noqa: BLE001  each server has its own for chunks that are none
        raise Malformed("the body did not arrive as HTTP has it, whole or in chunks") from None


def _find(
    endpoints: Sequence[Endpoint], request: flask.Request, prefix: str
) -> tuple[Endpoint, Mapping[str, str]]:
    method, path = request.method, _path(request, prefix)
    matching = [(it, found) for it in endpoints if (found := it.match(path)) is not None]
    if not matching:
        raise NotFound("there is nothing at this path")
    for endpoint, found in matching:
        if endpoint.method == method:
            return endpoint, found
    allowed = ", ".join(sorted(it.method for it, _ in matching))
    raise MethodNotAllowed(f"{method[:16]} is not possible here, expected {allowed}")


def _path(request: flask.Request, prefix: str) -> str:
    """Return what is asked for; a schedule's call is a tick, as schedules can name no path.

    The headers are those of OpenFaaS' cron-connector and Knative's PingSource.
    """
    scheduled = (
        request.headers.get("X-Connector") == "cron-connector"
        or request.headers.get("ce-type") == "dev.knative.sources.ping"
    )
    if scheduled and (request.method, request.path) == ("POST", "/"):
        return TICK
    return request.path.removeprefix(prefix).rstrip("/") or "/"


def _token(request: flask.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("expected the header `Authorization: Bearer TOKEN`")
    return token.strip()


def _told_of(problem: Problem) -> dict[str, object]:
    """Return what regions said, and which instances it is about."""
    members = problem.members()
    told = {name: members[name] for name in _TOLD if name in members}
    return {**told, **problem.told}


def _write(line: dict[str, Any], asking: Asking) -> None:
    """Write a request's line to the log; instances that it has no room for follow in others."""
    if asking.called:
        # Under the first id our calls are found in the clouds' logs; the others are their own.
        line |= {"global_request_id": asking.global_id, "cloud_request_ids": asking.heard}
    if asking.failed > ATTEMPTS_TOLD:
        line["attempts_untold"] = asking.failed - ATTEMPTS_TOLD
    tell("request", **line)
    instances = line.get("instances", ())
    about = {name: line[name] for name in ("request_id", "action", "owner") if name in line}
    for start in range(ITEMS_MAX, len(instances), ITEMS_MAX):
        tell("instances", **about, instances=instances[start : start + ITEMS_MAX])


def _response(reply: Reply, request_id: str) -> flask.Response:
    content_type, is_as_sent = content_of(reply.document)
    sent: Any = reply.document
    if not is_as_sent:
        sent = json.dumps(reply.document, separators=(",", ":")) + "\n"
    response = flask.Response(sent, reply.status, content_type=content_type)
    response.headers.update(reply.headers)
    response.headers["X-Request-Id"] = request_id
    response.headers["Cache-Control"] = "no-store"
    return response


def _request_id(request: flask.Request) -> str:
    # X-Call-Id is OpenFaaS' own.
    given = request.headers.get("X-Request-Id") or request.headers.get("X-Call-Id", "")
    return given if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", given) else secrets.token_hex(13)
