"""Writes the services' configuration files from the templates in conf/."""

import base64
import os
import secrets
from pathlib import Path
from string import Template

from errors import LabError
from layout import Lab, replace_text
from topology import COMPUTE_HOST, HOST, PASSWORD, Region

TEMPLATES = Path(__file__).with_name("conf")
DEFAULT_QUOTA_INSTANCES = 20
# service -> its file; upstream's programs look for just these names
FILES = {
    "keystone": "keystone.conf",
    "placement": "placement.conf",
    "glance": "glance-api.conf",
    "neutron": "neutron.conf",
    "nova": "nova.conf",
}
# What Glance, Nova and Neutron expect to be there.
DIRECTORIES = (
    "log",
    "locks",
    "conf",
    "glance/images",
    "glance/staging",
    "glance/tasks",
    "glance/cache",
    "nova/instances",
    "neutron",
)


def write(lab: Lab, service: str, region: Region, state: Path, database_url: str) -> Path:
    """Write one service's file below its state directory, with the directories it names.

    The URLs of the databases are `database_url` with an underscore and their names. Keystone has no
    region; for it any of its provider's will do.
    """
    for directory in DIRECTORIES:
        (state / directory).mkdir(parents=True, exist_ok=True)
    if service == "keystone":
        write_keys(state / "fernet-keys")
        write_keys(state / "credential-keys")
    values = {
        "name": service,
        "host": HOST,
        "venv": str(lab.venv),
        "state_dir": str(state),
        "log_dir": str(state / "log"),
        "database": database_url,
        **region_values(lab, region),
    }
    template = Template((TEMPLATES / FILES[service]).read_text())
    target = state / "conf" / FILES[service]
    replace_text(target, template.substitute(values))
    return target


def region_values(lab: Lab, region: Region) -> dict[str, str]:
    """What depends on the region, or on the environment of `up`."""
    login = {
        "auth_type": "password",
        "auth_url": lab.keystone_url(region.provider),
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "project_name": "service",
        "password": PASSWORD,
    }
    token_checks = {
        "www_authenticate_uri": lab.keystone_url(region.provider),
        "region_name": region.name,
        "cache": "swift.cache",  # the WSGI environment's key: see inside/serve.py
        "service_token_roles_required": "true",
        "service_token_roles": "service",
    }
    return {
        "region": region.name,
        "compute_host": COMPUTE_HOST,
        "glance_url": lab.service_url(region, "glance"),
        "client_auth": options(login),
        "authtoken": options(login | token_checks),
        "quota_instances": str(quota_instances()),
        "count_from_placement": os.environ.get("LAB_COUNT_FROM_PLACEMENT") or "false",
    }


def quota_instances() -> int:
    """How many instances Nova allows the project in each region: $LAB_QUOTA, or 20."""
    text = os.environ.get("LAB_QUOTA") or str(DEFAULT_QUOTA_INSTANCES)
    if not text.isdecimal():
        raise LabError(f"LAB_QUOTA must be a number of instances, not {text!r}")
    return int(text)


def options(values: dict[str, str]) -> str:
    """Lines of a configuration file."""
    return "\n".join(f"{name} = {value}" for name, value in values.items())


def write_keys(repository: Path) -> None:
    """Make the keys that `keystone-manage fernet_setup` would: a staged and a primary one."""
    repository.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("0", "1"):
        if not (repository / name).exists():
            key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            replace_text(repository / name, key)
