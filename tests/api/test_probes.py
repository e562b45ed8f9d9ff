"""What platforms ask of each function by themselves, at its own port and without a token."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from openmultistack.api.endpoints.probes import TICK_EVERY_MS, TICK_WITHIN_S, tick
from openmultistack.domain.regions import RegionState
from openmultistack.ledger import Ledger
from openmultistack.wiring.doors import DOORS
from tests.conftest import Sim
from tests.support.doors import Door

CRON = {"X-Topic": "cron-function", "X-Connector": "cron-connector"}
PING = {
    "ce-id": "0c9a6d2e-6f0a-4b6e-9a52-0f8f6f3b7c11",
    "ce-type": "dev.knative.sources.ping",
    "ce-source": "/apis/v1/namespaces/oms/pingsources/reap",
    "ce-specversion": "1.0",
    "content-type": "application/json",
}
Running = Callable[..., AbstractContextManager[Door]]


def ask(door: Door, method: str, path: str, **more: Any) -> httpx.Response:
    """Ask a function at its own port."""
    return httpx.request(method, door.url + path, timeout=60, **more)


@pytest.mark.parametrize("name", DOORS)
def test_each_function_says_that_it_lives_and_is_ready(doors: dict[str, Door], name: str) -> None:
    for path in ("/_/health", "/_/ready"):
        answer = ask(doors[name], "GET", path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_probes_leave_no_line_in_the_log(doors: dict[str, Door]) -> None:
    for path in ("/_/health", "/_/ready"):
        ask(doors["list"], "GET", path, headers={"X-Request-Id": "a-probe"})
    ask(doors["list"], "GET", "/v1/healthz", headers={"X-Call-Id": "after-the-probes"})
    assert doors["list"].log("after-the-probes")["status"] == 200
    assert "a-probe" not in doors["list"].out()


def test_without_a_ledger_a_function_lives_and_is_not_ready(
    running: Running, free_port: Callable[[], int]
) -> None:
    with running("create", OMS_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0") as door:
        assert ask(door, "GET", "/_/health").status_code == 200
        refused = ask(door, "GET", "/_/ready")
    assert (refused.status_code, refused.json()["type"]) == (
        503,
        "urn:openmultistack:problem:ledger-unavailable",
    )


def test_a_schedule_without_a_setting_is_nothing_that_is_there(doors: dict[str, Door]) -> None:
    tried = [ask(doors["reap"], "POST", "/_/tick")]
    tried += [ask(doors["reap"], "POST", "/", headers=it) for it in (CRON, PING)]
    assert {it.status_code for it in tried} == {404}


@pytest.fixture
def cloud(start_sim: Callable[..., AbstractContextManager[Sim]], tmp_path: Path) -> Iterator[Sim]:
    """Return a simulated provider of two regions."""
    with start_sim(tmp_path, "--providers", "1", "--regions-per-provider", "2") as sim:
        yield sim


def looks(cloud: Sim) -> Counter[str]:
    """Return how often the servers of each region were listed."""
    told = httpx.get(f"{cloud.url}/sim/stats", timeout=10).json()["regions"]
    return Counter(
        {region: it["calls"].get("GET /servers/detail", 0) for region, it in told.items()}
    )


@pytest.fixture
def fresh(cloud: Sim, tmp_path: Path) -> dict[str, object]:
    """Return the settings of a deployment that nobody has swept."""
    return {
        "OS_CLIENT_CONFIG_FILE": cloud.clouds_file,
        "OMS_FLEET_FILE": None,
        "OMS_FLEET": f"ticks-{tmp_path.name[-20:]}",
        "OMS_TICK": "on",
    }


@pytest.fixture
def states(fresh: dict[str, object], valkey_port: int) -> Callable[[], list[RegionState]]:
    """Return what tells the ledger's view of all regions."""

    def states() -> list[RegionState]:
        with Redis(port=valkey_port, decode_responses=True) as redis:
            return Ledger(redis, str(fresh["OMS_FLEET"]), lease_ms=60_000).regions()

    return states


@pytest.fixture
def reap(running: Running, fresh: dict[str, object]) -> Iterator[Door]:
    """Return the reaper of such a deployment."""
    with running("reap", **fresh) as door:
        yield door


@pytest.mark.parametrize(
    ("path", "headers", "content"),
    [("/", CRON, None), ("/", PING, b"{}"), ("/_/tick", {}, None)],
    ids=["cron-connector", "PingSource", "tick"],
)
def test_a_schedules_own_request_has_all_regions_swept_without_a_token(
    reap: Door,
    states: Callable[[], list[RegionState]],
    path: str,
    headers: dict[str, str],
    content: bytes | None,
) -> None:
    answer = ask(reap, "POST", path, headers=headers, content=content)
    assert (answer.status_code, answer.content) == (204, b"")
    assert [it.state for it in states()] == ["up", "up"]


def test_a_flood_of_ticks_is_one_sweep_of_each_region(reap: Door, cloud: Sim) -> None:
    with httpx.Client(base_url=reap.url, timeout=60) as client, ThreadPoolExecutor(16) as pool:
        began = time.monotonic()
        ticks = [pool.submit(client.post, "/_/tick") for _ in range(1000)]
        answers = Counter((it.result().status_code, it.result().content) for it in ticks)
        took_s = time.monotonic() - began
    assert set(answers) <= {(204, b""), (202, b"")}
    # So many intervals have begun, on a machine that has other things to do.
    sweeps = 1 + int(took_s * 1000 // TICK_EVERY_MS)
    assert len(looks(cloud)) == 2
    assert all(1 <= many <= sweeps for many in looks(cloud).values())


def test_a_tick_is_answered_within_what_the_platform_grants() -> None:
    """The sweeps go on behind the answer."""
    over, began = threading.Event(), threading.Event()

    class Hanging:
        def turn(self, _: str, *, for_ms: int) -> bool:
            return for_ms > 0

        def reap(self) -> None:
            began.set()
            over.wait(60)

    hanging: Any = Hanging()
    nobody: Any = None
    asked_at = time.monotonic()
    try:
        assert tick(lambda: hanging, lambda: hanging, 0.2).run(nobody).status == 202
        assert time.monotonic() - asked_at < TICK_WITHIN_S
        assert began.wait(60)
    finally:
        over.set()


def test_a_tick_takes_no_parameters(reap: Door, states: Callable[[], list[RegionState]]) -> None:
    answer = ask(reap, "POST", "/_/tick?region=x", content=json.dumps({"now": True, "regions": []}))
    assert (answer.status_code, answer.content) == (204, b"")
    assert [it.state for it in states()] == ["up", "up"]


@pytest.mark.parametrize("name", sorted(set(DOORS) - {"reap"}))
def test_no_other_function_takes_ticks(
    running: Running, fresh: dict[str, object], name: str
) -> None:
    with running(name, **fresh) as door:
        tried = [ask(door, "POST", "/_/tick"), ask(door, "POST", "/", headers=CRON)]
    assert {it.status_code for it in tried} == {404}
