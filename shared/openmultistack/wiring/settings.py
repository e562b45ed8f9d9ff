"""The environment, read once: what a function process is told by its platform."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from openmultistack.domain.bounds import GRANTED_S, THREADS
from openmultistack.domain.errors import ConfigurationError

LEASE_S = range(45, 3601)


class Settings(NamedTuple):
    """What the environment says; see VARIABLES."""

    # Name of the fleet: servers carry it, and all keys of the ledger.
    fleet: str = "default"
    redis_url: str = "redis://127.0.0.1:6379/0"
    # Without this file nobody is let in.
    issuers_file: Path | None = None
    fleet_file: Path | None = None
    # OS_CLIENT_CONFIG_FILE, as openstacksdk names it.
    clouds_file: Path | None = None
    # Keys that servers' marks are signed with; without any nothing is asked of a cloud.
    marks_keys_file: Path | None = None
    # How long an attempt may stay unproven; a POST alone may take 35 s of it.
    lease_s: int = 120
    # How many requests a process serves at once: functions-framework's own variable.
    threads: int = THREADS
    # Whether a schedule without a token may have the regions swept.
    tick: bool = False
    # How long the platform lets a request take; what is in flight when the process is told to end
    # has as long.
    granted_s: int = GRANTED_S


def _fleet(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}", text):
        raise ValueError("expected up to 48 letters, digits and ._-, a letter or digit first")
    return text


def _redis_url(text: str) -> str:
    if not re.match(r"(rediss?(\+(sentinel|cluster))?|unix)://", text):
        raise ValueError("expected redis://..., rediss://..., unix://..., or +sentinel or +cluster")
    return text


def _lease_s(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) not in LEASE_S:
        raise ValueError(f"expected seconds, from {LEASE_S[0]} to {LEASE_S[-1]}")
    return int(text)


def _granted_s(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise ValueError("expected seconds, from 1 to 9999")
    return int(text)


def _threads(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise ValueError("expected a number of threads, from 1 to 9999")
    return int(text)


def _tick(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("expected `on` or `off`")
    return text == "on"


# Of each field its variable, and what makes a value of its text.
VARIABLES: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "fleet": ("OMS_FLEET", _fleet),
    "redis_url": ("OMS_REDIS_URL", _redis_url),
    "issuers_file": ("OMS_ISSUERS_FILE", Path),
    "fleet_file": ("OMS_FLEET_FILE", Path),
    "clouds_file": ("OS_CLIENT_CONFIG_FILE", Path),
    "marks_keys_file": ("OMS_MARKS_KEYS_FILE", Path),
    "lease_s": ("OMS_LEASE_S", _lease_s),
    "threads": ("THREADS", _threads),
    "tick": ("OMS_TICK", _tick),
    "granted_s": ("OMS_GRANTED_S", _granted_s),
}


# Those that can hold a secret: each may be in a file that the variable with `_FILE` names, as
# platforms mount secrets, so that nobody sees it who may look at the environment.
SECRET = ("OMS_REDIS_URL",)
SECRET_MAX_BYTES = 16 * 1024


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of this process; an empty variable counts as absent.

    Raises:
        ConfigurationError: a variable is wrong; names it and what was expected.
    """
    told: dict[str, Any] = {}
    for field, (variable, read) in VARIABLES.items():
        text = _text(environment, variable)
        if not text:
            continue
        try:
            told[field] = read(text)
        except ValueError as error:
            # Not chained, and never the value: it can hold a password.
            raise ConfigurationError("environment", variable, str(error)) from None
    return Settings(**told)


def _text(environment: Mapping[str, str], variable: str) -> str:
    """Return what is said of a variable, or '': in the environment, or in a file of secrets."""
    text, file = environment.get(variable, ""), environment.get(f"{variable}_FILE", "")
    if variable not in SECRET or not file:
        return text
    source = f"{variable}_FILE"
    if text:
        raise ConfigurationError("environment", source, f"expected that or {variable}, not both")
    try:
        return _content(Path(file))
    except OSError as error:
        said = f"cannot be read ({error.strerror})"
        raise ConfigurationError("environment", source, said) from None
    except ValueError as error:
        said = "expected UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigurationError("environment", source, said) from None


def _content(file: Path) -> str:
    """Return a secret without the end of its line."""
    with file.open("rb") as it:
        content = it.read(SECRET_MAX_BYTES + 1)
    if len(content) > SECRET_MAX_BYTES:
        raise ValueError(f"expected a file of at most {SECRET_MAX_BYTES} bytes")
    text = content.decode().strip()
    if not text:
        raise ValueError("expected a file that is not empty")
    return text
