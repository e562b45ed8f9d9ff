"""Functions that are killed at any moment: cloud and ledger agree afterwards."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from openmultistack.wiring.doors import DOORS

# One kill for so many operations done: however slow the machine, work goes on between the kills.
OPERATIONS_A_KILL = 6
# What a client waits after a refusal: about what a function needs to come back.
PAUSE_S = 2.0
WITHIN_S = 1200
OPERATIONS = 200
CLIENTS = 8
SEED = 20261122


def replicas(product) -> list[list[psutil.Process]]:
    """Return the process families of all replicas of all functions."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get("OMS_LOCAL_STACK") != str(product.home):
                continue
            name = environment.get("OMS_LOCAL_NAME", "").rpartition("-")[0]
            if (
                name in DOORS
                and process.parent().environ().get("OMS_LOCAL_NAME")
                != environment["OMS_LOCAL_NAME"]
            ):
                found.append([process, *process.children(recursive=True)])
        except (psutil.Error, AttributeError):
            continue
    return found


class Killer:
    """SIGKILLs a replica, with its workers, each time that enough operations were done."""

    def __init__(self, product, chance: random.Random) -> None:
        self._product = product
        self._chance = chance
        self._lock = threading.Lock()
        self.operations = 0
        self.killed: list[str] = []

    def count(self) -> None:
        """Take note of an operation that was done."""
        with self._lock:
            self.operations += 1
            if self.operations % OPERATIONS_A_KILL == 0:
                self._kill()

    def _kill(self) -> None:
        family = self._chance.choice(replicas(self._product))
        try:
            self.killed.append(family[0].environ()["OMS_LOCAL_NAME"])
            for process in family:
                os.kill(process.pid, signal.SIGKILL)
        except (psutil.Error, ProcessLookupError):
            return


def work(product, seed: int, operations: int, killer: Killer) -> list[int]:
    """Create and destroy at random, so often; return the status of each answer."""
    chance, mine, codes = random.Random(seed), [], []
    headers = {"Authorization": f"Bearer {product.token()}"}
    until = time.monotonic() + WITHIN_S
    with httpx.Client(base_url=product.url, timeout=200, headers=headers) as client:
        while len(codes) < operations:
            assert time.monotonic() < until, codes
            codes.append(operate(client, chance, mine))
            if codes[-1] == 202:
                killer.count()
            else:
                time.sleep(PAUSE_S)
    return codes


def operate(client: httpx.Client, chance: random.Random, mine: list[str]) -> int:
    """Create some instances, or destroy one; return the answer's status, 0 for none."""
    try:
        if len(mine) > 3 or (mine and chance.random() < 0.5):
            answer = client.delete(f"/v1/instances/{mine[-1]}")
            if answer.status_code == 202:
                mine.pop()
            return answer.status_code
        body = {"image": "debian-12", "size": "tiny"}
        answer = client.post("/v1/instances", json=body)
        if answer.status_code == 202:
            mine += [it["id"] for it in answer.json()["instances"]]
    except httpx.HTTPError:
        return 0
    return answer.status_code


# Servers are really built, and functions take seconds to come back.
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_no_leak_after_random_kills_cloud_and_ledger_agree_within_two_sweeps(product, capsys):
    """Two replicas of every function, SIGKILLed during 200 creates and destroys.

    Whatever was answered with 202 is found. Unproven attempts are settled when their lease is
    over, so the two sweeps come after that.
    """
    killer = Killer(product, random.Random(SEED))
    with ThreadPoolExecutor(CLIENTS) as pool:
        share = OPERATIONS // CLIENTS
        runs = [pool.submit(work, product, SEED + it, share, killer) for it in range(CLIENTS)]
        codes = [code for run in runs for code in run.result()]
    time.sleep(product.lease_s)
    product.until(lambda: len(replicas(product)) == 2 * len(DOORS))
    product.until(lambda: product.call("POST", "/reap").status_code == 200)
    product.sweep()
    product.assert_agreement()

    listed = {it["server_id"] for it in product.instances()}
    servers = {i for region in product.regions_known for i in product.servers(region)}
    assert listed == servers
    counts = {code: codes.count(code) for code in sorted(set(codes))}
    assert counts[202] >= OPERATIONS // 2
    assert len(killer.killed) >= counts[202] // OPERATIONS_A_KILL
    with capsys.disabled():
        print(
            f"\n{len(codes)} operations, seed {SEED}: answers {counts}; {len(killer.killed)}"
            f" functions killed; {len(servers)} servers left, all in the ledger"
        )
