"""Functions that are killed at any moment: cloud and ledger agree afterwards."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil

# A function takes two to three seconds to start here; more kills than that leave nobody to kill.
KILL_EVERY_S = 1.5
# What a client waits after a refusal.
PAUSE_S = 0.5
OPERATIONS = 200
CLIENTS = 8
SEED = 20261122
FUNCTIONS = ("create", "destroy", "list", "renew", "reap")


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
                name in FUNCTIONS
                and process.parent().environ().get("OMS_LOCAL_NAME")
                != environment["OMS_LOCAL_NAME"]
            ):
                found.append([process, *process.children(recursive=True)])
        except (psutil.Error, AttributeError):
            continue
    return found


def kill_at_random(
    product, chance: random.Random, stop: threading.Event, killed: list[str]
) -> None:
    """SIGKILL one replica after the other, each with its workers, until told to stop."""
    while not stop.wait(KILL_EVERY_S):
        families = replicas(product)
        if not families:
            continue
        family = chance.choice(families)
        try:
            killed.append(family[0].environ()["OMS_LOCAL_NAME"])
            for process in family:
                os.kill(process.pid, signal.SIGKILL)
        except (psutil.Error, ProcessLookupError):
            continue


def work(product, seed: int, operations: int) -> list[int]:
    """Create and destroy at random; return the status of each answer, 0 for none."""
    chance, mine, codes = random.Random(seed), [], []
    headers = {"Authorization": f"Bearer {product.token()}"}
    with httpx.Client(base_url=product.url, timeout=200, headers=headers) as client:
        for _ in range(operations):
            try:
                if mine and chance.random() < 0.5:
                    answer = client.delete(f"/v1/instances/{mine.pop()}")
                else:
                    body = {"image": "debian-12", "size": "tiny", "count": chance.choice((1, 1, 2))}
                    answer = client.post("/v1/instances", json=body)
                    if answer.status_code == 202:
                        mine += [it["id"] for it in answer.json()["instances"]]
                codes.append(answer.status_code)
            except httpx.HTTPError:
                codes.append(0)
            if codes[-1] != 202:
                time.sleep(PAUSE_S)
    return codes


def test_after_random_kills_cloud_and_ledger_agree_within_two_sweeps(product, capsys):
    """Two replicas of every function, SIGKILLed during 200 creates and destroys.

    Whatever was answered with 202 is found. Unproven attempts are settled when their lease is
    over, so the two sweeps come after that.
    """
    stop, killed = threading.Event(), []
    chance = random.Random(SEED)
    killer = threading.Thread(target=kill_at_random, args=(product, chance, stop, killed))
    killer.start()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            share = OPERATIONS // CLIENTS
            runs = [pool.submit(work, product, SEED + it, share) for it in range(CLIENTS)]
            codes = [code for run in runs for code in run.result()]
    finally:
        stop.set()
        killer.join()
    time.sleep(product.lease_s)
    product.until(lambda: len(replicas(product)) == 2 * len(FUNCTIONS))
    product.until(lambda: product.call("POST", "/reap").status_code == 200)
    product.sweep()
    product.assert_agreement()

    listed = {it["server_id"] for it in product.instances()}
    servers = {i for region in product.regions_known for i in product.servers(region)}
    assert listed == servers
    assert len(killed) >= 20
    counts = {code: codes.count(code) for code in sorted(set(codes))}
    assert counts[202] >= OPERATIONS // 4
    with capsys.disabled():
        print(
            f"\n{len(codes)} operations, seed {SEED}: answers {counts}; {len(killed)} functions"
            f" killed; {len(servers)} servers left, all in the ledger"
        )
