"""What a door lets others say: another form of errors, another prefix, guards, kinds of replies."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import flask
import pytest

from openmultistack.api.calls import Endpoint, Html, Reply
from openmultistack.api.door import door
from openmultistack.api.problems import OURS, Dialect
from openmultistack.auth.callers import Callers
from openmultistack.auth.guards import NOBODY, Guard, Knock, public, scope
from openmultistack.domain.cloud_errors import RateLimited, RegionFailed, Unreachable
from openmultistack.domain.errors import Problem, Unauthenticated

SECRET = b"a secret of a forge's"


def refuse_as_nova(problem: Problem, request_id: str) -> Reply:
    """Say no as Nova does."""
    assert request_id
    return Reply(problem.status, {"badRequest": {"code": problem.status, "message": str(problem)}})


NOVA = Dialect("/openstack/compute", refuse_as_nova)


def ask(
    endpoint: Endpoint, path: str, *, dialect: Dialect = OURS, **more: Any
) -> flask.wrappers.Response:
    """Return what a door with one endpoint answers."""
    app = flask.Flask("one")
    with app.app_context():
        handle = door("tried", [endpoint], Callers(dict), dialect)
    with app.test_request_context(path, **more):
        return handle(flask.request)


def answering(document: object, guard: Guard = public, **headers: str) -> Endpoint:
    """Return an endpoint that answers with a document."""
    return Endpoint("GET", "/it", guard, lambda _: Reply(200, document, headers))


def failing(error: Exception) -> Endpoint:
    """Return an endpoint that raises."""

    def run(_: object) -> Reply:
        raise error

    return Endpoint("GET", "/it", public, run)


@pytest.mark.parametrize(
    ("path", "endpoint", "status"),
    [
        ("/openstack/compute/other", answering({}), 404),
        ("/openstack/compute/it", answering({}, scope("instances:read")), 401),
        ("/openstack/compute/it", failing(ValueError("inner")), 500),
        ("/v1/it", answering({}), 404),
    ],
)
def test_a_door_of_another_dialect_has_its_own_prefix_and_says_no_in_its_own_form(
    path: str, endpoint: Endpoint, status: int
) -> None:
    answer = ask(endpoint, path, dialect=NOVA)
    said = answer.get_json()["badRequest"]
    assert (answer.status_code, said["code"], list(answer.get_json())) == (
        status, status, ["badRequest"]
    )  # fmt: skip
    assert "inner" not in answer.get_data(as_text=True)
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("make", "kind", "sent"),
    [
        (lambda: {"a": [1, None]}, "application/json", b'{"a":[1,null]}\n'),
        (lambda: "words", "text/plain; charset=utf-8", b"words"),
        (lambda: Html("<p>"), "text/html; charset=utf-8", b"<p>"),
        (lambda: b"\x00\xff", "application/octet-stream", b"\x00\xff"),
        (lambda: iter([b"one ", b"two"]), "application/octet-stream", b"one two"),
    ],
)
def test_a_reply_may_be_json_text_a_page_bytes_or_pieces(
    make: Callable[[], object], kind: str, sent: bytes
) -> None:
    answer = ask(answering(make()), "/v1/it")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.get_data() == sent


def test_pieces_are_sent_as_they_come_and_may_be_of_a_kind() -> None:
    taken = []

    def pieces() -> Any:
        for n in (b"1", b"2"):
            taken.append(n)
            yield n

    answer = ask(answering(pieces(), **{"Content-Type": "text/event-stream"}), "/v1/it")
    assert taken == []
    assert answer.headers["content-type"] == "text/event-stream"
    assert next(iter(answer.response)) == b"1"
    assert taken == [b"1"]


def by_signature(knock: Knock) -> Any:
    """Let in who signed the body."""
    good = hmac.new(SECRET, knock.body(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(good, knock.header("X-Signature")):
        raise Unauthenticated("the signature is not the body's")
    return NOBODY


@pytest.mark.parametrize(("body", "status"), [(b"signed", 200), (b"changed", 401)])
def test_a_guard_may_go_by_a_signature_of_the_body_which_the_endpoint_gets_too(
    body: bytes, status: int
) -> None:
    hook = Endpoint("POST", "/it", Guard(None, by_signature), lambda it: Reply(200, it.body))
    signature = hmac.new(SECRET, b"signed", hashlib.sha256).hexdigest()
    answer = ask(hook, "/v1/it", method="POST", data=body, headers={"x-signature": signature})
    assert answer.status_code == status
    assert (answer.get_data() == body) == (status == 200)


def test_a_read_that_fails_in_a_cloud_says_which_region_and_what_it_said() -> None:
    error = Unreachable("connection refused")
    error.cloud_request_id = "req-1"
    answer = ask(failing(RegionFailed("alpha/One", error)), "/v1/it")
    problem = answer.get_json()
    assert (answer.status_code, answer.mimetype) == (502, "application/problem+json")
    assert problem["type"] == "urn:openmultistack:problem:region-failed"
    assert problem["detail"] == "alpha/One: connection refused"
    assert problem["regions"] == {"alpha/One": "connection refused"}
    assert problem["cloud_request_ids"] == {"alpha/One": "req-1"}
    assert "retry-after" not in answer.headers


def test_a_cloud_that_asks_for_a_pause_has_its_reader_pause() -> None:
    error = RateLimited("429", retry_after_s=7.2)
    answer = ask(failing(RegionFailed("alpha/One", error)), "/v1/it")
    assert answer.headers["retry-after"] == "8"
