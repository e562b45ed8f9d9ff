"""One request id leads from `oms` through the log of the functions to what a cloud has of it."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from ulid import ULID

from tests.support.doors import Door

OMS = Path(sys.executable).parent / "oms"
DOORS = ("create", "destroy", "reap")
WITHIN_S = 30


class Stack:
    """Functions over a simulated OpenStack, and `oms` in front of them."""

    def __init__(self, doors: dict[str, Door], sim_url: str, token: str) -> None:
        self.doors = doors
        self.sim_url = sim_url
        self.token = token

    def oms(self, door: str, *arguments: str, code: int = 0) -> str:
        """Run a command against a function and return what it said, all of it."""
        done = subprocess.run(
            [OMS, *arguments, "--url", self.doors[door].url],
            env=os.environ | {"OMS_TOKEN": self.token},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def reap(self) -> None:
        """Have every region swept."""
        assert self.doors["reap"].call("POST", "/reap", self.token).status_code == 200

    def lines(self, door: str, text: str, until: str = "request") -> list[dict[str, Any]]:
        """Return what `grep` finds in a function's log, once there is the line of an event."""
        last = time.monotonic() + WITHIN_S
        while True:
            found = [it for it in self.doors[door].out().splitlines() if text in it]
            lines = [json.loads(it) for it in found]
            if any(it["event"] == until for it in lines) or time.monotonic() > last:
                return lines
            time.sleep(0.05)

    def requests(self, method: str, global_id: str) -> dict[str, str]:
        """Return what regions have of a request: by region, what they call it themselves."""
        known = httpx.get(f"{self.sim_url}/sim/requests", timeout=10).json()
        return {
            region: it["request_id"]
            for region, requests in known.items()
            for it in requests
            if (it["method"], it["global_request_id"]) == (method, global_id)
        }

    def quota(self, instances: int) -> None:
        """Have every region allow so many instances."""
        for region in httpx.get(f"{self.sim_url}/sim/stats", timeout=10).json()["regions"]:
            url = f"{self.sim_url}/sim/regions/{region}"
            httpx.patch(url, json={"instances": instances}, timeout=10).raise_for_status()


@pytest.fixture
def stack(running: Callable[..., Any], sim: Any, token: str, valkey_port: int) -> Iterator[Stack]:
    """Return functions of a fleet of their own, whose regions have been swept."""
    fleet = f"one-{ULID()}"
    httpx.post(f"{sim.url}/sim/reset", timeout=10).raise_for_status()
    given = {"OS_CLIENT_CONFIG_FILE": sim.clouds_file, "OMS_FLEET_FILE": None, "OMS_FLEET": fleet}
    with ExitStack() as up:
        doors = {name: up.enter_context(running(name, **given)) for name in DOORS}
        made = Stack(doors, sim.url, token)
        made.reap()
        yield made
    httpx.post(f"{sim.url}/sim/reset", timeout=10).raise_for_status()
    with Redis(port=valkey_port) as redis:
        for key in redis.scan_iter(f"{{oms:{fleet}}}*"):
            redis.delete(key)


def test_why_did_that_create_fail_is_answered_by_its_id_and_the_log_alone(stack: Stack) -> None:
    stack.quota(0)
    order = ("create", "--image", "debian-12", "--size", "m1.tiny")
    shown = stack.oms("create", *order, code=5)
    (request_id,) = re.findall(r"^  request (\S+)$", shown, re.MULTILINE)
    *attempts, request = stack.lines("create", request_id)
    said = {it["region"]: it for it in attempts}
    assert len(said) == len(attempts) == 4, attempts
    assert [it["attempt"] for it in attempts] == [1, 2, 3, 4], "in the order of the attempts"
    assert {(it["event"], it["outcome"]) for it in attempts} == {("attempt", "full")}
    assert all("Quota exceeded" in it["said"] for it in attempts)
    (instance_id,) = {it["instance"] for it in attempts}
    last = {"id": instance_id, "region": attempts[-1]["region"], "attempt": 4}
    assert request["instances"] == [last]
    assert (request["outcome"], request["status"]) == ("capacity-exhausted", 503)
    assert request["owner"] == "alice"
    assert request["regions"] == {region: it["said"] for region, it in said.items()}
    assert request["global_request_id"] == f"req-{request_id}"
    their_own = {region: it["cloud_request_id"] for region, it in said.items()}
    assert stack.requests("POST", f"req-{request_id}") == their_own
    assert set(their_own.values()) <= set(request["cloud_request_ids"])
    for region, its_own in their_own.items():
        assert re.search(rf"^  {region}: .*\(there: {its_own}\)$", shown, re.MULTILINE)
    assert stack.token not in stack.doors["create"].out()


def test_what_was_made_and_deleted_is_found_by_the_instances_id(stack: Stack) -> None:
    order = ("create", "--image", "debian-12", "--size", "m1.tiny", "--count", "2", "--json")
    made = json.loads(stack.oms("create", *order))["instances"]
    (line,) = stack.lines("create", made[0]["id"])
    assert (line["requested"], line["queued"], line["outcome"]) == (2, 0, "ok")
    assert line["instances"] == [
        {"id": it["id"], "region": it["region"], "attempt": 1, "server": it["server_id"]}
        for it in made
    ]
    gone = httpx.request(
        "DELETE",
        f"{stack.doors['destroy'].url}/v1/instances/{made[0]['id']}",
        headers={"Authorization": f"Bearer {stack.token}", "X-Request-Id": "job-7"},
        timeout=60,
    )
    assert gone.status_code == 202
    (deleted,) = stack.lines("destroy", made[0]["id"], until="deleted")
    assert deleted["request_id"] == "job-7"
    about = {"region": made[0]["region"], "server": made[0]["server_id"], "attempt": 1}
    assert {name: deleted[name] for name in about} == about
    assert deleted["why"] == "its owner destroyed it"
    theirs = stack.requests("DELETE", deleted["global_request_id"])
    assert theirs == {made[0]["region"]: deleted["cloud_request_id"]}
