"""Replicas share the work, and one that dies is not noticed by new requests."""

import collections
import concurrent.futures
import time

import pytest

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


def test_a_burst_that_meets_a_dead_replica_is_served(run_gateway, pair, token):
    """Envoy's own bound, three retries at a time, would refuse most of these."""
    pair[0].kill()
    with (
        run_gateway(functions={"create": at(*pair)}) as gateway,
        concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        answers = list(
            pool.map(lambda _: gateway.call("POST", "/v1/instances", token), range(AT_ONCE * 3))
        )
    assert {it.status_code for it in answers} == {200}


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


def test_when_no_replica_lives_the_client_may_try_again(run_gateway, pair, expect_problem, token):
    for replica in pair:
        replica.kill()
    with run_gateway(functions={"create": at(*pair)}) as gateway:
        for _ in range(8):
            answer = gateway.call("POST", "/v1/instances", token)
            document = expect_problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert "may have acted" not in document["detail"]
        assert gateway.call("GET", "/v1/instances", token).status_code == 200


def test_a_request_that_was_being_done_is_not_sent_twice(run_gateway, pair, expect_problem, token):
    """The function may have acted before it died: only the client knows whether to repeat."""
    with run_gateway(functions={"create": at(*pair)}) as gateway:
        answer = gateway.call("POST", "/v1/instances", token, headers={"Do": "die"})
        document = expect_problem(answer, 502, "unavailable")
        assert "may have acted" in document["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert gateway.line(document["request_id"])["attempts"] == 1


def test_a_request_never_meets_a_connection_that_gunicorn_closes(run_gateway, pair, token):
    """Pauses around gunicorn's 2 s, where its close and our request could cross."""
    with run_gateway(functions={"create": at(*pair)}) as gateway:
        for pause in (1.45, 1.5, 1.95, 2.0, 2.05):
            for _ in range(4):
                answer = gateway.call("POST", "/v1/instances", token)
                assert answer.status_code == 200
                assert gateway.line(answer.headers["x-request-id"])["attempts"] == 1
            time.sleep(pause)
