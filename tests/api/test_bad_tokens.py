"""Some 470 bad tokens at every function's own port and through the gateway: 0 let in, 0 errors."""

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

Door = Signer = Books = House = Any  # conftest's own; test modules do not import one another

ROOT = Path(__file__).parent.parent.parent
# Of each function a request, its body, and what it answers a good token: there is nothing to do.
REQUESTS: Mapping[str, tuple[str, str, bytes, int]] = {
    "list": ("GET", "/v1/instances", b"", 200),
    "create": ("POST", "/v1/instances", b"{}", 422),
    "renew": ("PATCH", "/v1/instances/i-none", b'{"ttl": 60}', 404),
    "destroy": ("DELETE", "/v1/instances/i-none", b"", 404),
    "reap": ("POST", "/v1/reap", b'{"now": "perhaps"}', 422),
}


class Target:
    """A port, asked over one connection that is kept open; headers are sent as they are given."""

    def __init__(self, url: str) -> None:
        self._address = httpx.URL(url).netloc.decode()
        self._connection = http.client.HTTPConnection(self._address, timeout=30)

    def ask(self, function: str, row: Any) -> tuple[int, str]:
        """Return status and text of the answer to a function's request."""
        method, path, body, _ = REQUESTS[function]
        query = f"?{row.query}" if row.query else ""
        self._connection.putrequest(method, path + query)
        self._connection.putheader("Content-Length", str(len(body)))
        for name, value in row.headers:
            self._connection.putheader(name, value)
        self._connection.endheaders(body)
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@pytest.fixture(scope="module")
def kinds(load: Callable[..., ModuleType]) -> ModuleType:
    """How the tokens are made."""
    return load("api", "bad_tokens")


@pytest.fixture(scope="module")
def make(kinds: ModuleType, signer: Signer) -> Any:
    """A maker of tokens of the issuer that is believed."""
    return kinds.Maker(signer.pem, signer.jwks, signer.claims())


@pytest.fixture(scope="module")
def gateway(doors: dict[str, Door], signer: Signer, run_gateway: Any) -> Iterator[str]:
    """The URL of a real gateway before the real functions."""
    with run_gateway(doors, signer.issuers_file) as url:
        yield url


def assert_all_refused(url: str, functions: list[str], kinds: ModuleType, make: Any) -> None:
    """Send every bad row; a good token is let in before, among and after them."""
    with contextlib.closing(Target(url)) as target:
        _assert_all_refused(target, functions, kinds, make)


def _assert_all_refused(target: Target, functions: list[str], kinds: ModuleType, make: Any) -> None:
    beside = kinds.bearer(make.token())
    let_in, errors = {}, {}
    bad = kinds.rows(make)
    for n, (name, row) in enumerate(bad.items()):
        function = functions[n % len(functions)]
        status, text = target.ask(function, row)
        if status != 401:
            (errors if status >= 500 else let_in)[name] = (function, status, text[:200])
            continue
        problem = json.loads(text)
        assert problem["type"] == "urn:openmultistack:problem:unauthenticated", name
        assert problem["request_id"], name
        assert make.token().split(".")[1][:30] not in text, name
        if n % 25 == 0 or n == len(bad) - 1:
            assert target.ask(function, beside)[0] == REQUESTS[function][3], name
    assert (let_in, errors) == ({}, {})


def test_there_are_enough_of_them(kinds: ModuleType, make: Any) -> None:
    assert len(kinds.rows(make)) >= 300


@pytest.mark.parametrize("function", REQUESTS)
def test_a_function_refuses_every_bad_token_and_goes_on(
    doors: dict[str, Door], books: Books, kinds: ModuleType, make: Any, function: str
) -> None:
    kept = books.add()
    assert_all_refused(doors[function].url, [function], kinds, make)
    assert books.ledger.get([kept])[0].status == "ACTIVE"
    assert "Traceback" not in doors[function].err()
    assert '"unexpected"' not in doors[function].out()


def test_the_gateway_lets_no_bad_token_through(
    gateway: str, books: Books, kinds: ModuleType, make: Any
) -> None:
    assert books
    assert_all_refused(gateway, list(REQUESTS), kinds, make)


@pytest.mark.parametrize("where", ["function", "gateway"])
def test_what_is_near_to_a_fault_and_none_is_let_in(
    request: pytest.FixtureRequest,
    doors: dict[str, Door],
    books: Books,
    kinds: ModuleType,
    make: Any,
    where: str,
) -> None:
    assert books
    url = doors["list"].url if where == "function" else request.getfixturevalue("gateway")
    with contextlib.closing(Target(url)) as target:
        refused = {name: target.ask("list", row) for name, row in kinds.good(make).items()}
    assert {name: it for name, it in refused.items() if it[0] != 200} == {}


@pytest.mark.parametrize("where", ["function", "gateway"])
def test_exp_is_the_end_and_not_a_second_later(
    request: pytest.FixtureRequest, doors: dict[str, Door], kinds: ModuleType, make: Any, where: str
) -> None:
    """A function that has proven a token before does not believe it longer."""
    url = doors["list"].url if where == "function" else request.getfixturevalue("gateway")
    end = time.time() + 2
    row = kinds.bearer(make.token(claims=make.claims(exp=end)))
    answers = []
    with contextlib.closing(Target(url)) as target:
        while time.time() < end + 0.3:
            asked_at = time.time()
            status, _ = target.ask("list", row)
            answers.append((asked_at, status, time.time()))
    assert 200 in {status for _, status, _ in answers}
    assert {status for asked_at, status, _ in answers if asked_at >= end} == {401}
    assert {status for _, status, done_at in answers if done_at < end} == {200}
