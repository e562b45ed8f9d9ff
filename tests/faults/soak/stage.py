"""Where a soak is played: simulated clouds, a fault proxy before them, the product on top."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from infra.local import processes
from infra.local.layout import functions, stack_of
from tests.support.fault_proxy import FaultProxy

ROOT = Path(__file__).parents[3]
SIM = ROOT / "infra" / "openstack-sim" / "sim.py"
FLEET = "soak"
# An owner who means ill, beside the usual ones.
HOSTILE = "mallory"
LEASE_S = 45
REAP_EVERY_S = 3
PROVIDERS, REGIONS_EACH, CAP = 2, 2, 20
FLEET_FILE = {
    "regions": {"*": {"network": "ci-net"}},
    "images": {
        "debian-12": {"*": {"os_distro": "debian", "os_version": "12"}},
        "ubuntu-24.04": {"*": {"os_distro": "ubuntu", "os_version": "24.04"}},
    },
    "sizes": {"tiny": {"vcpus": 1, "ram_mb": 512}, "small": {"vcpus": 1, "ram_mb": 2048}},
    "owners": {
        "default": {"default_ttl": 7200, "max_ttl": 86400, "commands_per_minute": None},
        HOSTILE: {"default_ttl": 7200, "max_ttl": 86400, "commands_per_minute": 60},
    },
    "queue": {"max": 600, "max_per_owner": 150, "max_wait": 14400},
}


class Stage:
    """Everything that runs for a soak; each part is ended by its pid when the stage is left."""

    def __init__(self, home: Path, port_base: int, replicas: int, seed: int) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.seed = seed
        self.replicas = replicas
        self._environment = {
            "PORT_BASE": str(port_base),
            "OMS_HOME": str(home / "stack"),
            "REPLICAS": str(replicas),
            "REAP_EVERY_S": str(REAP_EVERY_S),
            "LEASE_S": str(LEASE_S),
            "OMS_FLEET": FLEET,
            "CLOUDS": str(home / "clouds.yaml"),
            "FLEET": str(home / "fleet.yaml"),
        }

    @contextlib.contextmanager
    def running(self) -> Iterator["Stage"]:
        """Start all, and end all."""
        with contextlib.ExitStack() as started:
            direct = self.home / "direct.yaml"
            self.sim = started.enter_context(_sim(direct, self.seed))
            clouds_file = Path(self._environment["CLOUDS"])
            self.proxy = FaultProxy.before(direct, to=clouds_file, seed=self.seed)
            started.callback(self.proxy.close)
            (self.home / "fleet.yaml").write_text(yaml.safe_dump(FLEET_FILE))
            started.callback(self._command, "down")
            self._command("up")
            self.stack = stack_of(self._environment)
            yield self

    def _command(self, command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "infra.local.stack", command],
            cwd=ROOT,
            env=os.environ | self._environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    @property
    def url(self) -> str:
        """The gateway."""
        return self.stack.url

    @property
    def signing_key(self) -> Path:
        """What tokens are signed with."""
        return self.stack.keys / "signing.pem"

    @property
    def regions(self) -> list[str]:
        """The regions' names."""
        return list(self.proxy.urls)

    def function_names(self) -> list[str]:
        """Return the name of each replica of each function."""
        return [f"{it.name}-{n + 1}" for it in functions() for n in range(self.replicas)]

    def process(self, name: str) -> psutil.Process | None:
        """Return a process of the stack; None while it does not run."""
        return processes.running(self.stack).get(name)

    def wait_until_all_run(self, within_s: float = 240) -> None:
        """Return when every function listens."""
        doors = {name: self.stack.socket(name) for name in self.function_names()}
        missing = processes.wait_for(doors, timeout_s=within_s)
        if missing:
            raise RuntimeError(f"functions did not come back: {missing}")

    def ask_sim(self, path: str) -> Any:
        """Return a document of the simulated clouds' control."""
        return self.sim.get(f"/sim/{path}").raise_for_status().json()

    def conduct(self, region: str, **changes: float) -> None:
        """Have a region behave in another way."""
        self.sim.patch(f"/sim/regions/{region}", json=changes).raise_for_status()

    def note(self, text: str) -> None:
        """Print a line with the time."""
        print(time.strftime("%H:%M:%S"), text, flush=True)


@contextlib.contextmanager
def _sim(clouds_file: Path, seed: int) -> Iterator[httpx.Client]:
    command = [sys.executable, str(SIM), "--clouds-file", str(clouds_file), f"--seed={seed}"]
    command += [f"--providers={PROVIDERS}", f"--regions-per-provider={REGIONS_EACH}"]
    command += [f"--instances={CAP}", "--boot-s=0.3", "--delete-s=0.3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            word, _, url = process.stdout.readline().strip().partition(" ")
            if word != "ready":
                raise RuntimeError("the simulated OpenStack did not come up")
            with httpx.Client(base_url=url, timeout=30) as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
