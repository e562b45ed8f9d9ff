"""A stack on a simulated OpenStack, spoken to over HTTP."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from openmultistack.auth.own_issuer import issue_token
from openmultistack.auth.principal import SCOPES

ROOT = Path(__file__).parent.parent.parent
FLEET_YAML = """
sizes:
  tiny: {vcpus: 1, ram_mb: 512}
owners:
  thirty: {quota: {instances: 30}}
  twenty: {quota: {instances: 20}}
  ten: {quota: {instances: 10}}
"""


class Stack:
    """A running stack, spoken to over HTTP."""

    def __init__(self, clouds_file: Path, home: Path, port_base: int) -> None:
        self._home = home
        fleet = clouds_file.with_name("fleet.yaml")
        fleet.write_text(FLEET_YAML)
        self._environment = os.environ | {
            "PORT_BASE": str(port_base),
            "OMS_HOME": str(home),
            "CLOUDS": str(clouds_file),
            "FLEET": str(fleet),
            "REPLICAS": "2",
            "REAP_EVERY_S": "3600",
        }
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{port_base}",
            timeout=120,
            limits=httpx.Limits(max_connections=100),
        )

    def command(self, what: str) -> None:
        """Bring it up or down; fails if that fails."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.local.stack", what],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def headers(self, owner: str) -> dict[str, str]:
        """Return what an owner sends."""
        key = self._home / "keys" / "signing.pem"
        token = issue_token(key, owner=owner, scopes=SCOPES, ttl_s=3600)
        return {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, owner: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the API and return the document; fails unless it goes well."""
        answer = self.http.request(method, f"/v1{path}", headers=self.headers(owner), json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def create(self, owner: str, count: int = 1, **more: Any) -> list[dict[str, Any]]:
        """Create instances."""
        body = {"image": "debian-12", "size": "tiny", "count": count, **more}
        return list(self.ask("POST", "/instances", owner, body)["instances"])
