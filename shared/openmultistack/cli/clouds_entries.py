"""What `oms doctor` finds in clouds.yaml before anybody is called: slips of the pen, and risks."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from openmultistack.domain.errors import ConfigurationError
from openmultistack.fleet.files import has_application_credential, read_mapping

# What the ways to log in take, by keystoneauth's documentation.
AUTH_KEYS = (
    "auth_url", "username", "user_id", "password", "user_domain_id", "user_domain_name",
    "project_id", "project_name", "project_domain_id", "project_domain_name", "domain_id",
    "domain_name", "default_domain_id", "default_domain_name", "default_domain", "system_scope",
    "trust_id", "token", "passcode", "application_credential_id", "application_credential_name",
    "application_credential_secret", "tenant_id", "tenant_name",
)  # fmt: skip
RETRIES = re.compile(r"(.+_)?(connect_retries|status_code_retries)")
PLACEHOLDER = re.compile(r"\$\{?[A-Za-z_][A-Za-z0-9_]*\}?")

# Where, what, and how to mend it; without that it is only worth knowing.
Fault = tuple[str, str, str]


def faults(path: Path) -> Iterator[Fault]:
    """Give what is wrong or risky in each entry; no value of it is shown."""
    clouds = read_mapping(path).get("clouds")
    secure = _secure(path)
    for name, entry in clouds.items() if isinstance(clouds, Mapping) else ():
        if isinstance(entry, Mapping):
            more = secure.get(name)
            yield from _entry(f"clouds.{name}", entry, more if isinstance(more, Mapping) else {})


def _secure(path: Path) -> Mapping[str, Any]:
    """Return the entries of secure.yaml beside the file: its secrets may be there."""
    beside = path.with_name("secure.yaml")
    try:
        found = read_mapping(beside).get("clouds") if beside.exists() else None
    except ConfigurationError:
        found = None
    return found if isinstance(found, Mapping) else {}


def _entry(key: str, entry: Mapping[str, Any], secure: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _risks(key, entry)
    own = _merged(entry, secure)
    for where, value in _texts(key, {**entry, "auth": own.get("auth", {})}):
        if PLACEHOLDER.fullmatch(value):
            yield where, "is a variable that nobody puts a value in for", "write the value itself"
    told: set[Fault] = set()
    for where, way in _ways(key, entry, own):
        for fault in _auth(where, way):
            if fault not in told:
                told.add(fault)
                yield fault


def _risks(key: str, entry: Mapping[str, Any]) -> Iterator[Fault]:
    """Tell what is well as it is, and yet worth knowing; in the values of regions as well."""
    for where, said in ((key, entry), *_values(key, entry)):
        for name in said:
            if RETRIES.fullmatch(str(name)):
                yield f"{where}.{name}", "a create is sent once, whatever this says", ""
        if said.get("insecure") or said.get("verify") is False:
            yield where, "the cloud's certificate is not checked: passwords can be overheard", ""


def _values(key: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give what single regions say for themselves."""
    regions = entry.get("regions")
    for position, it in enumerate(regions if isinstance(regions, list) else ()):
        values = it.get("values") if isinstance(it, Mapping) else None
        if isinstance(values, Mapping):
            yield f"{key}.regions.{position}.values", values


def _ways(
    key: str, entry: Mapping[str, Any], own: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give each way to log in: the entry's, unless all regions have their own, and theirs."""
    theirs = [(where, it) for where, it in _values(key, entry) if it.get("auth")]
    regions = entry.get("regions")
    if len(theirs) < (len(regions) if isinstance(regions, list) and regions else 1):
        yield f"{key}.auth", own
    for where, values in theirs:
        yield f"{where}.auth", _merged(own, values)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with more laid over it, as the sdk does: `auth` key by key."""
    auth: dict[str, Any] = {}
    for part in (below.get("auth"), above.get("auth")):
        auth |= part if isinstance(part, Mapping) else {}
    return {**below, **above, "auth": auth}


def _auth(key: str, way: Mapping[str, Any]) -> Iterator[Fault]:
    auth = way["auth"]
    if "auth_type" not in way:
        yield from _misspelt(key, auth)
    if not (way.get("profile") or way.get("cloud")) and "auth_url" not in auth:
        yield key, "has no auth_url", "name the identity service: https://HOST:5000/v3"
    if not has_application_credential(auth) and "auth_type" not in way:
        for needed in (("username", "user_id"), ("password",)):
            if not any(it in auth for it in needed):
                yield key, f"has no {' or '.join(needed)}", f"set {needed[0]}"


def _misspelt(key: str, auth: Mapping[str, Any]) -> Iterator[Fault]:
    for name in auth:
        if name not in AUTH_KEYS:
            near = get_close_matches(str(name), AUTH_KEYS, n=1)
            meant = f"did you mean {near[0]}?" if near else "take it out, or name its auth_type"
            yield f"{key}.{name}", "is no key that a login takes", meant


def _texts(key: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, it in value.items():
            yield from _texts(f"{key}.{name}", it)
