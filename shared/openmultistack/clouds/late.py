"""Clouds that are opened when the first one is needed, and anew when their logins change."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from openmultistack.clouds.port import Cloud, Clouds

if TYPE_CHECKING:
    from openmultistack.fleet.files import Regions
    from openmultistack.rereading import Reread

# What was planned before a region left the file may go there to its end, for so long: longer than
# a command takes whose first regions fail.
LEFT_FOR_S = 120.0


class _Opened(NamedTuple):
    regions: "Regions"
    clouds: Clouds


class LateClouds:
    """The clouds of a file as it is by now; who is refused before they are needed pays nothing.

    Whoever has a region's cloud in hand keeps it: what is under way goes on with the login that it
    began with.
    """

    def __init__(self, files: "Reread[Regions]", opened: "Callable[[Regions], Clouds]") -> None:
        self._files = files
        self._open = opened
        self._opening = threading.Lock()
        self._current: _Opened | None = None
        # Those of before the file changed last, and until when (monotonic) they may be reached.
        self._left: tuple[_Opened, float] | None = None

    def names(self) -> Sequence[str]:
        """Return the regions there are."""
        return list(self._files.now())

    def region(self, name: str) -> Cloud:
        """Return a region's cloud: also of one that came this moment, or that left lately."""
        if name not in self._files.now():
            self._files.look()
        with self._opening:
            current = self._opened(self._files.now())
            left = self._left
        if name not in current.regions and left and time.monotonic() < left[1]:
            return left[0].clouds.region(name)
        return current.clouds.region(name)

    def _opened(self, regions: "Regions") -> _Opened:
        before = self._current
        if before and before.regions is regions:
            return before
        self._current = opened = _Opened(regions, self._open(regions))
        if before:
            self._left = before, time.monotonic() + LEFT_FOR_S
        return opened
