"""Stacks on a simulated OpenStack, commanded as `make` does."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from openmultistack.auth.own_issuer import issue_token
from openmultistack.auth.principal import SCOPES

ROOT = Path(__file__).parent.parent.parent
COMMAND_WITHIN_S = 600
NAMES = ("PORT_BASE", "REPLICAS", "CLOUDS", "FLEET", "REAP_EVERY_S", "LEASE_S", "OMS_FLEET")


class Local:
    """One stack with files of its own, below a folder."""

    def __init__(self, folder: Path, clouds_file: Path, port_base: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.home = folder / ".oms"
        self.port_base = port_base
        self.clouds_file, self.fleet_file = folder / "clouds.yaml", folder / "fleet.yaml"
        self.clouds_file.write_text(clouds_file.read_text())
        sizes = {"tiny": {"vcpus": 1, "ram_mb": 512}}
        fleet = {"regions": {"*": {"network": "ci-net"}}, "sizes": sizes}
        self.fleet_file.write_text(yaml.safe_dump(fleet))
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port_base}", timeout=120)

    def run(self, command: str, *options: str, **variables: str) -> tuple[int, str]:
        """Run a command with these variables alone; return its exit code and what it said."""
        bare = {name: it for name, it in os.environ.items() if name not in (*NAMES, "FORCE")}
        done = subprocess.run(
            [sys.executable, "-m", "infra.local.stack", command, *options],
            cwd=ROOT,
            env=bare | {"OMS_HOME": str(self.home)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        return done.returncode, done.stdout

    def first_up(self, **more: str) -> str:
        """Start it with all that it has to be told; return what was said."""
        told = {"PORT_BASE": str(self.port_base), "CLOUDS": str(self.clouds_file)}
        return self.up(**told, FLEET=str(self.fleet_file), REAP_EVERY_S="60", **more)

    def up(self, **variables: str) -> str:
        """Run `up`, which has to go well; return what was said."""
        code, said = self.run("up", **variables)
        assert code == 0, said
        assert "READY" in said
        return said

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Call the API as the owner dev."""
        key = self.home / "keys" / "signing.pem"
        token = issue_token(key, owner="dev", scopes=SCOPES, ttl_s=6 * 3600)
        headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
        return self.http.request(method, f"/v1{path}", headers=headers, **more)

    def until(self, holds: Callable[[], Any]) -> None:
        """Wait until something holds, or fail."""
        until = time.monotonic() + COMMAND_WITHIN_S
        while not holds():
            assert time.monotonic() < until
            time.sleep(0.1)

    def create(self, **more: Any) -> dict[str, Any]:
        """Create an instance."""
        answer = self.call("POST", "/instances", json={"image": "debian-12", "size": "tiny"} | more)
        assert answer.status_code == 202, answer.text
        (made,) = answer.json()["instances"]
        return dict(made)


@pytest.fixture
def new_local(
    sim: Any, tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[Callable[..., Local]]:
    """Return what makes a stack on an empty OpenStack, not up yet; all are ended."""
    httpx.post(f"{sim.url}/sim/reset").raise_for_status()
    made: list[Local] = []

    def make(name: str = "one", port_base: int | None = None) -> Local:
        made.append(Local(tmp_path / name, sim.clouds_file, port_base or free_port()))
        return made[-1]

    yield make
    for it in made:
        it.http.close()
        it.run("down")
