"""What is typed on the command line, as values."""

import base64
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openmultistack.cli.failures import CommandError, Exit

_TTL = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?", re.ASCII)
_UNITS_S = (86400, 3600, 60, 1)
_NEEDS = {
    "vcpus": "vcpus",
    "ram": "ram_mb",
    "ram_mb": "ram_mb",
    "disk": "disk_gb",
    "disk_gb": "disk_gb",
}


def seconds(text: str) -> int:
    """Return a time such as 90, 90s, 30m, 2h, 1h30m or 1d in seconds; never 0."""
    found = _TTL.fullmatch(text.strip())
    given = zip(found.groups(), _UNITS_S, strict=True) if found else ()
    total = sum(int(count or 0) * unit_s for count, unit_s in given)
    if not total:
        raise _refuse(text, "time", "one like 90, 30m, 2h, 1h30m or 1d")
    return total


def labels(pairs: Sequence[str]) -> dict[str, str]:
    """Return labels typed as key=value."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals or ":" in key:
            raise _refuse(pair, "label", "key=value")
        if found.setdefault(key, value) != value:
            raise CommandError(f"label {key} is given with two values", Exit.USAGE)
    return found


def label_query(pairs: Sequence[str]) -> list[tuple[str, str]]:
    """Return labels as the API's query parameters."""
    return [("label", f"{key}:{value}") for key, value in labels(pairs).items()]


def idempotency_key(text: str) -> str:
    """Return a key that a header can carry, and that the API takes."""
    if not re.fullmatch(r"[!-~]([ -~]{0,253}[!-~])?", text):
        raise _refuse(text[:64], "idempotency key", "1 to 255 printable ASCII characters")
    return text


def size(text: str) -> str | dict[str, int]:
    """Return a size: a name, or a requirement such as vcpus=2,ram=2048,disk=10."""
    if "=" not in text:
        return text
    wanted: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (it.strip() for it in part.partition("="))
        field = _NEEDS.get(name)
        if field is None or field in wanted or not re.fullmatch("[0-9]{1,9}", number):
            raise _refuse(text, "size", "a name, or numbers like vcpus=2,ram=2048,disk=10 (MB, GB)")
        wanted[field] = int(number)
    return wanted


def content(path: Path) -> str:
    """Return a text file's content, its line ends as they are."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", Exit.USAGE) from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} cannot be read: it is not UTF-8 text", Exit.USAGE) from None


def public_key(path: Path) -> str:
    """Return an OpenSSH public key file's line; a private key never leaves this machine."""
    text = content(path).strip()
    if "PRIVATE KEY" in text:
        raise CommandError(f"{path} is a private key, expected its .pub file", Exit.USAGE)
    return text


def _refuse(text: str, what: str, expected: str) -> CommandError:
    return CommandError(f"{text!r} is no {what}, expected {expected}", Exit.USAGE)


def token_end(token: str) -> str | None:
    """Return when a JWT ended; None if it did not, or nobody can tell.

    For a hint alone: nothing is verified here.
    """
    try:
        at = datetime.fromtimestamp((token_claims(token) or {})["exp"], UTC)
    except (ValueError, LookupError, TypeError, OverflowError, OSError):
        return None
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at < datetime.now(UTC) else None


def token_claims(token: str) -> dict[str, Any] | None:
    """Return what a JWT says, whoever wrote it; None if it is none."""
    try:
        part = token.split(".")[1]
        told = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, LookupError, RecursionError):
        return None
    return told if isinstance(told, dict) else None
