"""The product under test, as its users, its operators and its clouds see it."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import openstack
import redis

from infra.local.sockets import folder_of
from openmultistack.auth.own_issuer import issue_token
from openmultistack.auth.principal import SCOPES
from openmultistack.ledger import Ledger

ROOT = Path(__file__).parent.parent.parent
LEASE_S = 60
REGIONS = ("alpha/RegionOne", "alpha/RegionTwo", "beta/RegionOne")
# Bounds for a machine with something else to do; what is waited for is there in seconds elsewhere.
GONE_WITHIN_S = 300
ACTIVE_WITHIN_S = 400
COMMAND_WITHIN_S = 900


class Product:
    """The product under test, as its users, its operators and its clouds see it."""

    def __init__(
        self,
        clouds_file: Path,
        place: Any,
        *,
        home: Path,
        port_base: int,
        variables: Mapping[str, str],
    ) -> None:
        self.lab = place.lab
        self.port_base = port_base
        self.clouds_file = clouds_file
        self.lease_s = LEASE_S
        self.regions_known = REGIONS
        self.url = f"http://127.0.0.1:{port_base}"
        self.home = home
        self.fleet_name = variables.get("OMS_FLEET", "default")
        self.environment = os.environ | {
            "PORT_BASE": str(port_base),
            "OMS_HOME": str(home),
            "REPLICAS": "2",
            "REAP_EVERY_S": "3600",
            "LEASE_S": str(LEASE_S),
            **variables,
        }
        self._http = httpx.Client(base_url=self.url, timeout=200)
        self._connections: dict[str, openstack.connection.Connection] = {}

    def close(self) -> None:
        """Let go of all connections."""
        self._http.close()
        for cloud in self._connections.values():
            cloud.close()

    # ------------------------------------------------------------ the stack

    def stack(self, command: str) -> str:
        """Run `stack.py up|down|status` and return what it printed; fails if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.local.stack", command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # ------------------------------------------------------------ as clients see it

    def token(self, owner: str = "dev", scopes: Sequence[str] = SCOPES) -> str:
        """Return a good token."""
        key = self.home / "keys" / "signing.pem"
        return issue_token(key, owner=owner, scopes=scopes, ttl_s=6 * 3600)

    def call(self, method: str, path: str, *, owner: str = "dev", **more: Any) -> httpx.Response:
        """Call the API through the gateway as an owner."""
        headers = {"Authorization": f"Bearer {self.token(owner)}"} | more.pop("headers", {})
        return self._http.request(method, f"/v1{path}", headers=headers, **more)

    def create(self, count: int = 1, *, owner: str = "dev", **more: Any) -> list[dict[str, Any]]:
        """Create instances and return them as they are accepted."""
        wanted = {"count": count, "image": "debian-12", "size": "tiny"} | more
        answer = self.call("POST", "/instances", owner=owner, json=wanted)
        assert answer.status_code == 202, answer.text
        return list(answer.json()["instances"])

    def instances(self, owner: str = "dev", query: str = "") -> list[dict[str, Any]]:
        """Return all of an owner's instances."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = self.call("GET", f"/instances?limit=50{query}{cursor}", owner=owner)
            assert answer.status_code == 200, answer.text
            found += answer.json()["instances"]
            if answer.json()["next"] is None:
                return found
            cursor = f"&cursor={answer.json()['next']}"

    def show(self, instance_id: str, owner: str = "dev") -> dict[str, Any]:
        """Return one instance."""
        return dict(self.call("GET", f"/instances/{instance_id}", owner=owner).json())

    def sweep(self) -> dict[str, dict[str, Any]]:
        """Run the reaper once, as nobody else does just now; return what was done by region."""
        answer = self.call("POST", "/reap")
        assert answer.status_code == 200, answer.text
        return {it["region"]: it for it in answer.json()["regions"]}

    @contextlib.contextmanager
    def swept_by_the_clock(self, every_s: float = 3) -> Iterator[None]:
        """Sweep in the background, as the timer does."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(every_s):
                httpx.post(
                    f"{self.url}/v1/reap",
                    headers={"Authorization": f"Bearer {self.token()}"},
                    timeout=200,
                )

        clock = threading.Thread(target=beat)
        clock.start()
        try:
            yield
        finally:
            stop.set()
            clock.join()

    def regions(self) -> dict[str, dict[str, Any]]:
        """Return every region's counts and state."""
        return {it["region"]: it for it in self.call("GET", "/regions").json()["regions"]}

    def until_active(
        self, ids: Sequence[str], *, owner: str = "dev", within_s: float = ACTIVE_WITHIN_S
    ) -> None:
        """Sweep until these instances are ACTIVE with addresses."""
        until = time.monotonic() + within_s
        while True:
            self.sweep()
            shown = [self.show(it, owner) for it in ids]
            if all(it["status"] == "ACTIVE" and it["addresses"] for it in shown):
                return
            assert time.monotonic() < until, [it for it in shown if it["status"] != "ACTIVE"]
            time.sleep(0.5)

    def until_settled(self) -> None:
        """Sweep until no attempt is in doubt: each slot knows its server.

        A slow answer of a Nova leaves an attempt in doubt, its slot held, until a lease is over.
        """
        self.until(self._is_settled, within_s=LEASE_S + GONE_WITHIN_S)

    def _is_settled(self) -> bool:
        swept = all(it["outcome"] == "swept" for it in self.sweep().values())
        slots = [it for region in REGIONS for it in self.ledger().view(region, []).slots]
        return swept and all(slot.server_id for slot in slots)

    def oms(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        environment = self.environment | {"OMS_URL": self.url, "OMS_TOKEN": self.token()}
        done = subprocess.run(
            [str(Path(sys.executable).parent / "oms"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    # ------------------------------------------------------------ as the clouds see it

    def cloud(self, region: str) -> openstack.connection.Connection:
        """Return a connection of our own to a region, beside the product's."""
        if region not in self._connections:
            provider, _, name = region.partition("/")
            config = openstack.config.OpenStackConfig(
                config_files=[str(self.clouds_file)], load_envvars=False
            ).get_one(provider, region_name=name)
            self._connections[region] = openstack.connection.Connection(config=config)
        return self._connections[region]

    def servers(self, region: str) -> dict[str, Any]:
        """Return the project's servers in a region by id, asked of Nova itself."""
        return {it.id: it for it in self.cloud(region).compute.servers(details=True)}

    def socket(self, name: str) -> str:
        """Return the Unix socket of one of the stack's processes."""
        return str(folder_of(self.home) / name)

    def ledger(self) -> Ledger:
        """Return the ledger, read beside the product."""
        client = redis.Redis(unix_socket_path=self.socket("valkey"), decode_responses=True)
        return Ledger(client, self.fleet_name, lease_ms=LEASE_S * 1000)

    def assert_agreement(self) -> None:
        """Cloud and ledger agree exactly in every region: server by server, slot by slot."""
        for region in REGIONS:
            slots = self.ledger().view(region, []).slots
            ours = {i for i, it in self.servers(region).items() if "oms_marks" in it.metadata}
            assert {slot.server_id for slot in slots} == ours, region
            assert len(slots) == len(ours), region
            assert self.regions()[region]["held"] == len(ours), region

    def wipe(self) -> None:
        """Delete every server behind the product's back and let it find out."""
        for region in REGIONS:
            for server_id in self.servers(region):
                self.cloud(region).compute.delete_server(server_id)
        self.until(lambda: not any(self.servers(region) for region in REGIONS))
        self.forget()
        self.sweep()

    def forget(self) -> None:
        """Lose the whole ledger."""
        with redis.Redis(unix_socket_path=self.socket("valkey")) as client:
            client.flushall()

    def until(self, holds: Callable[[], bool], *, within_s: float = GONE_WITHIN_S) -> None:
        """Wait until something holds, or fail."""
        until = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < until, f"did not come true within {within_s} s"
            time.sleep(0.5)
