"""Functions, each its own process as the platforms start it, and their ledger."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from redis import Redis
from ulid import ULID

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
from tests.support.signer import Signer

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
            about: list[dict[str, Any]] = [
                json.loads(line) for line in self.out().splitlines() if request_id in line
            ]
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

    def __init__(self, redis: Redis, fleet: str) -> None:
        self.redis = redis
        self.fleet = fleet
        self.ledger = Ledger(redis, fleet, lease_ms=60_000)

    def open(self, region: str, instances: int = 20, **bounds: Any) -> None:
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
            "OMS_LAME_DUCK_S": "0",
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
