"""The real functions, each its own process as the platforms start it, over a real ledger.

Their clouds.yaml leads to a port where nobody listens: what they do, they do without a cloud.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from redis import Redis

from openmultistack.wiring.doors import DOORS
from tests.api import answers as answers_of_tests
from tests.support import stub
from tests.support.doors import BIN, REGION, ROOT, Books, Door, House, Way
from tests.support.signer import Signer


@pytest.fixture(scope="session")
def stub_module() -> ModuleType:
    """Return the module of the stub that stands for a cloud."""
    return stub


@pytest.fixture(scope="session")
def answers() -> ModuleType:
    """Return how answers are checked, and looked into."""
    return answers_of_tests


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Return the issuer whose tokens are believed."""
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def house(
    valkey_port: int,
    signer: Signer,
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    """Return what the functions of this run are given."""
    url = f"redis://127.0.0.1:{valkey_port}/0"
    return House(tmp_path_factory.mktemp("functions"), url, signer, free_port())


@pytest.fixture(scope="session")
def doors(house: House, free_port: Callable[[], int]) -> Iterator[dict[str, Door]]:
    """All functions, up; ended after the last test."""
    started = {name: house.start(name, free_port()) for name in DOORS}
    try:
        yield {name: door.until_up() for name, door in started.items()}
    finally:
        for door in started.values():
            door.process.send_signal(signal.SIGTERM)
        codes = {name: door.wait() for name, door in started.items()}
    assert set(codes.values()) == {0}, codes


@pytest.fixture
def running(house: House, free_port: Callable[[], int]) -> Callable[..., Any]:
    """Return a starter of one function in an environment of its own, for a `with`."""

    @contextmanager
    def run(name: str, **environment: object) -> Iterator[Door]:
        door = house.start(name, free_port(), **environment)
        try:
            yield door.until_up()
        finally:
            door.stop()

    return run


@pytest.fixture(scope="session")
def run_gateway(
    free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """Return what runs a real gateway before functions: (doors, issuers file) -> its URL."""

    @contextmanager
    def run(doors: Mapping[str, Door], issuers_file: Path) -> Iterator[str]:
        folder, port = tmp_path_factory.mktemp("envoy"), free_port()
        render = [sys.executable, "-m", "infra.gateway.render"]
        render += ["--issuers", str(issuers_file), "--listen", f"127.0.0.1:{port}"]
        render += ["--admin", f"unix:{folder / 'admin'}", "--gate", str(folder / "gate.json")]
        for name, door in doors.items():
            render += ["--function", f"{name}={httpx.URL(door.url).netloc.decode()}"]
        file = folder / "envoy.json"
        done = subprocess.run(render, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        file.write_bytes(done.stdout)
        envoy = [str(BIN / "envoy"), "-c", str(file), "--disable-hot-restart"]
        with (folder / "envoy.log").open("wb") as log:
            process = subprocess.Popen(
                [*envoy, "--concurrency", "1", "--log-level", "warn"], stdout=log, stderr=log
            )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_it_answers(url, process)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)

    return run


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{url}/v1/healthz", timeout=5).raise_for_status()
        except httpx.HTTPError:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def ways() -> Callable[[str], dict[str, Way]]:
    """Return how all functions are reached through a gateway at a URL."""
    return lambda url: {name: Way(name, url) for name in DOORS}


@pytest.fixture
def books(house: House, valkey_port: int) -> Iterator[Books]:
    """Return the functions' ledger: one region, which is up by the books, and no instances."""
    with Redis(port=valkey_port, decode_responses=True) as redis:
        for key in redis.scan_iter(f"{{oms:{house.fleet}}}*"):
            redis.delete(key)
        books = Books(redis, house.fleet)
        books.open(REGION)
        yield books


@pytest.fixture
def token(signer: Signer) -> str:
    """Return Alice's good token, with all scopes."""
    return signer.token()
