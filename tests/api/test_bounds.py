"""How long an answer is, and how long it takes, whatever is sent; and that it is always ours."""

import json
import socket
import time
from typing import Any

import httpx
import pytest

from tests.support.doors import Books, Door

GOOD = {"image": "debian-12", "size": "small"}


def raw(door: Door, request: bytes) -> httpx.Response:
    """Send bytes that no client library would, and read one answer."""
    url = httpx.URL(door.url)
    with socket.create_connection((url.host, url.port or 80), 10) as connection:
        connection.sendall(request)
        text = b""
        while b"\r\n\r\n" not in text and (more := connection.recv(65536)):
            text += more
        head, _, body = text.partition(b"\r\n\r\n")
        headers = httpx.Headers(
            [tuple(it.split(": ", 1)) for it in head.decode().split("\r\n")[1:] if ": " in it]
        )
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
    return httpx.Response(int(head.split()[1]), headers=headers, content=body)


@pytest.mark.parametrize(
    "body",
    [
        {f"unknown-{n}": n for n in range(10_000)},
        GOOD | {"labels": {f"a b {n}": "x" * 64 for n in range(2_000)}},
        GOOD | {"regions": [""] * 64},
        GOOD | {"x" * 200_000: 1},
        GOOD | {"labels": {"\x1b" * 30_000: "x"}},
        GOOD | {"strategy": "x" * 200_000},
        GOOD | {"name": "x" * 200_000},
        GOOD | {"regions": ["x" * 255] * 64},
    ],
    ids=lambda body: next(iter(body))[:12] + str(len(json.dumps(body))),
)
def test_bounded_whatever_is_wrong_with_it_the_answer_is_short(
    doors: dict[str, Door], token: str, books: Books, body: Any, answers: Any
) -> None:
    assert books
    answer = doors["create"].call("POST", "/instances", token, json=body)
    problem = answers.refused(answer, 422, "invalid")
    answers.check(answer, "POST", "/instances")
    assert len(problem["errors"]) <= 21
    assert len(answer.content) < 64 * 1024
    texts = [problem["detail"], *(it[part] for it in problem["errors"] for part in it)]
    assert max(map(len, texts)) <= 2048
    assert all(it.isprintable() for it in texts)


def test_bounded_twenty_faults_are_told_and_how_many_more_there_are(
    doors: dict[str, Door], token: str, answers: Any
) -> None:
    body = GOOD | {f"unknown-{n}": n for n in range(33)}
    problem = answers.refused(
        doors["create"].call("POST", "/instances", token, json=body), 422, "invalid"
    )
    assert len(problem["errors"]) == 21
    assert problem["errors"][-1] == {"pointer": "", "detail": "and 13 more"}
    assert problem["detail"].endswith("and 13 more")
    body = GOOD | {f"unknown-{n}": n for n in range(20)}
    problem = answers.refused(
        doors["create"].call("POST", "/instances", token, json=body), 422, "invalid"
    )
    assert [it["pointer"] for it in problem["errors"]] == [f"/unknown-{n}" for n in range(20)]


def test_bounded_the_line_of_the_log_is_short_too(doors: dict[str, Door], token: str) -> None:
    body = GOOD | {f"unknown-{n}-{'x' * 500}": n for n in range(300)}
    doors["create"].call("POST", "/instances", token, json=body, headers={"X-Request-Id": "long-1"})
    assert len(json.dumps(doors["create"].log("long-1"))) < 4096


@pytest.mark.parametrize("key", ["", " ", "\t", "a\tb", "x" * 256])
def test_a_key_that_is_blank_or_none_is_400_and_nothing_is_made(
    doors: dict[str, Door], token: str, books: Books, key: str, answers: Any
) -> None:
    head = f"POST /v1/instances HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    body = json.dumps(GOOD)
    head += f"Idempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = raw(doors["create"], (head + body).encode())
    problem = answers.refused(answer, 400, "malformed")
    assert "Idempotency-Key" in problem["detail"]
    assert books.ledger.regions()[0].held.instances == 0


@pytest.mark.parametrize(
    "limit", ["%D9%A1", "%EF%BC%95", "%E0%A5%A7%E0%A5%A6", "5%00", "%2B5", "5_0", "0x5", "1e1"]
)
def test_only_ascii_digits_are_a_number(
    doors: dict[str, Door], token: str, limit: str, answers: Any
) -> None:
    answer = doors["list"].call("GET", f"/instances?limit={limit}", token)
    assert answers.pointers(answers.refused(answer, 422, "invalid")) == {"/limit"}


CHUNKS = {
    "no number": b"zz\r\nx\r\n0\r\n\r\n",
    "negative": b"-1\r\nx\r\n0\r\n\r\n",
    "with a plus": b"+1\r\nx\r\n0\r\n\r\n",
    "hexadecimal as in a program": b"0x1\r\nx\r\n0\r\n\r\n",
    "with an underscore": b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n",
    "longer than it says": b"1\r\nxyz\r\n0\r\n\r\n",
    "empty lines": b"\r\n\r\n\r\n",
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize(
    ("door", "line"), [("create", "POST /v1/instances"), ("renew", "PATCH /v1/instances/i-1")]
)
def test_a_body_in_chunks_that_are_none_is_400(
    doors: dict[str, Door], token: str, answers: Any, door: str, line: str, chunks: bytes
) -> None:
    head = f"{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    answer = raw(doors[door], head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    answers.refused(answer, 400, "malformed")


@pytest.mark.parametrize(
    "path",
    [
        "/instances/i%0Ab", "/instances/%0A", "/instances/i-1%0A", "/instances/i-1%0D%0Aa",
        "/instances/i%00", "/instances/i%7F", "/instances/" + "x" * 65, "/instances/i%20b",
        "/instances/%C3%A9", "/instances/i%2Fb/c/d", "/%0A", "/instances//i-1",
        "/instances/i-1%0A/events", "/regions%0A", "/instances/i;x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("door", ["list", "renew", "destroy"])
def test_a_path_that_no_id_has_is_our_404(
    doors: dict[str, Door], token: str, door: str, path: str, answers: Any
) -> None:
    method = {"list": "GET", "renew": "PATCH", "destroy": "DELETE"}[door]
    problem = answers.refused(doors[door].call(method, path, token), 404, "not-found")
    assert problem["detail"].isprintable()


@pytest.mark.parametrize("path", ["/robots.txt", "/favicon.ico", "/v1//instances"])
def test_what_a_framework_has_an_answer_of_its_own_for_is_our_404(
    doors: dict[str, Door], token: str, path: str, answers: Any
) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    answers.refused(raw(doors["list"], head.encode()), 404, "not-found")


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "BREW", "HEAD"])
def test_a_method_of_no_endpoint_is_our_405(
    doors: dict[str, Door], token: str, method: str
) -> None:
    answer = doors["create"].call(method, "/instances", token)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert method in answer.text or method == "HEAD"


def test_patterns_that_are_hard_to_match_take_no_time(
    doors: dict[str, Door], token: str, books: Books, answers: Any
) -> None:
    assert books
    patterns = [("*a" * 120 + str(n)) for n in range(64)]
    began = time.monotonic()
    answer = doors["create"].call("POST", "/instances", token, json=GOOD | {"regions": patterns})
    answers.refused(answer, 422, "invalid")
    assert time.monotonic() - began < 5
