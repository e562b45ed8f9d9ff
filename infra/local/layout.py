"""Where a stack's things are: folders and sockets below its home, the gateway's port.

Nothing but the gateway listens on a port. PORT_BASE moves it, and the laboratory's, so that two
stacks run side by side; a home goes with it. The home
remembers the variables of the last `up`: later commands need only say which home, and what changes.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import yaml

from infra.local.ports import HOST
from infra.local.sockets import folder_of

ROOT = Path(__file__).resolve().parent.parent.parent
PORT_BASE = 20000
# What `up` can be told, and its home remembers.
VARIABLES = ("PORT_BASE", "REPLICAS", "CLOUDS", "FLEET", "REAP_EVERY_S", "LEASE_S", "OMS_FLEET")
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
    threads: str


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
            "PORT_BASE": self.port_base,
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
        """Where `up` leaves them for later commands."""
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

    def socket(self, name: str) -> Path:
        """The Unix socket of a process by its name: `valkey`, `create-1`."""
        return folder_of(self.home) / name

    @property
    def admin_socket(self) -> Path:
        """Envoy's own interface."""
        return self.socket("envoy-admin")

    @property
    def redis_url(self) -> str:
        """The ledger's address."""
        return f"unix://{quote(str(self.socket('valkey')))}?db=0"

    @property
    def keys(self) -> Path:
        """The folder of the own issuer's keys."""
        return self.home / "keys"

    @property
    def issuers_file(self) -> Path:
        """Whose tokens are believed."""
        return self.home / "issuers.yaml"

    @property
    def gate_file(self) -> Path:
        """The same as the gateway reads it, kept in step by the gatekeeper."""
        return self.home / "run" / "gate.json"

    @property
    def marks_keys_file(self) -> Path:
        """Keys that servers' marks are signed with: they outlive the other data, see `clean`."""
        return self.home / "marks.keys"

    @property
    def carried_file(self) -> Path:
        """Where servers may carry signatures of keys that were kept; see `carried`."""
        return self.home / "marks.keys.carried"

    def ports(self) -> dict[str, int]:
        """All ports of the stack but the laboratory's."""
        return {"envoy": self.port_base}

    @property
    def lab(self) -> Path:
        """The laboratory's home."""
        return self.home / "lab"

    def lab_port_base(self) -> int:
        """The laboratory's first port; once it has data, that of the data."""
        try:
            return int((self.lab / "state" / "port-base").read_text())
        except (FileNotFoundError, ValueError):
            return self.port_base + LAB_OFFSET

    def lab_environment(self) -> dict[str, str]:
        """The environment in which the laboratory's own command is run."""
        return os.environ | {
            "LAB_HOME": str(self.lab),
            "LAB_PORT_BASE": str(self.lab_port_base()),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        }


def stack_of(environment: Mapping[str, str]) -> Stack:
    """Return the stack that the environment alone describes.

    Raises:
        StackError: a variable is wrong; names it and what was expected.
    """
    return Stack(
        home=home_of(environment),
        port_base=_number(environment, "PORT_BASE", PORT_BASE, 1024, PORT_BASE_MAX),
        replicas=_number(environment, "REPLICAS", 1, 1, 20),
        clouds=_file(environment, "CLOUDS"),
        fleet=_file(environment, "FLEET"),
        reap_every_s=_number(environment, "REAP_EVERY_S", 5, 1, 3600),
        lease_s=_number(environment, "LEASE_S", 120, 45, 3600),
        fleet_name=environment.get("OMS_FLEET") or "default",
    )


def stack_to_start(environment: Mapping[str, str]) -> Stack:
    """Return the stack that `up` is to start: as it was, but for the variables given now.

    An empty variable counts as given, and goes back to the default.

    Raises:
        StackError: a variable is wrong, or a file that is remembered is gone.
    """
    home = home_of(environment)
    before = remembered(home)
    given = {name: environment[name] for name in VARIABLES if name in environment}
    _refuse_gone_files({name: it for name, it in before.items() if name not in given})
    return stack_of(before | given | {"OMS_HOME": str(home)})


def stack_at(environment: Mapping[str, str]) -> Stack:
    """Return the stack of this home as it was started; its files need not be there any more.

    Raises:
        StackError: PORT_BASE is wrong.
    """
    home = home_of(environment)
    where = {"OMS_HOME": str(home)}
    where |= {name: it for name, it in environment.items() if name == "PORT_BASE" and it}
    return _stack_with(where | remembered(home))


def _stack_with(variables: Mapping[str, str]) -> Stack:
    files = {name: Path(variables[name]) for name in ("CLOUDS", "FLEET") if variables.get(name)}
    others = stack_of({k: v for k, v in variables.items() if k not in ("CLOUDS", "FLEET")})
    return replace(others, clouds=files.get("CLOUDS"), fleet=files.get("FLEET"))


def home_of(environment: Mapping[str, str]) -> Path:
    """Return the home that the environment names, by itself or by its ports."""
    base = _number(environment, "PORT_BASE", PORT_BASE, 1024, PORT_BASE_MAX)
    default_home = ".oms" if base == PORT_BASE else f".oms-{base}"
    return ROOT / (environment.get("OMS_HOME") or default_home)


def remembered(home: Path) -> dict[str, str]:
    """Return the variables of the last `up` of this home; nothing if there was none."""
    try:
        told = json.loads((home / "run" / "variables.json").read_text())
    except (OSError, ValueError):
        return {}
    return {name: str(told[name]) for name in VARIABLES if name in told}


def differences(before: Mapping[str, str], stack: Stack) -> list[str]:
    """Return in a sentence each what is other than at the last `up`."""
    now = stack.variables
    return [
        f"{name} is {now.get(name, 'not set')} from now on (it was {before.get(name, 'not set')})"
        for name in VARIABLES
        if "PORT_BASE" in before and before.get(name) != now.get(name)
    ]


def _refuse_gone_files(kept: Mapping[str, str]) -> None:
    for name in ("CLOUDS", "FLEET"):
        if name in kept and not Path(kept[name]).is_file():
            raise StackError(
                f"{name}={kept[name]}, as the last `up` was told: there is no such file;"
                f" give {name}=FILE anew, or {name}= to go back to the default"
            )


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
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
        Function(
            name,
            entry["environment"]["FUNCTION_SOURCE"],
            frozenset(entry["secrets"]),
            entry["environment"]["THREADS"],
        )
        for name, entry in entries.items()
    ]
