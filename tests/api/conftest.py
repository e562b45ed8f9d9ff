"""The real functions, each its own process as the platforms start it, over a real ledger.

Their clouds.yaml leads to a port where nobody listens: what they do, they do without a cloud.
"""

import base64
import hashlib
import hmac
import importlib.util
import json
import os
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
from jose import jwt
from redis import Redis
from ulid import ULID

from openmultistack.auth.own_issuer import LOCAL_AUDIENCE, LOCAL_ISSUER, make_signing_key
from openmultistack.auth.principal import SCOPES
from openmultistack.clouds.keyring import make_keyring
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import (
    Address,
    Catalogue,
    Flavor,
    Image,
    Network,
    Offer,
    Resources,
    Status,
)
from openmultistack.ledger import Attempt, Ledger, Wish
from openmultistack.wiring.doors import DOORS

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
REGION = "dead/RegionOne"
START_WITHIN_S = 180
PASSWORD = "a-password-that-nobody-may-see"
FLEET_YAML = """
owners:
  default: {default_ttl: 600, max_ttl: 7200}
  ann: {quota: {instances: 2, vcpus: 9}}
  bea: {quota: {creates_per_minute: 3}}
  cleo: {quota: {instances: 0}}
  dora: {priority: -5}
  eli: {commands_per_minute: 2}
queue: {max: 4, max_per_owner: 3, max_wait: 900}
"""


def _load(folder: str, name: str) -> ModuleType:
    file = ROOT / "tests" / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Signer:
    """The own issuer's key: makes tokens, good and bad."""

    def __init__(self, directory: Path) -> None:
        make_signing_key(directory)
        self.pem = (directory / "signing.pem").read_text()
        self.jwks = (directory / "jwks.json").read_text()
        self.kid = json.loads(self.jwks)["keys"][0]["kid"]
        self.issuers_file = directory / "issuers.yaml"
        issuer = {
            "issuer": LOCAL_ISSUER,
            "audience": LOCAL_AUDIENCE,
            "algorithms": ["ES256"],
            "jwks_file": "jwks.json",
            "quota_claim": "quota",
        }
        self.issuers_file.write_text(json.dumps({"issuers": [issuer]}))

    def claims(self, **changes: object) -> dict[str, object]:
        """Return good claims with some changed; None leaves one out."""
        now = int(time.time())
        good: dict[str, object] = {
            "iss": LOCAL_ISSUER,
            "aud": LOCAL_AUDIENCE,
            "sub": "alice",
            "scope": " ".join(SCOPES),
            "iat": now,
            "exp": now + 600,
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, **changes: object) -> str:
        """Return a token, signed as it should be."""
        return self.signed(self.claims(**changes))

    def signed(self, claims: dict[str, object]) -> str:
        """Return a token of these claims, whatever they are, signed as it should be."""
        return str(jwt.encode(claims, self.pem, "ES256", headers={"kid": self.kid}))

    def by_hand(self, algorithm: str, secret: bytes | None) -> str:
        """Return a token of good claims with an HMAC of a secret, or without a signature."""
        header = {"alg": algorithm, "typ": "JWT", "kid": self.kid}
        signed = b".".join(_base64(json.dumps(it).encode()) for it in (header, self.claims()))
        mac = hmac.digest(secret, signed, hashlib.sha256) if secret else b""
        return (signed + b"." + _base64(mac)).decode()


def _base64(text: bytes) -> bytes:
    return base64.urlsafe_b64encode(text).rstrip(b"=")


class Way:
    """A function as it is reached at a URL: its own, or the gateway's."""

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url

    def call(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        """Call the function."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= more.pop("headers", {})
        with httpx.Client(base_url=self.url, timeout=60) as client:
            return client.request(method, "/v1" + path, headers=headers, **more)


class Door(Way):
    """One function's process."""

    def __init__(self, name: str, port: int, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__(name, f"http://127.0.0.1:{port}")
        self._out, self._err = home / f"{name}-{port}.out", home / f"{name}-{port}.err"
        command = [sys.executable, "-m", "openmultistack.launch", "--bind", f"127.0.0.1:{port}"]
        command += ["--source", f"{ROOT}/functions/{name}.py"]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=err, cwd=home
            )

    def until_up(self) -> "Door":
        """Wait until it answers."""
        until = time.monotonic() + START_WITHIN_S
        while True:
            try:
                httpx.get(self.url + "/nothing-here", timeout=5)
            except httpx.TransportError:
                assert self.process.poll() is None, self.err()
                assert time.monotonic() < until, self.err()
                time.sleep(0.05)
            else:
                return self

    def out(self) -> str:
        """Return what it wrote to stdout."""
        return self._out.read_text()

    def err(self) -> str:
        """Return what it wrote to stderr."""
        return self._err.read_text()

    def log(self, request_id: str) -> dict[str, Any]:
        """Return its one line that sums a request up."""
        until = time.monotonic() + 30
        while True:
            about = [json.loads(line) for line in self.out().splitlines() if request_id in line]
            lines = [it for it in about if it["event"] == "request"]
            if lines or time.monotonic() > until:
                (line,) = lines
                return line
            time.sleep(0.02)

    def stop(self) -> int:
        """End it as a platform does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; one that does not end is killed, and shows it by its exit code."""
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(10)


class Books:
    """The functions' ledger, filled by hand."""

    def __init__(self, redis: "Redis[str]", fleet: str) -> None:
        self.redis = redis
        self.fleet = fleet
        self.ledger = Ledger(redis, fleet, lease_ms=60_000)

    def open(self, region: str, instances: int = 20, **bounds: int) -> None:
        """Have a region as a sweep leaves it: with a catalogue and free slots."""
        cap = Resources(instances=instances, vcpus=1000, ram_mb=1_000_000)
        self.ledger.survey(region, cap=cap, foreign=Resources(), catalogue=catalogue(), **bounds)

    def add(self, owner: str = "alice", *, building: bool = False, **more: Any) -> str:
        """Add an ACTIVE instance, or one that is being built, and return its id."""
        instance_id = f"i-{ULID()}"
        offered = catalogue()
        offer = Offer(
            region=REGION,
            flavor=offered.flavors[0],
            image=offered.images[0],
            network=offered.networks[0],
        )
        command = CreateInstances(image="debian-12", size="small", **more)
        self.ledger.place(
            Wish(owner, command, ids=[instance_id], offers=[offer], pick="first", ttl_ms=600_000)
        )
        attempt = Attempt(instance_id, 1, REGION)
        assert self.ledger.commit(attempt, f"server-of-{instance_id}")
        if building:
            return instance_id
        self.ledger.observe(
            attempt,
            server_id=f"server-of-{instance_id}",
            status=Status.ACTIVE,
            addresses=[Address(address="192.0.2.7", version=4, network="net")],
        )
        return instance_id


def catalogue() -> Catalogue:
    """Return what the dead region is said to offer."""
    return Catalogue(
        flavors=(Flavor(id="f1", name="small", vcpus=1, ram_mb=512, disk_gb=1),),
        images=(Image(id="i1", name="debian-12"), Image(id="i2", name="ubuntu-24.04")),
        networks=(Network(id="n1", name="net"),),
    )


class House:
    """Everything that a function is given: files, a ledger, and how to start it."""

    def __init__(self, home: Path, redis_url: str, signer: Signer, dead_port: int) -> None:
        self.home = home
        self.fleet = f"http-{ULID()}"
        self.clouds_file = home / "clouds.yaml"
        self.fleet_file = home / "fleet.yaml"
        auth = {
            "auth_url": f"http://127.0.0.1:{dead_port}/v3",
            "username": "ci",
            "password": PASSWORD,
            "project_name": "ci",
        }
        clouds = {"dead": {"auth": auth, "regions": ["RegionOne"]}}
        self.clouds_file.write_text(json.dumps({"clouds": clouds}))
        self.fleet_file.write_text(FLEET_YAML)
        self.marks_keys_file = home / "marks.keys"
        make_keyring(self.marks_keys_file)
        self.environment = {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "THREADS": "8",
            "OMS_FLEET": self.fleet,
            "OMS_REDIS_URL": redis_url,
            "OMS_ISSUERS_FILE": str(signer.issuers_file),
            "OMS_FLEET_FILE": str(self.fleet_file),
            "OMS_MARKS_KEYS_FILE": str(self.marks_keys_file),
            "OS_CLIENT_CONFIG_FILE": str(self.clouds_file),
        }

    def start(self, name: str, port: int, **environment: object) -> Door:
        """Start a function; a variable that is None is not set."""
        changed = self.environment | environment
        given = {name: str(value) for name, value in changed.items() if value is not None}
        return Door(name, port, self.home, given)


@pytest.fixture(scope="session")
def stub_module() -> ModuleType:
    """Return the module of the stub that stands for a cloud."""
    return _load("clouds", "stub")


@pytest.fixture(scope="session")
def load() -> Callable[[str, str], ModuleType]:
    """Return how a test imports what is no test: (folder, module)."""
    return _load


@pytest.fixture(scope="session")
def answers() -> ModuleType:
    """Return how answers are checked, and looked into."""
    return _load("api", "answers")


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
        render = [sys.executable, str(ROOT / "infra" / "gateway" / "render.py")]
        render += ["--issuers", str(issuers_file), "--listen", f"127.0.0.1:{port}"]
        render += ["--admin", f"unix:{folder / 'admin'}", "--gate", str(folder / "gate.json")]
        for name, door in doors.items():
            render += ["--function", f"{name}={httpx.URL(door.url).netloc.decode()}"]
        file = folder / "envoy.json"
        file.write_bytes(subprocess.run(render, check=True, stdout=subprocess.PIPE).stdout)
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
