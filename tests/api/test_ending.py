"""A function that its platform ends: nobody who asked it something goes without an answer."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from gunicorn.config import Config

from openmultistack.launch import worker as workers
from openmultistack.launch.lame_duck import END_IS_NEAR
from tests.conftest import Sim
from tests.support.doors import Door
from tests.support.waiting import until

BODY = {"image": "debian-12", "size": "m1.small"}
Running = Callable[..., AbstractContextManager[Door]]


@pytest.fixture
def slow(start_sim: Callable[..., AbstractContextManager[Sim]], tmp_path: Path) -> Iterator[Sim]:
    """Return a provider whose servers take ten minutes to build."""
    options = ("--providers", "1", "--regions-per-provider", "1", "--boot-s", "600")
    with start_sim(tmp_path, *options) as sim:
        yield sim


def settings(sim: Sim, tmp_path: Path, **more: object) -> dict[str, object]:
    """Return what a function over a simulated provider is told."""
    return {
        "OS_CLIENT_CONFIG_FILE": sim.clouds_file,
        "OMS_FLEET_FILE": None,
        "OMS_FLEET": f"ends-{tmp_path.name[-20:]}",
        **more,
    }


def create(door: Door, token: str, prefer: str) -> tuple[httpx.Response, float]:
    """Create an instance, and return how long the answer took."""
    began = time.monotonic()
    answer = door.call("POST", "/instances", token, json=BODY, headers={"Prefer": prefer})
    return answer, time.monotonic() - began


def test_a_wait_is_over_within_what_the_platform_grants(
    running: Running, slow: Sim, tmp_path: Path, token: str
) -> None:
    with running("create", **settings(slow, tmp_path, OMS_GRANTED_S=3)) as door:
        answer, took_s = create(door, token, "wait=600")
    assert (answer.status_code, answer.json()["instances"][0]["status"]) == (202, "BUILD")
    assert took_s >= 3


def test_who_waits_is_answered_when_the_function_is_to_end(
    running: Running, slow: Sim, tmp_path: Path, token: str
) -> None:
    told = settings(slow, tmp_path, OMS_GRANTED_S=9999, OMS_LAME_DUCK_S=0)
    with running("create", **told) as door, ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(create, door, token, "wait=60")
        until(lambda: servers(slow))
        door.process.send_signal(signal.SIGTERM)
        assert door.wait() == 0
        answer, took_s = waiting.result()
    assert (answer.status_code, answer.json()["instances"][0]["status"]) == (202, "BUILD")
    assert took_s < 60
    assert answer.headers["location"]


def servers(sim: Sim) -> int:
    """Return how many servers there are."""
    return len(httpx.get(f"{sim.url}/sim/servers", timeout=10).json()["servers"])


def test_new_requests_are_taken_for_a_while_and_health_says_that_it_ends(
    running: Running, token: str
) -> None:
    with running("list", OMS_LAME_DUCK_S=20) as door:
        door.process.send_signal(signal.SIGTERM)
        until(lambda: health(door) == 503)
        assert door.call("GET", "/instances", token).status_code == 200
        assert httpx.get(f"{door.url}/_/ready", timeout=30).status_code == 200
        # In a hurry after all.
        door.process.send_signal(signal.SIGINT)
        assert door.wait() == 0


def test_a_flow_of_requests_is_answered_until_the_platform_sends_no_more(
    running: Running, token: str
) -> None:
    """Whoever heard of the end 1.5 s after it lost nothing."""
    with running("list", OMS_LAME_DUCK_S=60) as door:
        heard, answers = threading.Event(), []

        def flow() -> None:
            while not heard.is_set():
                answers.append(door.call("GET", "/instances", token).status_code)

        flows = [threading.Thread(target=flow) for _ in range(4)]
        for it in flows:
            it.start()
        door.process.send_signal(signal.SIGTERM)
        until(lambda: health(door) == 503)
        many = len(answers)
        until(lambda: len(answers) > many + 20)
        heard.set()
        for it in flows:
            it.join()
        door.process.send_signal(signal.SIGINT)
        assert door.wait() == 0
    assert set(answers) == {200}


@pytest.mark.parametrize("sent", [END_IS_NEAR, signal.SIGTERM])
def test_no_handler_of_a_signal_takes_a_lock(
    monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    """The next signal may come meanwhile: its handler would wait for the lock for ever.

    Of two that were sent at once, as at the end of a function, one in 500 did.
    """
    ending = threading.Event()
    monkeypatch.setattr(workers, "ENDING", ending)
    monkeypatch.delattr(signal, "set_wakeup_fd")
    worker = workers.BoundedWorker(0, 0, [], None, 0, Config(), None)
    worker.method_queue.init()
    before = {it: signal.getsignal(it) for it in (*worker.SIGNALS, END_IS_NEAR)}
    try:
        worker.init_signals()
        signal.raise_signal(sent)
        assert not ending.is_set()
        worker.method_queue.run_callbacks(None)
        assert ending.is_set()
    finally:
        for it, handler in before.items():
            signal.signal(it, handler)
        worker.method_queue.close()
        worker.tmp.close()


def test_bad_seconds_are_refused_at_the_start(running: Running) -> None:
    with (
        pytest.raises(AssertionError, match="OMS_LAME_DUCK_S: expected seconds"),
        running("list", OMS_LAME_DUCK_S="soon"),
    ):
        pass


def health(door: Door) -> int:
    """Return what the function says of its life."""
    return httpx.get(f"{door.url}/_/health", timeout=30).status_code
