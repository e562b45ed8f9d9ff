"""Which place each shown name stands for: state is keyed by places, people speak of names.

A name that no place has been found for yet stands for itself.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from math import inf
from typing import Any, NamedTuple, cast

from openmultistack.ledger.decode import read_all

# After these an instance is in no place, or goes to another one.
LEAVING = {"failed", "queued", "deleted"}


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

    def renames_of(self, place: str) -> Sequence[Mapping[str, Any]]:
        """Return when a place got other names, oldest first: `at_ms`, `from`, `to`."""
        return cast("Sequence[Mapping[str, Any]]", self.entries.get(place, {}).get("renames", ()))

    def with_renames(self, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return a story (regions by place) in which each place that was renamed meanwhile says so.

        What is told of an instance once it left a place is not of its concern.
        """
        told: list[dict[str, Any]] = []
        for event, then in zip_longest(events, events[1:]):
            place, until_ms = event["region"], then["at_ms"] if then else inf
            told.append({**event, "region": self.name_of(place)})
            if event["what"] not in LEAVING:
                told += [
                    _renamed(it, event)
                    for it in self.renames_of(place)
                    if event["at_ms"] <= it["at_ms"] < until_ms
                ]
        return told


def _renamed(rename: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at_ms": rename["at_ms"],
        "what": "renamed",
        "region": rename["to"],
        "attempt": event["attempt"],
        "why": f"{rename['from']} is now {rename['to']}",
    }


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
