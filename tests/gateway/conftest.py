"""A real Envoy before real functions: started on free ports, ended by pid.

The functions are started as ours are, and only say what reached them.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from infra.gateway import gate
from infra.gateway.render import bootstrap
from infra.local.ports import free_port
from infra.local.processes import listens
from openmultistack.auth.issuers import load_issuers
from openmultistack.auth.own_issuer import issue_token, make_signing_key
from openmultistack.wiring.doors import DOORS

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
ECHO = '''
"""Says what reached it; the header Do asks for more."""
import json, os, time

def handle(request):
    do, _, value = request.headers.get("Do", "").partition("=")
    if do == "sleep":
        time.sleep(float(value))
    if do == "die":
        os.kill(os.getppid(), 9)
        os.kill(os.getpid(), 9)
    if do == "large":
        return "x" * int(value)
    if do == "refuse":
        return "its own words", int(value), {"Content-Type": "text/plain", "Own": "yes"}
    return {
        "function": os.environ["NAME"], "pid": os.getpid(), "method": request.method,
        "uri": request.environ["RAW_URI"], "headers": request.headers.to_wsgi_list(),
        "body_bytes": len(request.get_data()),
    }, 200, {"Server": "echo/1"}
'''


def wait_for_door(at: int | Path, process: subprocess.Popen[bytes], timeout_s: float = 120) -> None:
    """Return when something listens, or fail."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until and process.poll() is None:
        if listens(at):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {at}")


def wait_for_silence(port: int, timeout_s: float = 30) -> None:
    """Return when nothing listens any more, or fail: a killed worker takes a moment to be gone."""
    until = time.monotonic() + timeout_s
    with contextlib.suppress(ConnectionRefusedError):
        while time.monotonic() < until:
            with contextlib.suppress(ConnectionResetError):
                socket.create_connection(("127.0.0.1", port), 1).close()
            time.sleep(0.01)
        raise TimeoutError(f"something listens on port {port}")


class Replica:
    """One process of a function, with the group of its workers."""

    def __init__(
        self, name: str, folder: Path, port: int | None = None, at: Path | None = None
    ) -> None:
        self.name = name
        self.port = port or free_port()
        self._at = at or self.port
        source = folder / "echo.py"
        source.write_text(ECHO)
        command = [sys.executable, "-m", "openmultistack.launch", "--source", str(source)]
        command += ["--bind", f"unix:{at}" if at else f"127.0.0.1:{self.port}"]
        with (folder / f"{name}-{self.port}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=os.environ | {"NAME": name, "THREADS": "16", "OMS_LAME_DUCK_S": "0"},
                start_new_session=True,
            )

    def wait(self) -> "Replica":
        """Return when it takes connections."""
        wait_for_door(self._at, self.process)
        return self

    def kill(self) -> None:
        """End it and its workers as a machine's failure does; returns when all are gone."""
        self.end()
        wait_for_silence(self.port)

    def end(self) -> None:
        """End it and its workers; may be repeated."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


class Gateway:
    """A running Envoy."""

    def __init__(
        self, config: Mapping[str, Any], folder: Path, *, is_waited_for: bool = True
    ) -> None:
        listener = config["static_resources"]["listeners"][0]
        self.port = listener["address"]["socket_address"]["port_value"]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "access.log"
        file = folder / "envoy.json"
        file.write_text(json.dumps(config))
        command = [str(BIN / "envoy"), "-c", str(file), "--disable-hot-restart"]
        command += ["--concurrency", "1", "--log-level", "warn"]
        command += ["--file-flush-interval-msec", "50"]
        with self._log.open("wb") as out, (folder / "envoy.err").open("wb") as err:
            self._process = subprocess.Popen(command, stdout=out, stderr=err)
        self._http = httpx.Client(base_url=self.url, timeout=30)
        if is_waited_for:
            self.wait()

    def wait(self) -> None:
        """Return when it takes connections."""
        wait_for_door(self.port, self._process)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def call(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        """Send one request."""
        headers = more.pop("headers", {})
        if token is not None:
            headers = {"Authorization": f"Bearer {token}"} | headers
        return self._http.request(method, path, headers=headers, **more)

    def raw(self, request: bytes) -> httpx.Response:
        """Send bytes that no client library would, and read the answer until its end."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.settimeout(15)
            connection.sendall(request)
            return _answer(http.client.HTTPResponse(connection))

    def line(self, request_id: str) -> dict[str, Any]:
        """Return the line of the access log for a request."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for line in self.log().splitlines():
                if request_id in line:
                    return json.loads(line)
            time.sleep(0.05)
        raise AssertionError(f"no line for the request {request_id}")

    def log(self) -> str:
        """Return the access log as it is, but for a line that is being written."""
        return self._log.read_text().rpartition("\n")[0]

    def stop(self) -> None:
        """End it."""
        self._http.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)


def _answer(answer: http.client.HTTPResponse) -> httpx.Response:
    """Read an answer; the connection may end with it."""
    answer.begin()
    content = answer.read()
    headers = [(name, value) for name, value in answer.getheaders() if name != "transfer-encoding"]
    return httpx.Response(answer.status, headers=headers, content=content)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the session: two issuers' keys, and the file that lists the issuers."""
    folder = tmp_path_factory.mktemp("gateway")
    issuers = []
    for name, issuer in (("own", "urn:openmultistack:local"), ("ci", "https://ci.example")):
        make_signing_key(folder / name)
        issuers.append(
            {
                "issuer": issuer,
                "audience": "openmultistack",
                "algorithms": ["ES256"],
                "jwks_file": f"{name}/jwks.json",
                "owner_prefix": f"{name}:",
            }
        )
    (folder / "one.yaml").write_text(yaml.safe_dump({"issuers": issuers[:1]}))
    (folder / "two.yaml").write_text(yaml.safe_dump({"issuers": issuers}))
    (folder / "none.yaml").write_text("issuers: []\n")
    return folder


@pytest.fixture(scope="session")
def token(home: Path) -> str:
    """A good token of the own issuer."""
    return issue_token(home / "own" / "signing.pem", owner="ann", scopes=["any"], ttl_s=6 * 3600)


@pytest.fixture(scope="session")
def replicas(home: Path) -> Iterator[dict[str, list[Replica]]]:
    """Two replicas of create and one of every other function; none of them may be ended."""
    started = [Replica(name, home) for name in (*DOORS, "create")]
    try:
        yield {
            name: [replica.wait() for replica in started if replica.name == name] for name in DOORS
        }
    finally:
        for replica in started:
            replica.end()


@pytest.fixture(scope="session")
def addresses(replicas: dict[str, list[Replica]]) -> dict[str, list[tuple[str, int]]]:
    """Where the functions are."""
    return {name: [("127.0.0.1", it.port) for it in many] for name, many in replicas.items()}


@pytest.fixture(scope="session")
def run_gateway(
    home: Path,
    addresses: dict[str, list[tuple[str, int]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., contextlib.AbstractContextManager[Gateway]]:
    """How a test runs a gateway with settings of its own.

    `manager` replaces what no operator needs to set but a test cannot wait for; `gate_file` is one
    that the test sees to by itself.
    """

    @contextlib.contextmanager
    def run(
        issuers: str = "one.yaml",
        functions: Mapping[str, Sequence[tuple[str, int] | Path]] | None = None,
        manager: Mapping[str, Any] | None = None,
        gate_file: Path | None = None,
        **more: Any,
    ) -> Iterator[Gateway]:
        folder = tmp_path_factory.mktemp("envoy")
        is_waited_for = more.pop("is_waited_for", True)
        if gate_file is None:
            gate_file = folder / "gate.json"
            gate.put(gate_file, gate.document(load_issuers(home / issuers).values()))
        config = bootstrap(
            gate_file=gate_file,
            listen=("127.0.0.1", free_port()),
            admin=("127.0.0.1", free_port()),
            functions=addresses | dict(functions or {}),
            **more,
        )
        filters = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
        filters[0]["typed_config"] |= manager or {}
        gateway = Gateway(config, folder, is_waited_for=is_waited_for)
        try:
            yield gateway
        finally:
            gateway.stop()

    return run


@pytest.fixture(scope="session")
def gateway(run_gateway: Callable[..., Any]) -> Iterator[Gateway]:
    """A gateway that believes one issuer, before all functions."""
    with run_gateway() as it:
        yield it


@pytest.fixture(scope="session")
def gateway_of_two(run_gateway: Callable[..., Any]) -> Iterator[Gateway]:
    """A gateway that believes two issuers."""
    with run_gateway("two.yaml") as it:
        yield it


@pytest.fixture
def dead_replica() -> tuple[str, int]:
    """Where a replica was, and nobody is now."""
    return "127.0.0.1", free_port()


@pytest.fixture
def run_replica(tmp_path: Path) -> Iterator[Callable[..., Replica]]:
    """Start a replica that the test may end: `run_replica("create", port=None, at=None)`."""
    started: list[Replica] = []

    def run(name: str, port: int | None = None, at: Path | None = None) -> Replica:
        started.append(Replica(name, tmp_path, port, at))
        return started[-1]

    yield run
    for replica in started:
        replica.end()


@pytest.fixture(scope="session")
def expect_problem() -> Callable[..., dict[str, Any]]:
    """Check that an answer is the gateway's own refusal: (answer, status, slug) -> its document."""

    def check(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert "server" not in answer.headers
        document = answer.json()
        assert set(document) == {"type", "title", "status", "detail", "request_id"}
        assert document["type"] == f"urn:openmultistack:problem:{slug}"
        assert document["status"] == status
        assert document["request_id"] == answer.headers.get("x-request-id")
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", document["request_id"])
        return document

    return check
