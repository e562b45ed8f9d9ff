"""Where regions come from: they may change while a process lives.

Each command takes the fleet once, and goes by that to its end, whatever the files say meanwhile.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from openmultistack.fleet.config import Fleet, FleetFile, load_fleet, load_fleet_file
from openmultistack.rereading import Reread


class RegionSource(Protocol):
    """Tells the regions of the fleet."""

    def now(self) -> Fleet:
        """Return the fleet of now: the same object as before, unless it has changed."""

    def certain(self) -> Fleet | None:
        """Look at once, and return the fleet; None if nobody knows it, as what tells it is bad."""


class FleetFiles(Reread[Fleet]):
    """The fleet of clouds.yaml and fleet.yaml, as a RegionSource; safe to share between threads."""

    def __init__(self, clouds_file: Path, fleet_file: Path | None) -> None:
        """Read the files.

        Raises:
            ConfigurationError: a file is missing or wrong.
        """
        super().__init__(
            "fleet",
            lambda: load_fleet(clouds_file, fleet_file),
            [clouds_file, *([fleet_file] if fleet_file else [])],
            told=_told,
        )


def _told(fleet: Fleet) -> Mapping[str, object]:
    return {"regions": list(fleet.regions), "disabled": list(fleet.disabled)}


class RulesFile(Reread[FleetFile]):
    """fleet.yaml alone, for who needs to know of no region; without a path there are no rules."""

    def __init__(self, path: Path | None) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it is missing or wrong.
        """
        super().__init__(
            "fleet",
            lambda: load_fleet_file(path) if path else FleetFile(),
            [path] if path else [],
        )
