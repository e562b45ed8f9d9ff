"""Clouds that are opened when the first one is needed: who is refused before pays nothing."""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property

from openmultistack.clouds.port import Cloud, Clouds


class LateClouds:
    """Regions whose names are known, before there is anything to reach them by."""

    def __init__(self, names: Sequence[str], opened: Callable[[], Clouds]) -> None:
        self._names = names
        self._opened = opened
        self._opening = threading.Lock()

    @cached_property
    def _clouds(self) -> Clouds:
        return self._opened()

    def names(self) -> Sequence[str]:
        """Return the regions there are."""
        return self._names

    def region(self, name: str) -> Cloud:
        """Return a region's cloud."""
        with self._opening:
            return self._clouds.region(name)
