"""The fault proxy: what a plain client sees of each kind, and what the cloud executes."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.stub import Stub

REGION = "stub/RegionOne"
CREATE = {"method": "POST", "path": "/servers"}
# Enough for a machine that is very busy; nothing waits as long.
WITHIN_S = 180
# To read the machine's certificates is most of what a request costs.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def nobodys_port() -> Iterator[int]:
    """Return a port where connections are refused, held so that nobody else listens on it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def post(proxy: FaultProxy, path: str = "/servers") -> httpx.Response:
    """Ask for a server without openstacksdk, on a connection of its own."""
    return httpx.post(
        proxy.urls[REGION] + path, json={"server": {}}, timeout=WITHIN_S, verify=NO_TLS
    )


@contextmanager
def waiting_client(proxy: FaultProxy) -> Iterator[socket.socket]:
    """Give a plain connection by which a server has been asked for."""
    url = httpx.URL(proxy.urls[REGION])
    request = f"POST {url.path}/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
    with socket.create_connection((url.host, url.port), WITHIN_S) as connection:
        connection.sendall(request.encode())
        yield connection


def wait_until(holds: Callable[[], bool]) -> None:
    """Return when it holds, or fail."""
    until = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_without_rules_everything_passes(fault_proxy: FaultProxy, stub: Stub) -> None:
    answer = post(fault_proxy)
    assert (answer.status_code, answer.json()) == (202, {"server": {"id": "server-1"}})
    assert answer.headers["Content-Type"] == "application/json"
    assert stub.bodies[-1] == {"server": {}}
    assert post(fault_proxy, "/nowhere?a=%2F").status_code == 404
    counts = fault_proxy.counts(REGION)
    assert counts == {"requests": 2, "forwarded": 2, "open": 0, "done": {"pass": 2}}


def test_a_delay_passes_and_then_the_request(fault_proxy: FaultProxy, stub: Stub) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "delay", "delay_s": 0.4})
    began = time.monotonic()
    assert post(fault_proxy).status_code == 202
    assert time.monotonic() - began > 0.39
    assert stub.posts("/v2.1/servers") == 1
    assert fault_proxy.counts(REGION)["done"] == {"delay": 1}


@pytest.mark.parametrize(("kind", "executed"), [("reset_before", 0), ("reset_after", 1)])
def test_a_reset_is_a_reset(fault_proxy: FaultProxy, stub: Stub, kind: str, executed: int) -> None:
    """RST, not FIN: a plain socket hears ECONNRESET, where an orderly end reads as nothing."""
    fault_proxy.set_rules(REGION, CREATE | {"kind": kind})
    with waiting_client(fault_proxy) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)
    assert stub.posts("/v2.1/servers") == executed
    assert fault_proxy.counts(REGION)["forwarded"] == executed


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize(("kind", "executed"), [("error_before", 0), ("error_after", 1)])
def test_an_error_has_its_status_and_novas_words(
    fault_proxy: FaultProxy, stub: Stub, kind: str, executed: int, status: int
) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": kind, "status": status})
    answer = post(fault_proxy)
    assert answer.status_code == status
    assert answer.json()["computeFault"]["code"] == status
    assert stub.posts("/v2.1/servers") == executed


@pytest.mark.parametrize("status", [429, 413])
def test_a_rate_limit_says_when_to_come_again(
    fault_proxy: FaultProxy, stub: Stub, status: int
) -> None:
    rule = {"kind": "rate_limit", "status": status, "retry_after_s": 17}
    fault_proxy.set_rules(REGION, CREATE | rule)
    answer = post(fault_proxy)
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "17")
    assert stub.posts("/v2.1/servers") == 0


def test_a_truncated_answer_ends_before_its_length(fault_proxy: FaultProxy, stub: Stub) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "truncated"})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message"):
        post(fault_proxy)
    assert stub.posts("/v2.1/servers") == 1


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("executed", [False, True])
def test_html_is_what_a_proxy_says(
    fault_proxy: FaultProxy, stub: Stub, status: int, *, executed: bool
) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "html", "status": status, "executed": executed})
    answer = post(fault_proxy)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.text.startswith("<html>")
    assert stub.posts("/v2.1/servers") == int(executed)


def test_a_broken_body_accepts_and_names_nothing(fault_proxy: FaultProxy, stub: Stub) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "broken_body"})
    answer = post(fault_proxy)
    assert answer.status_code == 202
    assert "id" not in answer.json()["server"]
    assert stub.posts("/v2.1/servers") == 1


@pytest.mark.parametrize("executed", [False, True])
def test_a_hang_answers_nothing_and_ends_when_its_client_goes(
    fault_proxy: FaultProxy, stub: Stub, *, executed: bool
) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "hang", "executed": executed})
    with waiting_client(fault_proxy) as connection:
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        wait_until(lambda: fault_proxy.counts(REGION)["open"] == 1)
        wait_until(lambda: stub.posts("/v2.1/servers") == int(executed))
    wait_until(lambda: fault_proxy.counts(REGION)["open"] == 0)
    assert stub.posts("/v2.1/servers") == int(executed)
    assert fault_proxy.counts(REGION)["done"] == {"hang": 1}


def test_a_refusal_ends_what_is_open_and_is_over_on_the_same_port(
    fault_proxy: FaultProxy, stub: Stub
) -> None:
    with httpx.Client(base_url=fault_proxy.urls[REGION], timeout=WITHIN_S) as kept:
        assert kept.get("/limits").status_code == 200
        fault_proxy.set_rules(REGION, {"kind": "refuse"})
        with pytest.raises(httpx.ConnectError, match="refused"):
            kept.get("/limits")
        fault_proxy.clear()
        assert kept.get("/limits").status_code == 200
    assert stub.requests.count("GET /v2.1/limits") == 2


def test_a_target_that_is_gone_is_a_reset_and_counted_apart(nobodys_port: int) -> None:
    proxy = FaultProxy({REGION: f"http://127.0.0.1:{nobodys_port}"})
    try:
        with pytest.raises(httpx.ReadError):
            post(proxy)
        assert proxy.counts(REGION)["done"] == {"pass": 1, "target_failed": 1}
    finally:
        proxy.close()


def test_a_fault_at_one_target_leaves_the_others_alone(stub: Stub) -> None:
    proxy = FaultProxy({REGION: stub.compute_url, "other": stub.compute_url})
    try:
        proxy.set_rules(REGION, {"kind": "refuse"})
        assert httpx.post(proxy.urls["other"] + "/servers", verify=NO_TLS).status_code == 202
        with pytest.raises(httpx.ConnectError):
            post(proxy)
    finally:
        assert proxy.close() == 0


def test_it_ends_at_once_even_with_a_hang(stub: Stub) -> None:
    proxy = FaultProxy({REGION: stub.compute_url})
    proxy.set_rules(REGION, {"kind": "hang"})
    with waiting_client(proxy):
        wait_until(lambda: proxy.counts(REGION)["open"] == 1)
        assert proxy.close() == 0


def test_a_proxy_that_does_not_come_up_says_so() -> None:
    with pytest.raises(RuntimeError, match="did not come up"):
        FaultProxy({})
