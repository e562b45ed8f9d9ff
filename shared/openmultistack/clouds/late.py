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

    def close(self) -> None:
        """Give up the connections that nothing goes over now."""
        with self._opening:
            for it in (self._current, self._left[0] if self._left else None):
                if it:
                    it.clouds.close()

    def region(self, name: str) -> Cloud:
        """Return a region's cloud: also of one that came this moment, or that left lately."""
        if name not in self._files.now():
            self._files.look()
        with self._opening:
            current, left = self._opened(self._files.last), self._still_left()
        if left and name not in current.regions:
            return left.clouds.region(name)
        return current.clouds.region(name)

    def _still_left(self) -> _Opened | None:
        if self._left and time.monotonic() >= self._left[1]:
            self._left[0].clouds.close()
            self._left = None
        return self._left[0] if self._left else None

    def _opened(self, regions: "Regions") -> _Opened:
        before = self._current
        if before and before.regions is regions:
            return before
        self._current = opened = _Opened(regions, self._open(regions))
        if before:
            if self._left:
                self._left[0].clouds.close()
            self._left = before, time.monotonic() + LEFT_FOR_S
        return opened
