"""Functions whose clock is an hour off."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import libfaketime
import yaml
from redis import Redis
from ulid import ULID

from openmultistack.auth.own_issuer import (
    LOCAL_AUDIENCE,
    LOCAL_ISSUER,
    issue_token,
    make_signing_key,
)
from openmultistack.auth.principal import SCOPES
from openmultistack.clouds.keyring import make_keyring
from openmultistack.ledger import Ledger

ROOT = Path(__file__).parent.parent.parent
STARTED_WITHIN_S = 180
# Put before a process' own libraries it bends the clock that the process sees.
FAKETIME_LIBRARY = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
HOUR_S = 3600
# Which function runs with which clock; every use case meets both in some test.
CLOCKS = {
    "create+": ("create", HOUR_S),
    "create-": ("create", -HOUR_S),
    "reap+": ("reap", HOUR_S),
    "reap-": ("reap", -HOUR_S),
    "destroy+": ("destroy", HOUR_S),
    "renew-": ("renew", -HOUR_S),
    "list-": ("list", -HOUR_S),
}


class Shifted:
    """Functions that run, each with a clock of its own."""

    def __init__(self, home: Path, sim: Any, redis_port: int, free_port: Any) -> None:
        self.fleet = f"clocks-{ULID()}"
        self.sim = sim
        self._key = home / "signing.pem"
        make_signing_key(home)
        make_keyring(home / "marks.keys")
        issuer = {
            "issuer": LOCAL_ISSUER,
            "audience": LOCAL_AUDIENCE,
            "algorithms": ["ES256"],
            "jwks_file": "jwks.json",
        }
        (home / "issuers.yaml").write_text(yaml.safe_dump({"issuers": [issuer]}))
        self._environment = os.environ | {
            "OMS_FLEET": self.fleet,
            "OMS_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "OMS_ISSUERS_FILE": str(home / "issuers.yaml"),
            "OMS_MARKS_KEYS_FILE": str(home / "marks.keys"),
            "OS_CLIENT_CONFIG_FILE": str(sim.clouds_file),
            "OMS_LEASE_S": "60",
            "LD_PRELOAD": str(FAKETIME_LIBRARY),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.ports = {name: free_port() for name in CLOCKS}
        self._log = (home / "log").open("wb")
        self._processes = [self._start(name, *clock) for name, clock in CLOCKS.items()]
        redis = Redis(port=redis_port, decode_responses=True)
        self.ledger = Ledger(redis, self.fleet, lease_ms=60_000)
        self.http = httpx.Client(timeout=60)

    def _start(self, name: str, function: str, off_s: int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "openmultistack.launch", "--source"]
        command += [str(ROOT / "functions" / f"{function}.py")]
        command += ["--bind", f"127.0.0.1:{self.ports[name]}"]
        environment = self._environment | {"FAKETIME": f"{off_s:+d}s", "OMS_LAME_DUCK_S": "0"}
        return subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)

    def wait(self) -> None:
        """Return when all listen."""
        until = time.monotonic() + STARTED_WITHIN_S
        for port in self.ports.values():
            while True:
                try:
                    self.http.get(f"http://127.0.0.1:{port}/nothing")
                    break
                except httpx.TransportError:
                    assert time.monotonic() < until
                    time.sleep(0.1)

    def ask(self, name: str, method: str, path: str, body: Any = None) -> Any:
        """Ask one function as alice; return its document, or fail."""
        token = issue_token(self._key, owner="alice", scopes=SCOPES, ttl_s=3 * HOUR_S)
        url = f"http://127.0.0.1:{self.ports[name]}/v1{path}"
        headers = {"Authorization": f"Bearer {token}"}
        answer = self.http.request(method, url, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def close(self) -> None:
        """End them all, by pid."""
        self.http.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)
        self._log.close()
