"""How a door says no: RFC 9457 by default, another door's clients may expect another form."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from openmultistack.api.calls import Reply
from openmultistack.domain.errors import InsufficientScope, Problem, Retriable, Unauthenticated

# Of what a client sent, or a cloud said, so much of each text is in an answer that says no.
FIELD_CHARS = 2048


def problem_document(problem: Problem, request_id: str) -> Reply:
    """Return a problem as RFC 9457 has it."""
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


class Dialect(NamedTuple):
    """What a door's clients speak: where its paths begin, and how it says no."""

    prefix: str
    refuse: Callable[[Problem, str], Reply]


OURS = Dialect("/v1", problem_document)
