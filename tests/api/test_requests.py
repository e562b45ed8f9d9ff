"""What functions refuse, in which words; and that every answer is as openapi.json says."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from openmultistack.wiring.doors import DOORS, describe, endpoints_of
from tests.support.doors import Books, Door

SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
GOOD = {"image": "debian-12", "size": "small"}
DOCUMENT = describe()


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"image": None}, "/image"),
        ({"image": ""}, "/image"),
        ({"image": 7}, "/image"),
        ({"size": None}, "/size"),
        ({"size": ""}, "/size"),
        ({"size": {"vcpus": 0}}, "/size/vcpus"),
        ({"size": {"cpus": 1}}, "/size/cpus"),
        ({"size": 5}, "/size"),
        ({"count": 0}, "/count"),
        ({"count": 101}, "/count"),
        ({"count": "many"}, "/count"),
        ({"ttl": 0}, "/ttl"),
        ({"ttl": 7201}, "/ttl"),
        ({"ttl": 1e300}, "/ttl"),
        ({"name": "a b"}, "/name"),
        ({"name": "a\n"}, "/name"),
        ({"name": "x" * 64}, "/name"),
        ({"labels": {"a b": "c"}}, "/labels/a b"),
        ({"labels": {"a/b": "c"}}, "/labels/a~1b"),
        ({"labels": {"a": "x" * 64}}, "/labels/a"),
        ({"labels": {"a": 1}}, "/labels/a"),
        ({"labels": {f"k{n}": "v" for n in range(17)}}, "/labels"),
        ({"labels": ["a"]}, "/labels"),
        ({"note": "n" * 256}, "/note"),
        ({"note": "two\nlines"}, "/note"),
        ({"note": 5}, "/note"),
        ({"note": "a smile: \U0001f642"}, "/note"),  # Nova on MySQL: 500
        ({"ssh_public_key": f"{SSH_KEY} \U0001f642"}, "/ssh_public_key"),
        ({"ssh_public_key": "ssh-rsa"}, "/ssh_public_key"),
        ({"ssh_public_key": "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA=="}, "/ssh_public_key"),
        ({"ssh_public_key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "/ssh_public_key"),
        ({"user_data": "x" * 49150}, "/user_data"),
        ({"regions": []}, "/regions"),
        ({"regions": ["nowhere/*"]}, "/regions/0"),
        ({"regions": ["dead/*", "daed/*"]}, "/regions/1"),
        ({"strategy": "sperad"}, "/strategy"),
        ({"on_full": "wait"}, "/on_full"),
        ({"partial": "perhaps"}, "/partial"),
        ({"flavor": "small"}, "/flavor"),
        ({"owner": "bob"}, "/owner"),
    ],
)
def test_a_bad_create_is_422_with_a_pointer_to_each_fault(
    doors: dict[str, Door],
    token: str,
    books: Books,
    change: dict[str, Any],
    pointer: str,
    answers: Any,
) -> None:
    body = {name: value for name, value in (GOOD | change).items() if value is not None}
    answer = doors["create"].call("POST", "/instances", token, json=body)
    problem = answers.refused(answer, 422, "invalid")
    assert answers.pointers(problem) == {pointer}
    answers.check(answer, "POST", "/instances")
    assert books.ledger.regions()[0].held.instances == 0


def test_several_faults_are_told_at_once(doors: dict[str, Door], token: str, answers: Any) -> None:
    body = {"size": "small", "count": 0, "ttl": -1, "nonsense": 1}
    problem = answers.refused(
        doors["create"].call("POST", "/instances", token, json=body), 422, "invalid"
    )
    assert answers.pointers(problem) == {"/image", "/count", "/ttl", "/nonsense"}


@pytest.mark.parametrize(
    ("change", "pointer", "nearest"),
    [
        ({"image": "debain-12"}, "/image", "debian-12"),
        ({"image": "Ubuntu-24"}, "/image", "ubuntu-24.04"),
        ({"size": "smal"}, "/size", "small"),
        ({"regions": ["dead/RegionTwo"]}, "/regions/0", "dead/RegionOne"),
        ({"strategy": "packed"}, "/strategy", "pack"),
    ],
)
def test_an_unknown_name_is_422_with_the_nearest_known(
    doors: dict[str, Door],
    token: str,
    books: Books,
    change: Any,
    pointer: str,
    nearest: str,
    answers: Any,
) -> None:
    assert books
    answer = doors["create"].call("POST", "/instances", token, json=GOOD | change)
    problem = answers.check(answer, "POST", "/instances")
    assert answers.pointers(problem) == {pointer}
    assert problem["nearest"][0] == nearest


def test_a_size_that_nobody_has_says_what_each_region_lacks(
    doors: dict[str, Door], token: str, books: Books, answers: Any
) -> None:
    assert books
    body = GOOD | {"size": {"vcpus": 64}}
    problem = answers.refused(
        doors["create"].call("POST", "/instances", token, json=body), 422, "invalid"
    )
    assert answers.pointers(problem) == {"/size"}
    assert "64 vCPUs" in problem["regions"]["dead/RegionOne"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"7",
        b"\xff\xfe\x00",
        b'{"image": nonsense}',
        b"[" * 9999,
    ],
)
@pytest.mark.parametrize(
    ("door", "method", "path"),
    [("create", "POST", "/instances"), ("renew", "PATCH", "/instances/i-1")],
)
def test_what_is_not_a_json_object_is_400(
    doors: dict[str, Door], token: str, body: bytes, door: str, method: str, path: str, answers: Any
) -> None:
    answer = doors[door].call(method, path, token, content=body)
    answers.refused(answer, 400, "malformed")
    answers.check(answer, method, path.replace("i-1", "{id}"))


@pytest.mark.parametrize("chunked", ["with its length", "chunked"])
def test_a_body_that_is_too_large_is_413(
    doors: dict[str, Door], token: str, chunked: str, answers: Any
) -> None:
    body = json.dumps(GOOD | {"user_data": "x" * 300_000}).encode()
    content = iter([body]) if chunked == "chunked" else body
    answer = doors["create"].call("POST", "/instances", token, content=content)
    answers.refused(answer, 413, "too-large")
    answers.check(answer, "POST", "/instances")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({}, "/ttl"), ({"ttl": 0}, "/ttl"), ({"ttl": 7201}, "/ttl"), ({"ttl": 60, "x": 1}, "/x")],
)
def test_a_bad_renewal_is_422(
    doors: dict[str, Door], token: str, books: Books, body: Any, pointer: str, answers: Any
) -> None:
    instance_id = books.add()
    answer = doors["renew"].call("PATCH", f"/instances/{instance_id}", token, json=body)
    assert answers.pointers(answers.check(answer, "PATCH", "/instances/{id}")) == {pointer}
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=WELL", "/status"),
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=-1", "/limit"),
        ("label=a", "/label"),
        ("label=:b", "/label"),
        ("label=a:1&label=a:2", "/label"),
        ("owner=bob", "/owner"),
    ],
)
def test_a_bad_query_is_422(
    doors: dict[str, Door], token: str, query: str, pointer: str, answers: Any
) -> None:
    answer = doors["list"].call("GET", f"/instances?{query}", token)
    assert answers.pointers(answers.check(answer, "GET", "/instances")) == {pointer}
    assert answer.status_code == 422


@pytest.mark.parametrize("query", ["", "?label=", "?label=a", "?status=ACTIVE"])
def test_destroying_without_id_or_label_is_422_and_destroys_nothing(
    doors: dict[str, Door], token: str, books: Books, query: str, answers: Any
) -> None:
    kept = books.add()
    answer = doors["destroy"].call("DELETE", f"/instances{query}", token)
    assert answer.status_code == 422
    answers.check(answer, "DELETE", "/instances")
    assert books.ledger.get([kept])[0].status == "ACTIVE"


# ---------------------------------------------------------------- paths and methods


@pytest.mark.parametrize("door", ["create", "destroy", "list", "renew", "reap"])
@pytest.mark.parametrize("path", ["/", "/nothing", "/instances/a/b/c", "/../etc/passwd"])
def test_an_unknown_path_is_404(
    doors: dict[str, Door], token: str, door: str, path: str, answers: Any
) -> None:
    answers.refused(doors[door].call("GET", path, token), 404, "not-found")


@pytest.mark.parametrize(
    ("door", "method", "path", "allowed"),
    [
        ("create", "GET", "/instances", "POST"),
        ("list", "POST", "/instances", "GET"),
        ("list", "PUT", "/regions", "GET"),
        ("renew", "PUT", "/instances/i-1", "PATCH"),
        ("destroy", "GET", "/instances/i-1", "DELETE"),
        ("reap", "GET", "/reap", "POST"),
    ],
)
def test_another_method_is_405_and_names_the_right_one(
    doors: dict[str, Door],
    token: str,
    door: str,
    method: str,
    path: str,
    allowed: str,
    answers: Any,
) -> None:
    problem = answers.refused(doors[door].call(method, path, token), 405, "method-not-allowed")
    assert allowed in problem["detail"]


def test_an_unknown_instance_is_404(doors: dict[str, Door], token: str, answers: Any) -> None:
    for door, method, path in (
        ("list", "GET", "/instances/i-none"),
        ("list", "GET", "/instances/i-none/events"),
        ("destroy", "DELETE", "/instances/i-none"),
    ):
        answer = doors[door].call(method, path, token)
        answers.refused(answer, 404, "not-found")
        answers.check(answer, method, path.replace("i-none", "{id}"))


# ---------------------------------------------------------------- answers


def test_real_answers_are_as_openapi_says(
    doors: dict[str, Door], token: str, books: Books, answers: Any
) -> None:
    kept, gone = books.add(labels={"job": "7"}), books.add(labels={"job": "7"})
    listing = doors["list"]
    listed = answers.check(listing.call("GET", "/instances?limit=1", token), "GET", "/instances")
    assert [it["id"] for it in listed["instances"]] == [gone]
    more = listing.call("GET", f"/instances?limit=5&cursor={listed['next']}", token)
    assert [it["id"] for it in answers.check(more, "GET", "/instances")["instances"]] == [kept]
    shown = answers.check(
        listing.call("GET", f"/instances/{kept}", token), "GET", "/instances/{id}"
    )
    assert (shown["provider"], shown["addresses"][0]["address"]) == ("dead", "192.0.2.7")
    story = listing.call("GET", f"/instances/{kept}/events", token)
    events = answers.check(story, "GET", "/instances/{id}/events")["events"]
    assert [it["what"] for it in events] == ["placed", "accepted", "active"]
    renewed = doors["renew"].call("PATCH", f"/instances/{kept}", token, json={"ttl": 7200})
    assert answers.check(renewed, "PATCH", "/instances/{id}")["expires_at"] > shown["expires_at"]
    for _ in range(2):  # repeating it is harmless
        answer = doors["destroy"].call("DELETE", f"/instances/{gone}", token)
        (ended,) = answers.check(answer, "DELETE", "/instances/{id}")["instances"]
        assert (answer.status_code, ended["status"]) == (202, "DELETING")
    answer = doors["destroy"].call("DELETE", "/instances?label=job:7", token)
    assert len(answers.check(answer, "DELETE", "/instances")["instances"]) == 2
    (region,) = answers.check(listing.call("GET", "/regions", token), "GET", "/regions")["regions"]
    assert (region["cap"], region["held"], region["free"]) == (20, 2, 18)
    reaped = answers.check(doors["reap"].call("POST", "/reap", token), "POST", "/reap")
    assert [it["outcome"] for it in reaped["regions"]] == ["failed"]
    (region,) = answers.check(listing.call("GET", "/regions", token), "GET", "/regions")["regions"]
    assert (region["state"], region["last_error"]) == ("down", "connection refused")
    answers.check(listing.call("GET", "/healthz"), "GET", "/healthz")


def test_reap_takes_no_body_or_one_that_says_whether_to_try_refused_logins_now(
    doors: dict[str, Door], token: str, answers: Any
) -> None:
    for body in (None, {}, {"now": False}, {"now": True}):
        answer = doors["reap"].call("POST", "/reap", token, json=body)
        answers.check(answer, "POST", "/reap")
        assert answer.status_code == 200, body
    for bad, pointer in (({"now": "perhaps"}, "/now"), ({"soon": True}, "/soon")):
        answer = doors["reap"].call("POST", "/reap", token, json=bad)
        problem = answers.refused(answer, 422, "invalid")
        assert [it["pointer"] for it in problem["errors"]] == [pointer]
    assert not answers.DOCUMENT["paths"]["/reap"]["post"]["requestBody"]["required"]


def test_a_create_that_no_region_takes_is_502_with_each_ones_words(
    doors: dict[str, Door], token: str, books: Books, answers: Any
) -> None:
    answer = doors["create"].call("POST", "/instances", token, json=GOOD)
    problem = answers.check(answer, "POST", "/instances")
    assert answers.refused(answer, 502, "no-region-worked") == problem
    assert problem["regions"] == {"dead/RegionOne": "connection refused"}
    assert books.ledger.regions()[0].held.instances == 0
    again = doors["create"].call("POST", "/instances", token, json=GOOD)
    answers.check(again, "POST", "/instances")
    said = answers.refused(again, 503, "no-region-ready")["regions"]
    assert said == {"dead/RegionOne": "is down: connection refused"}
    assert int(again.headers["retry-after"]) > 0


def test_too_many_for_the_free_slots_is_503_with_retry_after(
    doors: dict[str, Door], token: str, books: Books, answers: Any
) -> None:
    books.add()
    answer = doors["create"].call("POST", "/instances", token, json=GOOD | {"count": 20})
    answers.refused(answer, 503, "capacity-exhausted")
    answers.check(answer, "POST", "/instances")
    assert int(answer.headers["retry-after"]) > 0


def test_more_than_all_quotas_allow_is_422_that_says_how_many_they_allow(
    doors: dict[str, Door], token: str, books: Books, answers: Any
) -> None:
    assert books
    answer = doors["create"].call("POST", "/instances", token, json=GOOD | {"count": 21})
    problem = answers.refused(answer, 422, "invalid")
    assert problem["errors"][0]["pointer"] == "/count"
    assert "which is 20" in problem["detail"]
    answers.check(answer, "POST", "/instances")


def test_metrics_are_prometheus_text(doors: dict[str, Door], books: Books) -> None:
    books.add()
    answer = doors["list"].call("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'oms_region_up{region="dead/RegionOne"} 1' in answer.text.splitlines()
    held = 'oms_region_resources{region="dead/RegionOne",resource="instances",kind="held"} 1'
    assert held in answer.text.splitlines()


def test_openapi_tells_of_every_endpoint_and_of_no_other(doors: dict[str, Door]) -> None:
    document = doors["list"].call("GET", "/openapi.json").json()
    assert document == json.loads(json.dumps(DOCUMENT))
    told = {
        (
            method.upper(),
            path,
            *(operation["security"][0]["bearer"] if operation["security"] else [None]),
        )
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    # Not of operators' and platforms' own, nor of itself.
    served = [it for name in DOORS for it in endpoints_of(name) if it.is_routed]
    public = {(it.method, it.path, it.guard.scope) for it in served}
    assert told == public - {("GET", "/openapi.json", None)}


def test_every_schema_of_openapi_is_one() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert name


# ---------------------------------------------------------------- headers and the log


def test_a_request_id_is_echoed_and_a_bad_one_replaced(doors: dict[str, Door]) -> None:
    given = {"X-Request-Id": "run-7.a_b"}
    assert (
        doors["list"].call("GET", "/healthz", headers=given).headers["x-request-id"] == "run-7.a_b"
    )
    for bad in ("a b", "x" * 65, '"}{"', ""):
        answer = doors["list"].call("GET", "/healthz", headers={"X-Request-Id": bad})
        assert len(answer.headers["x-request-id"]) == 26


def test_a_request_is_one_line_of_json_without_token_or_body(
    doors: dict[str, Door], token: str, books: Books
) -> None:
    assert books
    secrets = {
        "user_data": "user-data-of-mine",
        "labels": {"secret": "label-of-mine"},
        "note": "note-of-mine",
        "ssh_public_key": f"{SSH_KEY} key-of-mine",
    }
    cases = [
        ("create", "POST", "/instances", GOOD | secrets, "no-region-worked", 502),
        ("create", "POST", "/instances", secrets, "invalid", 422),
        ("create", "POST", "/instances", GOOD | {"ssh_public_key": "key-of-mine"}, "invalid", 422),
        ("list", "GET", "/instances?label=a:label-of-mine", None, "ok", 200),
        ("renew", "PATCH", "/instances/i-x", {"ttl": 5}, "not-found", 404),
    ]  # fmt: skip
    for n, (door, method, path, body, outcome, status) in enumerate(cases):
        request_id = f"logged-{n}-{books.fleet[-6:]}"
        doors[door].call(method, path, token, json=body, headers={"X-Request-Id": request_id})
        line = doors[door].log(request_id)
        assert (line["request_id"], line["owner"], line["action"]) == (request_id, "alice", door)
        assert (line["outcome"], line["status"]) == (outcome, status)
        assert isinstance(line["duration_ms"], float)
    written = "".join(it.out() + it.err() for it in doors.values())
    assert not [it for it in (token, "-of-mine", "a-password-that") if it in written]
    assert all(json.loads(line) for it in doors.values() for line in it.out().splitlines())
