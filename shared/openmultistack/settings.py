"""The environment, read once: what a function process is told by its platform."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from openmultistack.errors import ConfigurationError
from openmultistack.models import Frozen


class Settings(Frozen):
    """What the environment says; each field is a variable in capitals, `OMS_` before it."""

    # Name of the fleet: servers carry it, and all keys of the ledger.
    fleet: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$")
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        pattern=r"^(rediss?(\+(sentinel|cluster))?|unix)://",
    )
    # Without this file nobody is let in.
    issuers_file: Path | None = None
    fleet_file: Path | None = None
    # OS_CLIENT_CONFIG_FILE, as openstacksdk names it.
    clouds_file: Path | None = None
    # How long an attempt may stay unproven; a POST alone may take 35 s of it.
    lease_s: int = Field(default=120, ge=45, le=3600)


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of this process; an empty variable counts as absent.

    Raises:
        ConfigurationError: a variable is wrong; names it and what was expected.
    """
    names = {name: f"OMS_{name.upper()}" for name in Settings.model_fields}
    names["clouds_file"] = "OS_CLIENT_CONFIG_FILE"
    given = {field: environment[name] for field, name in names.items() if environment.get(name)}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        fault = error.errors()[0]
        name = names[str(fault["loc"][0])]
        # Not chained: the value can hold a password, and a traceback would show it.
        expected = fault["msg"]
    raise ConfigurationError("environment", name, expected)
