"""Replicas share the work, and one that dies is not noticed by new requests."""

import collections
import concurrent.futures
import socket
import time

import pytest
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER

AT_ONCE = 32


def at(*replicas):
    """Return where replicas listen, as the renderer takes it."""
    return [("127.0.0.1", it.port) for it in replicas]


@pytest.fixture
def pair(run_replica):
    """Two replicas of create that may be killed."""
    return [it.wait() for it in (run_replica("create"), run_replica("create"))]


def test_both_replicas_get_requests(gateway, token):
    seen = collections.Counter(
        gateway.call("POST", "/v1/instances", token).json()["pid"] for _ in range(40)
    )
    assert len(seen) == 2
    assert min(seen.values()) >= 5


def test_a_busy_replica_is_spared(gateway, token):
    """Of two replicas the one with fewer requests open is asked."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda _: gateway.call("POST", "/v1/instances", token, headers={"Do": "sleep=0.3"}),
                range(8),
            )
        )
    seen = collections.Counter(it.json()["pid"] for it in answers)
    assert min(seen.values()) >= 2


def test_a_killed_replica_is_not_noticed(run_gateway, pair, token):
    with run_gateway(functions={"create": at(*pair)}) as gateway:
        for _ in range(10):  # both have connections open that will be dead
            assert gateway.call("POST", "/v1/instances", token).status_code == 200
        pair[0].kill()
        for _ in range(30):
            assert gateway.call("POST", "/v1/instances", token).status_code == 200


def test_a_burst_that_meets_a_dead_replica_is_served(run_gateway, replicas, dead_replica, token):
    """Envoy's own bound, three retries at a time, would refuse most of these."""
    functions = {"create": [*at(replicas["create"][0]), dead_replica]}
    with (
        run_gateway(functions=functions) as gateway,
        concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        answers = list(
            pool.map(lambda _: gateway.call("POST", "/v1/instances", token), range(AT_ONCE * 3))
        )
        assert {it.status_code for it in answers} == {200}
        # The dead one is not asked a second time by the same request: else it would be by each
        # second that met it. On a slow machine a living one may not be reached at once, either.
        attempts = [gateway.line(it.headers["x-request-id"])["attempts"] for it in answers]
        met = [it for it in attempts if it > 1]
        assert met
        assert len([it for it in met if it > 2]) <= len(met) / 5


def test_a_replica_that_comes_back_is_used_again(run_gateway, run_replica, pair, token):
    with run_gateway(functions={"create": at(*pair)}) as gateway:
        pair[0].kill()
        for _ in range(20):
            assert gateway.call("POST", "/v1/instances", token).status_code == 200
        run_replica("create", pair[0].port).wait()
        until = time.monotonic() + 15
        seen = set()
        while len(seen) < 2 and time.monotonic() < until:
            seen.add(gateway.call("POST", "/v1/instances", token).json()["pid"])
        assert len(seen) == 2


def test_when_no_replica_lives_the_client_may_try_again(
    run_gateway, dead_replica, expect_problem, token
):
    with run_gateway(functions={"create": [dead_replica]}) as gateway:
        for _ in range(8):
            answer = gateway.call("POST", "/v1/instances", token)
            document = expect_problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert "may have acted" not in document["detail"]
        assert gateway.call("GET", "/v1/instances", token).status_code == 200


@pytest.mark.parametrize("left", ["nothing", "a socket"])
def test_on_sockets_too_a_replica_that_is_gone_is_passed_over(
    run_gateway, run_replica, token, tmp_path, left
):
    """Whether its socket was removed in order, or is what a killed process left."""
    living, gone = tmp_path / "living", tmp_path / "gone"
    run_replica("create", at=living).wait()
    if left == "a socket":
        with socket.socket(socket.AF_UNIX) as it:
            it.bind(str(gone))
    with run_gateway(functions={"create": [gone, living]}) as gateway:
        for _ in range(20):
            assert gateway.call("POST", "/v1/instances", token).status_code == 200


def test_a_request_that_was_being_done_is_not_sent_twice(
    run_gateway, run_replica, expect_problem, token
):
    """The function may have acted before it died: only the client knows whether to repeat."""
    dying = run_replica("create").wait()
    with run_gateway(functions={"create": at(dying)}) as gateway:
        answer = gateway.call("POST", "/v1/instances", token, headers={"Do": "die"})
        document = expect_problem(answer, 502, "unavailable")
        assert "may have acted" in document["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert gateway.line(document["request_id"])["attempts"] == 1


def test_envoy_lets_go_of_an_idle_connection_before_a_function_that_ends_does(run_gateway, token):
    """A request sent into a connection that is closed just then would be lost."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with (
            run_gateway(functions={"create": [address]}) as gateway,
            concurrent.futures.ThreadPoolExecutor(1) as pool,
        ):
            idle_s = pool.submit(answer_once, server)
            assert gateway.call("POST", "/v1/instances", token).status_code == 200
            assert 1 < idle_s.result() < STOP_KEEPALIVE_LINGER - 0.1


def answer_once(server):
    """Answer one request, keep the connection open, return after how long the other end closed."""
    server.settimeout(10)
    connection, _ = server.accept()
    with connection:
        connection.settimeout(10)
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        began = time.monotonic()
        connection.recv(1)
        return time.monotonic() - began
