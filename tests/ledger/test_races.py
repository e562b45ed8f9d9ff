"""Many processes at one ledger: never over, exact fill, and books that balance at every moment."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from redis import Redis

from openmultistack.ledger.keys import Keys
from tests.support.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

REGIONS = ("alpha/One", "alpha/Two", "beta/One")
RACERS = 8
READY_WITHIN_S = 60.0


@contextmanager
def racing(valkey: SimpleNamespace, kind: str, count: int) -> "Iterator[subprocess.Popen[str]]":
    """Let processes race from the same moment on; none outlives the test."""
    script = str(Path(__file__).with_name("racer.py"))
    race = subprocess.Popen(
        [sys.executable, script, str(valkey.port), str(RACERS), kind, str(count), *REGIONS],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        with Redis(port=valkey.port, decode_responses=True) as client:
            until = time.monotonic() + READY_WITHIN_S
            while int(client.get("race:ready") or 0) < RACERS:
                assert race.poll() is None, "the race broke down"
                assert time.monotonic() < until, "not all processes came up"
                time.sleep(0.01)
            client.set("race:go", 1)
        yield race
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(race.pid, signal.SIGKILL)
        race.communicate(timeout=10)


def given(race: "subprocess.Popen[str]") -> Counter[str]:
    """Return how many slots the processes were given in each region, when all are done."""
    out, _ = race.communicate(timeout=60)
    assert race.returncode == 0
    return Counter(json.loads(out))


def sample(client: "Redis[str]") -> dict[str, tuple[int, int, int]]:
    """Return instances, vcpus and ram_mb held in each region, all of one moment, after a check."""
    keys = Keys("test")
    with client.pipeline(transaction=True) as pipe:
        for region in REGIONS:
            pipe.hmget(keys.region(region), "held_vcpus", "held_ram_mb", "building")
            pipe.hvals(keys.slots(region))
        answers = pipe.execute()
    held = {}
    for region, counters, slots in zip(REGIONS, answers[::2], answers[1::2], strict=True):
        values = [json.loads(slot) for slot in slots]
        sums = [sum(int(value[what]) for value in values) for what in ("vcpus", "ram_mb")]
        sums.append(sum("building" in value for value in values))
        assert [int(counter or 0) for counter in counters] == sums, region
        held[region] = (len(values), sums[0], sums[1])
    return held


def assert_owners_hold_their_slots(client: "Redis[str]", owners: list[str]) -> None:
    """Check what owners are said to hold against all slots of the same moment."""
    keys = Keys("test")
    with client.pipeline(transaction=True) as pipe:
        for region in REGIONS:
            pipe.hvals(keys.slots(region))
        for owner in owners:
            pipe.hmget(keys.usage(owner), "instances", "vcpus")
        answers = pipe.execute()
    slots = [json.loads(it) for texts in answers[: len(REGIONS)] for it in texts]
    for owner, told in zip(owners, answers[len(REGIONS) :], strict=True):
        own = [int(it["vcpus"]) for it in slots if it["owner"] == owner]
        assert [int(it or 0) for it in told] == [len(own), sum(own)], owner


def assert_queue_is_those_who_wait(desk: Desk) -> None:
    """Check the queue against all instances that live."""
    ids = [it for owner in range(RACERS) for it in desk.members(desk.keys.live(f"racer{owner}"))]
    waiting = {it.id for it in desk.ledger.get(ids) if it.status == "QUEUED"}
    assert set(desk.waiting()) == waiting


def test_never_over_and_exact_fill_eight_processes_race_at_sixty_slots(
    desk: Desk, valkey: SimpleNamespace
) -> None:
    desk.open(*REGIONS, instances=20)
    with racing(valkey, "single", 15) as race:
        assert given(race) == dict.fromkeys(REGIONS, 20)
    assert desk.held(*REGIONS) == [20, 20, 20]
    ids = {it for region in REGIONS for it, _ in desk.slots(region)}
    assert len(ids) == 60
    assert sum(len(desk.members(desk.keys.live(f"racer{i}"))) for i in range(RACERS)) == 60


def test_the_books_balance_at_every_moment_of_a_race_of_all_acts(
    desk: Desk, valkey: SimpleNamespace, redis: "Redis[str]"
) -> None:
    desk.open(*REGIONS, instances=10, vcpus=14, ram_mb=28)
    samples = 0
    fullest = (0, 0, 0)
    with racing(valkey, "mixed", 150) as race:
        while race.poll() is None:
            for held in sample(redis).values():
                assert all(one <= cap for one, cap in zip(held, (10, 14, 28), strict=True))
                fullest = max(fullest, held)
            samples += 1
        assert given(race)
    sample(redis)
    desk.check_owners()
    assert_queue_is_those_who_wait(desk)
    assert samples >= 10
    assert fullest[1] >= 13, "the race was no race: no region was ever full"


def test_the_books_balance_while_they_are_made_anew_in_a_race_of_all_acts(
    desk: Desk, valkey: SimpleNamespace, redis: "Redis[str]"
) -> None:
    desk.open(*REGIONS, instances=10, vcpus=14, ram_mb=28)
    owners, anew = [f"racer{i}" for i in range(RACERS)], 0
    with racing(valkey, "mixed", 150) as race:
        while race.poll() is None:
            redis.hincrby(desk.keys.usage(owners[anew % RACERS]), "vcpus", 3)
            redis.hincrby(desk.keys.region(REGIONS[anew % 3]), "building", 3)
            desk.ledger.recount()
            # All of them, not only those that look wrong twice.
            anew += 1 + desk.ledger._recount_owners(owners, REGIONS)  # noqa: SLF001
            for _ in range(9):
                any(desk.ledger._recount_region(it) for it in REGIONS)  # noqa: SLF001
                sample(redis)
            assert_owners_hold_their_slots(redis, owners)
        assert given(race)
    assert anew >= 10, "it was hardly ever made anew"
    sample(redis)
    assert desk.ledger.recount() == ([], 0)
    desk.check_owners()
    assert_queue_is_those_who_wait(desk)
