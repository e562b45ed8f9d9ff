"""Which function gets what, and that it gets it as it was sent."""

import json
from collections import defaultdict

import pytest

from openmultistack.wiring.doors import DOORS, endpoints_of

# Every endpoint of the library but those that are only for who reaches the function itself.
ROUTES = [
    (it.method, door.dialect.prefix + it.path.replace("{id}", "i-1"), name)
    for name, door in DOORS.items()
    for it in endpoints_of(name)
    if it.is_routed
]
ALLOWED = defaultdict(set)
for allowed, there, _ in ROUTES:
    ALLOWED[there].add(allowed)


@pytest.mark.parametrize(("method", "path", "function"), ROUTES)
def test_a_method_on_a_path_reaches_its_function_unchanged(gateway, token, method, path, function):
    sent = f"{path}?label=a:b&cursor=%2Fx%20y"
    seen = gateway.call(method, sent, token).json()
    assert (seen["function"], seen["method"], seen["uri"]) == (function, method, sent)


def test_all_but_the_metrics_and_what_platforms_ask_is_routed_in_public():
    kept = {(it.method, it.path) for name in DOORS for it in endpoints_of(name) if not it.is_routed}
    asked = {("GET", "/_/health"), ("GET", "/_/ready"), ("POST", "/_/tick")}
    assert kept == {("GET", "/metrics"), *asked}


@pytest.mark.parametrize("path", ALLOWED)
def test_another_method_is_refused_and_those_possible_are_named(
    gateway, expect_problem, token, path
):
    every = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"}
    for method in every - ALLOWED[path]:
        answer = gateway.call(method, path, token)
        expect_problem(answer, 405, "method-not-allowed")
        assert set(answer.headers["allow"].split(", ")) == ALLOWED[path]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/instances",
        "/metrics",
        "/v1/metrics",
        "/_/health",
        "/v1/_/health",
        "/_/ready",
        "/_/tick",
        "/v1/_/tick",
        "/v1/instances/",
        "/v1/instances/i-1/",
        "/v1/instances/i-1/more",
        "/v1/instances/i-1/events/1",
        "/v1/regionsx",
        "/v1/regions/close",
        "/v1/regions/drain/alpha",
        "/x/v1/regions",
        "/v1/openapiXjson",
        "/V1/regions",
    ],
)
def test_an_unknown_path_is_not_found(gateway, expect_problem, token, path):
    expect_problem(gateway.call("GET", path, token), 404, "not-found")


@pytest.mark.parametrize(
    "path", ["/v1//regions", "/v1/./regions", "/v1/x/../regions", "//v1/%72egions"]
)
def test_a_path_is_made_plain_before_it_is_judged(gateway, expect_problem, token, path):
    """What is matched by the rules is what is routed, and what the function gets."""
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n".encode()
    expect_problem(gateway.raw(request + b"\r\n"), 401, "unauthenticated")
    answer = gateway.raw(request + f"Authorization: Bearer {token}\r\n\r\n".encode())
    assert json.loads(answer.text)["uri"] == "/v1/regions"


@pytest.mark.parametrize("path", ["/v1/healthz/../regions", "/v1/healthz/..//regions"])
def test_a_public_path_is_no_way_around(gateway, expect_problem, path):
    answer = gateway.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    expect_problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize("path", ["/v1/healthz%2F..%2Fregions", "/v1/instances/a%5Cb"])
def test_hidden_slashes_are_malformed(gateway, expect_problem, token, path):
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    expect_problem(gateway.raw(request.encode()), 400, "malformed")


def test_what_a_client_says_of_itself_as_a_proxy_is_forgotten(gateway, token):
    forged = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "9",
        "x-envoy-original-path": "/v1/healthz",
        "x-envoy-internal": "true",
        "x-envoy-anything": "forged",
        "x-forwarded-for": "10.9.9.9",
        "x-forwarded-host": "forged.example",
        "x-forwarded-proto": "forged",
        "forwarded": "for=10.9.9.9",
    }
    own = {"Do": "sleep=0.05", "X-Request-Id": "mine"}
    answer = gateway.call("GET", "/v1/regions", token, headers=forged | own)
    seen = {name.lower(): value for name, value in answer.json()["headers"]}
    assert seen["x-request-id"] == "mine", "it is the client's to choose"
    for name, value in forged.items():
        assert value not in seen.get(name, "").split(","), name
    assert seen["x-request-id"] == answer.headers["x-request-id"]


def test_each_request_has_its_own_id_in_its_answer(gateway, token):
    ids = [gateway.call("GET", "/v1/regions", token).headers["x-request-id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(len(it) == 36 for it in ids)


def test_the_answer_does_not_say_what_made_it(gateway, token):
    answer = gateway.call("GET", "/v1/regions", token)
    assert "server" not in answer.headers
    assert not [it for it in answer.headers if it.startswith("x-envoy")]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 500, 502, 503, 504])
def test_the_answers_of_functions_pass_untouched(gateway, token, status):
    answer = gateway.call("GET", "/v1/regions", token, headers={"Do": f"refuse={status}"})
    assert (answer.status_code, answer.text) == (status, "its own words")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["own"] == "yes"
    assert "retry-after" not in answer.headers


def test_an_answer_may_be_larger_than_any_request(gateway, token):
    answer = gateway.call("GET", "/v1/regions", token, headers={"Do": "large=3000000"})
    assert len(answer.content) == 3_000_000
