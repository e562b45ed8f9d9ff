"""Which place each shown name stands for: state is keyed by places, people speak of names.

A name that no place has been found for yet stands for itself.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple


class Names(NamedTuple):
    """The shown names of places, and former names that no other place has taken, at one version."""

    version: str = ""
    # Of each place its entry in the ledger's hash of places; see bind.lua.
    entries: Mapping[str, Mapping[str, object]] = {}


class Places:
    """The names as of one look at the ledger; safe to share between threads."""

    def __init__(self, names: Names | None = None) -> None:
        self._names = names or Names()

    @property
    def version(self) -> str:
        """Which change of the names this is of; empty before the first."""
        return self._names.version

    @cached_property
    def _by_name(self) -> dict[str, str]:
        now = {str(it["name"]): place for place, it in self._names.entries.items()}
        former = {
            str(name): place
            for place, it in self._names.entries.items()
            for name in _former(it)
        }
        return former | now

    def place_of(self, name: str) -> str:
        """Return the key of a region's state: its place, or the name itself if none is known."""
        return self._by_name.get(name, name)

    def name_of(self, place: str) -> str:
        """Return the name by which a place is shown now."""
        entry = self._names.entries.get(place)
        return str(entry["name"]) if entry else place

    def names_for(self, asked: Iterable[str]) -> dict[str, str]:
        """Return of each asked region's place the name that it was asked by."""
        return {self.place_of(name): name for name in asked}


def _former(entry: Mapping[str, object]) -> Iterable[object]:
    former = entry.get("former")
    return former if isinstance(former, list) else ()


def decode_names(version: str | None, fields: Mapping[str, str]) -> Names:
    """Return the names of the ledger's hash of places."""
    return Names(version or "", {place: json.loads(text) for place, text in fields.items()})
