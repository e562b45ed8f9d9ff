"""HTTP: request -> (principal, command) -> response; the only place where errors become HTTP.

A door serves a few endpoints. For each request it finds the endpoint, proves who calls and that
they may, parses the command, runs the use case, and writes one line to the log.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import flask
from werkzeug.exceptions import HTTPException

from openmultistack.auth.callers import Callers
from openmultistack.auth.principal import demand
from openmultistack.domain.bounds import BODY_MAX_BYTES
from openmultistack.domain.errors import (
    FAULTS_SHOWN,
    InsufficientScope,
    Invalid,
    Malformed,
    MethodNotAllowed,
    NotFound,
    Problem,
    Retriable,
    TooLarge,
    TooSlow,
    Unauthenticated,
)
from openmultistack.domain.models import Principal
from openmultistack.domain.strict import read_json
from openmultistack.logs import ASKING, ATTEMPTS_TOLD, ITEMS_MAX, Asking, tell

if TYPE_CHECKING:  # imported by functions that take commands, at the first one
    from pydantic import BaseModel

PREFIX = "/v1"
# Of what a client sent, or a cloud said, so much of each text is in an answer that says no.
FIELD_CHARS = 2048
# No list or mapping of a command may have so many by far.
MEMBERS_MAX = 1000

Command = TypeVar("Command", bound="BaseModel")


class Reply(NamedTuple):
    """What a use case answers; a str is sent as plain text, anything else as JSON."""

    status: int
    document: object
    headers: Mapping[str, str] = {}
    # What the log's line has of it, beside what every line has.
    told: Mapping[str, object] = {}


class Call(NamedTuple):
    """A request whose caller is known."""

    caller: Principal
    path: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes


class Endpoint(NamedTuple):
    """One method on one path; `scope` None lets everybody in."""

    method: str
    path: str
    scope: str | None
    run: Callable[[Call], Reply]

    def match(self, path: str) -> Mapping[str, str] | None:
        """Return the parameters of a path that is this endpoint's."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[A-Za-z0-9_.-]{1,64})", self.path)
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None


Handler = Callable[[flask.Request], flask.Response]
NOBODY = Principal(owner="", scopes=frozenset())
# Of what a problem tells its client these are in the log as well.
_TOLD = ("instances", "unreachable", "regions", "quota", "used")


def door(
    action: str,
    endpoints: Sequence[Endpoint],
    callers: Callers,
) -> Handler:
    """Return a function's handler."""

    def handle(request: flask.Request) -> flask.Response:
        began = time.monotonic()
        request_id = _request_id(request)
        asking = Asking(request_id)
        ASKING.set(asking)
        line: dict[str, object] = {"request_id": request_id, "action": action}
        try:
            reply = _answer(request, endpoints, callers, line)
        except Problem as problem:
            reply = _problem(problem, request_id)
            line["outcome"] = problem.slug
            line["detail"] = cut(str(problem))
            line |= _told_of(problem)
        except Exception:  # noqa: BLE001  the last line of defence: a bare 500
            reply = _problem(Problem("something went wrong here; the log has it"), request_id)
            line["outcome"] = Problem.slug
            tell("unexpected", "exception", **line)
        line |= {"status": reply.status, "duration_ms": round((time.monotonic() - began) * 1000, 1)}
        response = _response(reply, request_id)
        # When the answer is sent: nobody waits for it, nor for structlog to be imported.
        response.call_on_close(lambda: _write(line, asking))
        return response

    if flask.has_app_context():  # functions-framework loads a function in its app's
        _refuse_in_our_words(flask.current_app, handle)
    return handle


def _refuse_in_our_words(app: flask.Flask, handle: Handler) -> None:
    """Have problems where the framework would answer with a page, as to a path of two lines."""

    def refuse(error: HTTPException) -> flask.Response:
        if flask.request.routing_exception is error:
            return handle(flask.request)
        known = error.code == NotFound.status
        problem = (
            NotFound("there is nothing at this path") if known else Malformed("no such request")
        )
        request_id = _request_id(flask.request)
        return _response(_problem(problem, request_id), request_id)

    app.url_map.merge_slashes = False  # a redirect is nothing that the API has
    app.register_error_handler(HTTPException, refuse)


def _answer(
    request: flask.Request,
    endpoints: Sequence[Endpoint],
    callers: Callers,
    line: dict[str, object],
) -> Reply:
    endpoint, parameters = _find(endpoints, request.method, request.path)
    caller = NOBODY
    if endpoint.scope is not None:
        caller = callers.named_by(_token(request))
        line["owner"] = caller.owner
        demand(caller, endpoint.scope)
    reply = endpoint.run(
        Call(
            caller=caller,
            path=parameters,
            query=list(request.args.items(multi=True)),
            headers=dict(request.headers),
            body=_body(request),
        )
    )
    line["outcome"] = "ok"
    line |= reply.told
    return reply


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
    endpoints: Sequence[Endpoint], method: str, path: str
) -> tuple[Endpoint, Mapping[str, str]]:
    path = path.removeprefix(PREFIX).rstrip("/") or "/"
    matching = [(it, found) for it in endpoints if (found := it.match(path)) is not None]
    if not matching:
        raise NotFound("there is nothing at this path")
    for endpoint, found in matching:
        if endpoint.method == method:
            return endpoint, found
    allowed = ", ".join(sorted(it.method for it, _ in matching))
    raise MethodNotAllowed(f"{method[:16]} is not possible here, expected {allowed}")


def _token(request: flask.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("expected the header `Authorization: Bearer TOKEN`")
    return token.strip()


def parse(model: type[Command], body: bytes) -> Command:
    """Return the command in a body.

    Raises:
        Malformed: it is not a JSON object.
        Invalid: it is one, and wrong.
    """
    from pydantic import ValidationError  # noqa: PLC0415  as above

    from openmultistack.domain.faults import explain_all  # noqa: PLC0415  as above

    try:
        raw = read_json(body)
    except ValueError as error:
        raise Malformed(f"the body is not JSON as it is taken here: {error}") from None
    if not isinstance(raw, dict):
        raise Malformed("the body is not a JSON object")
    _refuse_many(raw)
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        faults, more = explain_all(error, raw, model, most=FAULTS_SHOWN)
    raise Invalid([(_pointer(it.path), it.said) for it in faults], more=more)


def _refuse_many(raw: Mapping[str, Any]) -> None:
    """Refuse what has far more members than any command: to tell of each takes seconds.

    Raises:
        Invalid: says where, and how many.
    """
    for path, value in ((), raw), *(((name,), it) for name, it in raw.items()):
        if isinstance(value, dict | list) and len(value) > MEMBERS_MAX:
            said = f"has {len(value)} members, expected at most {MEMBERS_MAX}"
            raise Invalid([(_pointer(path), said)])


def _pointer(path: Sequence[object]) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join("/" + str(it).replace("~", "~0").replace("/", "~1") for it in path)


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


def _problem(problem: Problem, request_id: str) -> Reply:
    document: dict[str, object] = {
        "type": f"urn:openmultistack:problem:{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": str(problem),
        "request_id": request_id,
    }
    if problem.cloud_request_ids:
        document["cloud_request_ids"] = dict(problem.cloud_request_ids)
    headers = {"Content-Type": "application/problem+json"}
    if isinstance(problem, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="openmultistack", error="invalid_token"'
    if isinstance(problem, InsufficientScope):
        headers["WWW-Authenticate"] = 'Bearer realm="openmultistack", error="insufficient_scope"'
    if isinstance(problem, Retriable) and problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    return Reply(problem.status, cut(document | problem.members()), headers)


def cut(said: Any) -> Any:  # noqa: ANN401  what JSON can have, and the same again
    """Return what can be shown of what was said: no long text, nothing that moves a cursor."""
    if isinstance(said, Mapping):
        return {cut(name): cut(value) for name, value in said.items()}
    if isinstance(said, list | tuple):
        return [cut(it) for it in said]
    if not isinstance(said, str):
        return said
    short = said if len(said) <= FIELD_CHARS else said[: FIELD_CHARS - 1] + "…"
    return (
        short if short.isprintable() else "".join(it if it.isprintable() else " " for it in short)
    )


def _response(reply: Reply, request_id: str) -> flask.Response:
    if isinstance(reply.document, str):
        response = flask.Response(reply.document, reply.status, mimetype="text/plain")
    else:
        text = json.dumps(reply.document, separators=(",", ":")) + "\n"
        response = flask.Response(text, reply.status, mimetype="application/json")
    response.headers.update(reply.headers)
    response.headers["X-Request-Id"] = request_id
    response.headers["Cache-Control"] = "no-store"
    return response


def _request_id(request: flask.Request) -> str:
    given = request.headers.get("X-Request-Id", "")
    return given if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", given) else secrets.token_hex(13)
