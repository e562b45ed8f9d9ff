"""Where a run has its services, and simulated clouds."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from infra.local.ports import Claim

ROOT = Path(__file__).parent.parent.parent
LAB = ROOT / "infra" / "openstack-lab" / "lab.py"
SIM = ROOT / "infra" / "openstack-sim" / "sim.py"
# What installing and starting the laboratory may take, on a slow machine: the first test of those
# that need it waits for it.
LAB_UP_WITHIN_S = 1500
LAB_OFFSET = 5000


class Place(NamedTuple):
    """A home and ports of this run's own: neither a person's stack nor another run is touched."""

    home: Path
    ports: Claim

    @property
    def lab_environment(self) -> dict[str, str]:
        """The environment in which the tests' own laboratory is commanded."""
        return os.environ | {
            "LAB_HOME": str(self.home / "lab"),
            "LAB_PORT_BASE": str(self.ports.base + LAB_OFFSET),
        }

    def lab(self, *arguments: str, timeout_s: float = LAB_UP_WITHIN_S) -> str:
        """Run a command of the laboratory and return what it printed; fails if it fails."""
        done = subprocess.run(
            [sys.executable, str(LAB), *arguments],
            env=self.lab_environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class Sim(NamedTuple):
    """A simulated OpenStack: where its clouds.yaml is, and where it listens."""

    clouds_file: Path
    url: str


@contextlib.contextmanager
def running_sim(home: Path, *options: str) -> Iterator[Sim]:
    """Run a simulated OpenStack on a free port; it is ended by its pid."""
    clouds_file = home / "clouds.yaml"
    command = [sys.executable, str(SIM), "--clouds-file", str(clouds_file), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "ready"
        yield Sim(clouds_file, url)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        process.stdout.close()
