"""Which place each shown name stands for: state is keyed by places, people speak of names.

A name that no place has been found for yet stands for itself.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from openmultistack.ledger.decode import read_all


class Places(NamedTuple):
    """The names as of one look at the ledger; see bind.lua. Never changes."""

    # Which change of the ledger this is of; empty before the first look.
    version: str = ""
    by_name: Mapping[str, str] = {}
    entries: Mapping[str, Mapping[str, Any]] = {}

    def place_of(self, name: str) -> str:
        """Return the key of a region's state: its place, or the name itself if none is known."""
        return self.by_name.get(name, name)

    def name_of(self, place: str) -> str:
        """Return the name by which a place is shown now."""
        entry = self.entries.get(place)
        return str(entry["name"]) if entry else place


def _decode(kept: tuple[str, str]) -> tuple[str, Mapping[str, Any]]:
    place, text = kept
    entry = json.loads(text)
    return place, {**entry, "name": str(entry["name"])}


def decode_places(
    version: str, named: Mapping[str, str], places: Mapping[str, str], before: Places
) -> Places:
    """Return the names in the ledger's two hashes; what a lost ledger does not say stays."""
    told, _ = read_all("place", [(it[0], it) for it in places.items()], _decode)
    entries = dict(told)
    return Places(version, {**before.by_name, **named}, {**before.entries, **entries})
