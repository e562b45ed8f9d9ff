"""How much and how long: what is over a bound is refused in the API's own words."""

import time

import pytest

from infra.gateway.render import bootstrap
from openmultistack.wiring.doors import DOORS, endpoints_of

BODY_MAX_BYTES = 256 * 1024


def request(token, *lines, path="/v1/instances", version="HTTP/1.1"):
    """Return the bytes of a request as it is to be sent."""
    head = [f"POST {path} {version}", "Host: a", f"Authorization: Bearer {token}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


def test_the_largest_body_passes(gateway, token):
    answer = gateway.call("POST", "/v1/instances", token, content=b"x" * BODY_MAX_BYTES)
    assert answer.json()["body_bytes"] == BODY_MAX_BYTES


@pytest.mark.parametrize("extra", [1, 100_000, 3_000_000])
def test_a_larger_body_is_refused_before_it_ends(gateway, expect_problem, token, extra):
    head = request(token, f"Content-Length: {BODY_MAX_BYTES + extra}")
    answer = gateway.raw(head + b"x" * (BODY_MAX_BYTES + 1))
    document = expect_problem(answer, 413, "too-large")
    assert str(BODY_MAX_BYTES) in document["detail"]


def test_a_larger_body_of_unsaid_length_is_refused(gateway, expect_problem, token):
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    answer = gateway.raw(request(token, "Transfer-Encoding: chunked") + chunk * 4 + b"1\r\nx\r\n")
    expect_problem(answer, 413, "too-large")


def test_a_body_in_chunks_passes(gateway, token):
    answer = gateway.call("POST", "/v1/instances", token, content=iter([b"x" * 1000] * 9))
    assert answer.json()["body_bytes"] == 9000


def test_a_stranger_is_refused_before_the_body_is_read(gateway, expect_problem):
    head = b"POST /v1/instances HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"
    expect_problem(gateway.raw(head), 401, "unauthenticated")


def test_what_a_function_would_refuse_for_its_headers_the_gateway_refuses(
    gateway, expect_problem, token
):
    """One header as large as may be passes both; one byte over is not the function's to say."""
    free = 8192 - 400 - len(token)
    answer = gateway.call("GET", "/v1/regions", token, headers={"a": "x" * free})
    assert answer.status_code == 200
    for many in ({"a": "x" * 8192}, {f"a{n}": "x" for n in range(100)}):
        answer = gateway.call("GET", "/v1/regions", token, headers=many)
        expect_problem(answer, 431, "headers-too-large")


def test_a_path_without_end_is_refused(gateway, expect_problem, token):
    answer = gateway.call("GET", "/v1/instances?label=" + "x" * 9000, token)
    expect_problem(answer, 431, "headers-too-large")


def test_as_many_headers_as_the_gateway_takes_the_function_takes(gateway, token):
    many = {f"a{n}": "x" for n in range(70)}
    assert gateway.call("GET", "/v1/regions", token, headers=many).status_code == 200


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 1", "Content-Length: 2"],
        ["Content-Length: x"],
        ["Content-Length: 3", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip"],
        ["no colon"],
        ["a\x00b: c"],
        ["with_underscore: x"],
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(gateway, expect_problem, token, lines):
    answer = gateway.raw(request(token, *lines) + b"0\r\n\r\n")
    expect_problem(answer, answer.status_code, "malformed")
    assert answer.status_code in {400, 501}


def test_an_old_http_is_refused(gateway, expect_problem, token):
    answer = gateway.raw(request(token, "Content-Length: 0", version="HTTP/1.0"))
    expect_problem(answer, 426, "malformed")


def test_a_function_that_does_not_answer_in_time_is_said_so(run_gateway, expect_problem, token):
    with run_gateway(timeouts_s={"create": 0.5}) as gateway:
        began = time.monotonic()
        answer = gateway.call("POST", "/v1/instances", token, headers={"Do": "sleep=20"})
        expect_problem(answer, 504, "timeout")
        assert 0.4 < time.monotonic() - began < 15
        assert gateway.call("POST", "/v1/instances", token).status_code == 200


def test_the_functions_have_the_time_they_need(tmp_path):
    config = bootstrap(
        gate_file=tmp_path / "gate.json",
        listen=("127.0.0.1", 1),
        admin=("127.0.0.1", 2),
        functions={it: [("127.0.0.1", 1)] for it in DOORS},
    )
    filters = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    table = filters[0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    routed = {(it["route"]["cluster"], it["route"]["timeout"]) for it in table if "route" in it}
    served = [(name, it) for name in DOORS for it in endpoints_of(name) if it.is_routed]
    asked = {(name, f"{it.timeout_s}s") for name, it in served}
    assert routed == asked
    # A create of 100 instances on slow clouds, a sweep of a sick region; taking a token back.
    assert {("create", "120s"), ("reap", "180s"), ("destroy", "15s")} <= routed


def test_headers_that_do_not_end_are_given_up(run_gateway, expect_problem):
    with run_gateway(manager={"request_headers_timeout": "1s"}) as gateway:
        answer = gateway.raw(b"GET /v1/healthz HTTP/1.1\r\nHost: a\r\nslow")
        expect_problem(answer, 408, "timeout")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v1/regions HTTP/1.0\r\n\r\n", 426),
        (b"GET /v1/regions HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET /v1/regions HTTP/1.1\r\nHost: a\r\nx_y: z\r\n\r\n", 400),
        (b"GET /v1/%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /v1/a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /v1/regions HTTP/1.1\r\nHost: a\r\na: " + b"x" * 9000 + b"\r\n\r\n", 431),
    ],
)
def test_what_cannot_be_read_has_a_request_id_by_which_its_line_is_found(
    gateway, expect_problem, request_, status
):
    answer = gateway.raw(request_)
    slug = "headers-too-large" if status == 431 else "malformed"
    document = expect_problem(answer, status, slug)
    line = gateway.line(document["request_id"])
    assert (line["status"], line["request_id"]) == (status, document["request_id"])


@pytest.mark.parametrize("chunks", [b"zz\r\n", b"-1\r\nx\r\n", b"0x1\r\nx\r\n"])
def test_chunks_that_are_none_are_refused(gateway, expect_problem, token, chunks):
    answer = gateway.raw(request(token, "Transfer-Encoding: chunked") + chunks)
    expect_problem(answer, 400, "malformed")


def test_a_header_that_proxies_name_a_script_by_is_refused(gateway, expect_problem, token):
    """Servers of Python programs would take a part of the path away for it."""
    answer = gateway.raw(request(token, "Content-Length: 0", "SCRIPT_NAME: /v1"))
    expect_problem(answer, 400, "malformed")
