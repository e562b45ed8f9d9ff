"""Where a stack's things are: folders below its home, ports above its base.

PORT_BASE moves every port, so that two stacks run side by side; a home goes with it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "127.0.0.1"
PORT_BASE = 20000
# The laboratory's highest port is its base + 1306; the kernel's own ports begin at 32768.
LAB_OFFSET = 5000
PORT_BASE_MAX = 26000


class StackError(Exception):
    """What went wrong with the stack, in one sentence."""


@dataclass(frozen=True)
class Function:
    """A function of stack.yml."""

    name: str
    source: str
    secrets: frozenset[str]


@dataclass(frozen=True)
class Stack:
    """One stack on this machine."""

    home: Path
    port_base: int
    replicas: int
    # The user's own clouds.yaml and fleet.yaml; without the first the laboratory is used.
    clouds: Path | None
    fleet: Path | None
    reap_every_s: float
    # How long an attempt may stay unproven.
    lease_s: int
    # Servers carry it: two stacks that share clouds and this name take each other's for their own.
    fleet_name: str

    @property
    def uses_lab(self) -> bool:
        """Whether the laboratory's OpenStack is part of the stack."""
        return self.clouds is None

    @property
    def variables(self) -> dict[str, str]:
        """What the stack was started with, as variables; its home says the rest."""
        given = {
            "REPLICAS": self.replicas,
            "CLOUDS": self.clouds,
            "FLEET": self.fleet,
            "REAP_EVERY_S": self.reap_every_s,
            "LEASE_S": self.lease_s,
            "OMS_FLEET": self.fleet_name,
        }
        return {name: str(value) for name, value in given.items() if value is not None}

    @property
    def variables_file(self) -> Path:
        """Where `up` leaves them for `status`."""
        return self.home / "run" / "variables.json"

    @property
    def clouds_file(self) -> Path:
        """The clouds.yaml that the functions get."""
        return self.clouds or self.home / "lab" / "state" / "clouds.yaml"

    @property
    def fleet_file(self) -> Path | None:
        """The fleet.yaml that the functions get."""
        return self.fleet or (ROOT / "infra" / "local" / "fleet.yaml" if self.uses_lab else None)

    @property
    def url(self) -> str:
        """The gateway's address."""
        return f"http://{HOST}:{self.port_base}"

    @property
    def admin_port(self) -> int:
        """Envoy's own interface, on loopback."""
        return self.port_base + 1

    @property
    def valkey_port(self) -> int:
        """Valkey."""
        return self.port_base + 2

    @property
    def supervisor_ports(self) -> tuple[int, int]:
        """Circus' endpoint and its published events."""
        return self.port_base + 3, self.port_base + 4

    def function_port(self, index: int, replica: int) -> int:
        """The port of one replica of the index-th function."""
        return self.port_base + 100 + 20 * index + replica

    @property
    def redis_url(self) -> str:
        """The ledger's address."""
        return f"redis://{HOST}:{self.valkey_port}/0"

    @property
    def keys(self) -> Path:
        """The folder of the own issuer's keys."""
        return self.home / "keys"

    @property
    def issuers_file(self) -> Path:
        """Whose tokens are believed."""
        return self.home / "issuers.yaml"

    def lab_environment(self) -> dict[str, str]:
        """The environment in which the laboratory's own command is run."""
        return os.environ | {
            "LAB_HOME": str(self.home / "lab"),
            "LAB_PORT_BASE": str(self.port_base + LAB_OFFSET),
            "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ.get('PATH', '')}",
        }


def stack_of(environment: Mapping[str, str]) -> Stack:
    """Return the stack that the environment describes.

    Raises:
        StackError: a variable is wrong; names it and what was expected.
    """
    base = _number(environment, "PORT_BASE", PORT_BASE, 1024, PORT_BASE_MAX)
    default_home = ".oms" if base == PORT_BASE else f".oms-{base}"
    return Stack(
        home=ROOT / (environment.get("OMS_HOME") or default_home),
        port_base=base,
        replicas=_number(environment, "REPLICAS", 1, 1, 20),
        clouds=_file(environment, "CLOUDS"),
        fleet=_file(environment, "FLEET"),
        reap_every_s=_number(environment, "REAP_EVERY_S", 5, 1, 3600),
        lease_s=_number(environment, "LEASE_S", 120, 45, 3600),
        fleet_name=environment.get("OMS_FLEET") or "default",
    )


def stack_at(environment: Mapping[str, str]) -> Stack:
    """Return the stack of this port base and home as it was started.

    Raises:
        StackError: PORT_BASE is wrong.
    """
    where = {name: environment.get(name, "") for name in ("PORT_BASE", "OMS_HOME")}
    found = stack_of(where)
    if not found.variables_file.exists():
        return found
    started = json.loads(found.variables_file.read_text())
    return replace(
        stack_of(where | {k: v for k, v in started.items() if k not in ("CLOUDS", "FLEET")}),
        clouds=_path(started, "CLOUDS"),
        fleet=_path(started, "FLEET"),
    )


def _path(started: Mapping[str, str], name: str) -> Path | None:
    """Return a file that was there; what runs can be told and ended without it."""
    return Path(started[name]) if name in started else None


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise StackError(f"{name}={text}: expected a number from {low} to {high}")
    return int(text)


def _file(environment: Mapping[str, str], name: str) -> Path | None:
    text = environment.get(name)
    if not text:
        return None
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise StackError(f"{name}={text}: there is no such file")
    return path


def functions() -> list[Function]:
    """Return the functions of stack.yml, in its order."""
    entries = yaml.safe_load((ROOT / "stack.yml").read_text())["functions"]
    return [
        Function(name, entry["environment"]["FUNCTION_SOURCE"], frozenset(entry["secrets"]))
        for name, entry in entries.items()
    ]
