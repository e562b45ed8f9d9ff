"""What the project needs, as pyproject.toml says it and as what is installed here goes on."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PRODUCT = "openmultistack"


def project() -> Any:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def needed(*extras: str) -> frozenset[str]:
    """Return the names of all that the library with these extras has installed, on this Python."""
    found: set[tuple[str, str]] = set()
    left = [Requirement(f"{PRODUCT}[{','.join(extras)}]")]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {it for at, it in found if at == name}:
            found.add((name, extra))
            left += [it for it in _needs_of(name) if _applies(it, extra)]
    return frozenset(name for name, _ in found) - {PRODUCT}


def _needs_of(name: str) -> list[Requirement]:
    """Return what a package says; of the product what pyproject.toml says now."""
    if name != PRODUCT:
        return [Requirement(it) for it in requires(name) or []]
    told = project()["project"]
    more = [
        f'{it}; extra == "{extra}"'
        for extra, own in told["optional-dependencies"].items()
        for it in own
    ]
    return [Requirement(it) for it in [*told["dependencies"], *more]]


def _applies(requirement: Requirement, extra: str) -> bool:
    """Return whether a requirement is one of this extra; "" is none."""
    marker = requirement.marker
    if marker is None:
        return not extra
    return marker.evaluate({"extra": extra})


def pins(lock: Path, **environment: str) -> dict[str, Requirement]:
    """Return what a lock pins, by name: on this Python, or where markers say something else."""
    text = re.sub(r"\\\n\s+", "", lock.read_text())
    found = [Requirement(it.partition(" --hash=")[0]) for it in text.splitlines() if it]
    return {
        canonicalize_name(it.name): it
        for it in found
        if not it.marker or it.marker.evaluate(dict(environment))
    }
