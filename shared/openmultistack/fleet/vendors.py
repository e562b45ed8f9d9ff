"""The vendor profiles of this machine: which regions an entry of clouds.yaml has by them alone.

They are read as data: to import the sdk takes most of a second, and nothing is fetched for it.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

# Where the sdk looks for clouds-public.yaml, the first that is there before the others.
PUBLIC_CLOUDS = (".", "~/.config/openstack", "/etc/xdg/openstack", "/etc/openstack")


def regions_of_profile(name: object) -> list[object]:
    """Return the regions that a profile names; none if it is fetched, or none is known of it."""
    found = _own_profile(name) if isinstance(name, str) else None
    if isinstance(name, str) and found is None:
        found = _shipped_profile(name)
    told = found.get("regions") or found.get("region_name") if found else None
    listed = told if isinstance(told, list) else [told] if told else []
    return [it.get("name") if isinstance(it, Mapping) else it for it in listed]


def _own_profile(name: str) -> Mapping[str, Any] | None:
    """Return what the operator's clouds-public.yaml says of a profile."""
    for folder in PUBLIC_CLOUDS:
        for ending in ("yaml", "yml", "json"):
            file = Path(folder).expanduser() / f"clouds-public.{ending}"
            if file.is_file():
                profiles = (_read(file) or {}).get("public-clouds")
                found = profiles.get(name) if isinstance(profiles, Mapping) else None
                return found if isinstance(found, Mapping) else None
    return None


def _shipped_profile(name: str) -> Mapping[str, Any] | None:
    """Return the profile of this name that the sdk brings along."""
    for file in _shipped():
        if file.stem == name:
            found = (_read(file) or {}).get("profile")
            return found if isinstance(found, Mapping) else None
    return None


def _shipped() -> Iterator[Path]:
    spec = find_spec("openstack")
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from (Path(folder) / "config" / "vendors").glob("*.[jy][sa]*")


def _read(file: Path) -> dict[str, Any] | None:
    """Return a file's content; what cannot be read says nothing, as with the sdk."""
    try:
        text = file.read_text()
        found = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else None
