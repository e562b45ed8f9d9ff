"""Where one lab is: its directories, its ports and the addresses of its services."""

import os
from dataclasses import dataclass
from pathlib import Path

from errors import LabError
from topology import (
    DATABASE_PORT_OFFSET,
    HOST,
    KEYSTONE_PORT_OFFSETS,
    SERVICE_PORT_OFFSETS,
    Region,
)

DEFAULT_PORT_BASE = 25000
# The lab's ports end at base + 1196; from 32768 on the kernel gives ports to outgoing connections.
LAST_PORT_BASE = 31500


@dataclass(frozen=True)
class Lab:
    """The lab that the environment names; with another home and ports, a second one beside it."""

    home: Path
    venv: Path
    port_base: int

    @property
    def state(self) -> Path:
        """Everything that `reset` forgets."""
        return self.home / "state"

    @property
    def python(self) -> Path:
        """The interpreter that OpenStack is installed for."""
        return self.venv / "bin" / "python"

    @property
    def database_port(self) -> int:
        """PostgreSQL's port."""
        return self.port_base + DATABASE_PORT_OFFSET

    @property
    def clouds_yaml(self) -> Path:
        """What a user of the providers has."""
        return self.state / "clouds.yaml"

    @property
    def clouds_admin_yaml(self) -> Path:
        """What the providers' own staff has."""
        return self.state / "clouds-admin.yaml"

    def scope(self, region: Region) -> Path:
        """The directory of a region's configuration, logs and files."""
        return self.state / region.provider / region.name

    def keystone_port(self, provider: str) -> int:
        """The port of a provider's Keystone."""
        return self.port_base + KEYSTONE_PORT_OFFSETS[provider]

    def keystone_url(self, provider: str) -> str:
        """What clients know a provider by: `auth_url`."""
        return f"http://{HOST}:{self.keystone_port(provider)}/v3"

    def service_port(self, region: Region, service: str) -> int:
        """The port of a region's Nova, Placement, Glance or Neutron."""
        return self.port_base + region.port_offset + SERVICE_PORT_OFFSETS[service]

    def service_url(self, region: Region, service: str) -> str:
        """The address of a region's Nova, Placement, Glance or Neutron."""
        return f"http://{HOST}:{self.service_port(region, service)}"


def lab_of_environment() -> Lab:
    """The lab of $LAB_HOME, $LAB_VENV and $LAB_PORT_BASE.

    Once there is data its ports stay: the catalogs hold URLs.

    Raises:
        LabError: the ports are no number, out of range, or others than the data's.
    """
    default_home = Path.home() / ".cache" / "openstack-lab"
    home = Path(os.environ.get("LAB_HOME") or default_home).absolute()
    venv = Path(os.environ.get("LAB_VENV") or home / "venv").absolute()
    wanted = wanted_port_base()
    recorded = recorded_port_base(home)
    if wanted and recorded and wanted != recorded:
        raise LabError(
            f"LAB_PORT_BASE is {wanted}, the data has ports from {recorded}: reset first"
        )
    return Lab(home, venv, recorded or wanted or DEFAULT_PORT_BASE)


def wanted_port_base() -> int | None:
    """What $LAB_PORT_BASE says, if it says anything."""
    text = os.environ.get("LAB_PORT_BASE")
    if not text:
        return None
    if not text.isdecimal() or not 1024 <= int(text) <= LAST_PORT_BASE:  # noqa: PLR2004  the first port for all
        raise LabError(
            f"LAB_PORT_BASE must be a number from 1024 to {LAST_PORT_BASE}, not {text!r}"
        )
    return int(text)


def recorded_port_base(home: Path) -> int | None:
    """The first port of the data that is there, if any."""
    try:
        return int((home / "state" / "port-base").read_text())
    except FileNotFoundError:
        return None


def record_port_base(lab: Lab) -> None:
    """Fix the ports for as long as the data lives."""
    lab.state.mkdir(parents=True, exist_ok=True)
    replace_text(lab.state / "port-base", str(lab.port_base))


def replace_text(path: Path, text: str) -> None:
    """Write a file so that it is never seen half written, nor by others: many hold passwords."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
