"""What is typed on the command line, as values."""

import re
from collections.abc import Sequence
from pathlib import Path

from openmultistack.cli.client import EXIT_USAGE, CommandError

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NEEDS = {
    "vcpus": "vcpus",
    "ram": "ram_mb",
    "ram_mb": "ram_mb",
    "disk": "disk_gb",
    "disk_gb": "disk_gb",
}


def seconds(text: str) -> int:
    """Return a time such as 90, 90s, 30m, 2h or 1d in seconds."""
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    if not found:
        raise CommandError(f"{text!r} is no time, expected one like 90, 30m, 2h or 1d", EXIT_USAGE)
    return int(found[1]) * _UNITS_S[found[2]]


def labels(pairs: Sequence[str]) -> dict[str, str]:
    """Return labels typed as key=value."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise CommandError(f"{pair!r} is no label, expected key=value", EXIT_USAGE)
        found[key] = value
    return found


def size(text: str) -> str | dict[str, int]:
    """Return a size: a name, or a requirement such as vcpus=2,ram=2048,disk=10."""
    if "=" not in text:
        return text
    wanted = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name.strip() not in _NEEDS or not number.strip().isdecimal():
            expected = "expected a name, or numbers like vcpus=2,ram=2048,disk=10 (MB, GB)"
            raise CommandError(f"{text!r} is no size: {expected}", EXIT_USAGE)
        wanted[_NEEDS[name.strip()]] = int(number)
    return wanted


def content(path: Path) -> str:
    """Return a text file's content."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise CommandError(f"{path} cannot be read: {reason}", EXIT_USAGE) from None


def label_query(pairs: Sequence[str]) -> list[tuple[str, str]]:
    """Return labels as the API's query parameters."""
    return [("label", f"{key}:{value}") for key, value in labels(pairs).items()]
