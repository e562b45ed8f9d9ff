"""The create function before clouds that take every server at once: what is left is deciding."""

import math
from collections.abc import Sequence
from typing import cast

from ulid import ULID

from openmultistack.clouds import Clouds, Server, ServerOrder
from openmultistack.wiring.app import open_door
from openmultistack.wiring.parts import Parts


class InstantCloud:
    """A region that accepts whatever it is asked for."""

    def create(self, order: ServerOrder, *, not_after: float = math.inf) -> str:
        """Return the id of a server that was never made."""
        del order, not_after
        return str(ULID())

    def active(self) -> Sequence[Server]:
        """Return what has been built: nothing ever is."""
        return ()


class InstantClouds:
    """Regions that are all alike."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def region(self, name: str) -> InstantCloud:
        """Return a region's cloud."""
        del name
        return InstantCloud()

    def names(self) -> Sequence[str]:
        """Return the regions there are."""
        return self._names


class InstantParts(Parts):
    """What a function is made of, but for the clouds."""

    def clouds(self) -> Clouds:
        """Return the clouds that take every server at once."""
        return cast("Clouds", InstantClouds(list(self.fleet().regions)))


handle = open_door("create", InstantParts)
