"""Vendor profiles that are fetched over the network: each holds up its own provider only.

An entry of clouds.yaml may name a profile by its address, and some that the sdk ships (`ovh`) are
nothing else. The sdk fetches it in the midst of reading its configuration; here it has it before.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from openstack.config import vendors

from openmultistack.clouds.openstack.connections import (
    Hosts,
    HostSession,
    ImpatientAdapter,
)
from openmultistack.domain.cloud_errors import BadAnswer, Unreachable

READ_TIMEOUT_S = 10.0
# A profile that could not be had is not asked for again for so long; a sweep comes more often.
FAILED_FOR_S = 15.0
_REDIRECTS_MAX = 3
_WELL_KNOWN = "/.well-known/openstack/api"


def remote_profile(config: Any, provider: str) -> str | None:  # noqa: ANN401  the sdk is untyped
    """Return the address of the profile that an entry of clouds.yaml rests on, if it has one.

    Asks nobody; call it under the lock that guards the sdk's configuration. What the machine's own
    clouds-public.yaml has is not asked for.
    """
    entry = config.cloud_config["clouds"].get(provider)
    name = entry.get("profile", entry.get("cloud")) if isinstance(entry, Mapping) else None
    _, own = config._load_vendor_file()  # noqa: SLF001  as the sdk looks for it
    if name in ((own or {}).get("public-clouds") or ()):
        return None
    if isinstance(name, str) and not urlsplit(name).netloc:
        name = (vendors.get_profile(name) or {}).get("profile")
    return name if isinstance(name, str) and urlsplit(name).netloc else None


def settle(address: str, told: Mapping[str, Any]) -> None:
    """Let the sdk have a profile as if it had fetched it; under the same lock.

    What it ships under the profile's own name goes before what was told, as the sdk has it. Unlike
    there the name leads to nothing new: a provider could take the place of another.
    """
    known = vendors._get_vendor_defaults()  # noqa: SLF001  where the sdk keeps what it fetched
    shipped = known.get(told["name"], {})
    profile = {**told["profile"], **shipped}
    profile["auth"] = {**told["profile"].get("auth", {}), **shipped.get("auth", {})}
    profile.pop("profile", None)
    known[address] = profile


class Profiles:
    """What was fetched in this process; safe to share, and one fetch at a time for an address."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._told: dict[str, Mapping[str, Any]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._locks: dict[str, threading.Lock] = {}

    def told(self, address: str) -> Mapping[str, Any]:
        """Return what the provider says of itself, fetched if nobody has done so yet.

        Raises:
            Unreachable: it could not be had, now or a moment ago.
        """
        with self._locks.setdefault(address, threading.Lock()):
            if address in self._told:
                return self._told[address]
            until, reason = self._failed.get(address, (0.0, ""))
            if time.monotonic() >= until:
                try:
                    self._told[address] = told = self._fetched(urlsplit(address))
                except (requests.RequestException, BadAnswer, ValueError) as error:
                    reason = f"its profile could not be had from {_shown(address)}: {_why(error)}"
                    self._failed[address] = (time.monotonic() + FAILED_FOR_S, reason)
                else:
                    return told
        raise Unreachable(reason)

    def _fetched(self, address: SplitResult) -> Mapping[str, Any]:
        with HostSession() as session:
            session.max_redirects = _REDIRECTS_MAX
            for scheme in ("http://", "https://"):
                session.mount(scheme, ImpatientAdapter(self._hosts))
            url = f"{address.scheme}://{address.netloc}{_WELL_KNOWN}"
            answer = session.get(url, timeout=READ_TIMEOUT_S)
        if not answer.ok:
            raise BadAnswer(f"it answered {answer.status_code}")
        found = answer.json()
        if not (
            isinstance(found, dict)
            and isinstance(found.get("name"), str)
            and isinstance(found.get("profile"), dict)
            and isinstance(found["profile"].get("auth", {}), dict)
        ):
            raise BadAnswer("its answer is no profile")
        return found


def _shown(address: str) -> str:
    """Return the host of an address, without what may be a secret in it."""
    return urlsplit(address).hostname or "there"


def _why(error: Exception) -> str:
    if isinstance(error, BadAnswer):
        return str(error)
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.Timeout):
        return f"no answer within {READ_TIMEOUT_S:.0f} s"
    if isinstance(error, requests.TooManyRedirects):
        return "it redirects without end"
    if isinstance(error, requests.JSONDecodeError):
        return "its answer is no profile"
    return "the address is none"
