"""A stack with an owner who means ill, spoken to over HTTP."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
from redis import Redis

from infra.local.layout import stack_of
from infra.local.ports import STACK_MARK
from openmultistack.auth.own_issuer import issue_token
from openmultistack.auth.principal import SCOPES
from openmultistack.ledger import Ledger

ROOT = Path(__file__).parent.parent.parent
FLEET = "besieged"
FLEET_YAML = """
sizes:
  tiny: {vcpus: 1, ram_mb: 512}
owners:
  default: {quota: {instances: 20}, commands_per_minute: 40}
  ada: {quota: {instances: 60}}
queue: {max: 40}
"""


class Stack:
    """A running stack of two processes of each function, spoken to over HTTP."""

    def __init__(self, clouds_file: Path, home: Path, port_base: int) -> None:
        shutil.rmtree(home, ignore_errors=True)
        self._home = home
        fleet = clouds_file.with_name("fleet.yaml")
        fleet.write_text(FLEET_YAML)
        self._environment = {
            "PORT_BASE": str(port_base),
            "OMS_HOME": str(home),
            "OMS_FLEET": FLEET,
            "CLOUDS": str(clouds_file),
            "FLEET": str(fleet),
            "REPLICAS": "2",
            "REAP_EVERY_S": "3600",
        }
        self.url = f"http://127.0.0.1:{port_base}"
        self.http = httpx.Client(base_url=f"{self.url}/v1", timeout=120)
        self._tokens: dict[str, str] = {}

    def command(self, what: str) -> None:
        """Bring it up or down; fails if that fails."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.local.stack", what],
            cwd=ROOT,
            env=os.environ | self._environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def memory_mb(self) -> dict[int, float]:
        """Return what each of the stack's processes has in memory, by its id."""
        found = {}
        for it in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if it.environ().get(STACK_MARK) == str(self._home):
                    found[it.pid] = it.memory_info().rss / 2**20
        return found

    def open_ledger(self) -> tuple[Ledger, Redis]:
        """Return the stack's ledger, and the Redis that it is in."""
        redis = Redis.from_url(stack_of(self._environment).redis_url, decode_responses=True)
        return Ledger(redis, FLEET, lease_ms=60_000), redis

    def headers(self, owner: str) -> Mapping[str, str]:
        """Return what an owner sends."""
        if owner not in self._tokens:
            key = self._home / "keys" / "signing.pem"
            self._tokens[owner] = issue_token(key, owner=owner, scopes=SCOPES, ttl_s=3600)
        return {"Authorization": f"Bearer {self._tokens[owner]}"}

    def ask(self, method: str, path: str, owner: str, body: object = None) -> Any:
        """Call the API and return the document; fails unless it goes well."""
        answer = self.http.request(method, path, headers=self.headers(owner), json=body)
        assert answer.is_success, answer.text
        return answer.json()
