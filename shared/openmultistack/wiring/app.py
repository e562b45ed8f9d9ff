"""The one wiring place: each function's handler, with what it needs made at its first request."""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from openmultistack.domain.errors import ConfigurationError
from openmultistack.wiring.lean_imports import lean_imports
from openmultistack.wiring.settings import Settings, load_settings

if TYPE_CHECKING:  # each function imports what it needs, when it needs it: a cold start is short
    from openmultistack.api.door import Handler
    from openmultistack.auth.believed import Believed
    from openmultistack.auth.callers import Callers
    from openmultistack.auth.issuers import Issuer
    from openmultistack.clouds import Clouds
    from openmultistack.clouds.keyring import Keyring, KeyringFile
    from openmultistack.fleet.config import Fleet, FleetFile
    from openmultistack.fleet.files import CloudsFile, Regions
    from openmultistack.fleet.source import RegionSource, RulesFile
    from openmultistack.ledger import Address, Ledger
    from openmultistack.provision.arriving import Arriving
    from openmultistack.provision.attempts import Attempts
    from openmultistack.provision.dequeuing import Serving
    from openmultistack.provision.leaving import Leaving
    from openmultistack.usecases.create import Creating
    from openmultistack.usecases.destroy import Destroying
    from openmultistack.usecases.drain import Draining
    from openmultistack.usecases.reap import Reaping
    from openmultistack.usecases.vouch import Vouching

# What one POST may take at worst: its connect and read timeouts, and a margin.
CREATE_CALL_BUDGET_S = 35.0


T = TypeVar("T")


@cache
def settings() -> Settings:
    """Return the environment's settings."""
    return load_settings()


@cache
def believed() -> "Believed":
    """Return who is believed, their keys read; without a file: nobody."""
    from openmultistack.auth.believed import Believed

    return Believed(settings().issuers_file)


def issuers() -> "Mapping[str, Issuer]":
    """Return the issuers believed now."""
    return believed().now()


@cache
def redis_address() -> "Address":
    """Return where Redis is."""
    from openmultistack.ledger import read_address

    return read_address(settings().redis_url)


@cache
def ledger() -> "Ledger":
    """Return the ledger."""
    from openmultistack.ledger import Ledger, connect

    client = connect(redis_address())
    return Ledger(client, settings().fleet, lease_ms=settings().lease_s * 1000)


@cache
def rules_file() -> "RulesFile":
    """Return where fleet.yaml is read again."""
    from openmultistack.fleet.source import RulesFile

    return RulesFile(settings().fleet_file)


def fleet_file() -> "FleetFile":
    """Return what the operator says of the fleet now; it holds no secrets."""
    return rules_file().now()


@cache
def region_source() -> "RegionSource":
    """Return where regions come from."""
    from openmultistack.fleet.source import FleetFiles

    return FleetFiles(clouds_file(), settings().fleet_file)


def fleet() -> "Fleet":
    """Return the fleet of now."""
    return region_source().now()


def of_fleet(make: "Callable[[Fleet], T]") -> "Callable[[], T]":
    """Return what gives a thing that goes by the fleet: made anew when that has changed."""
    made: tuple[Fleet, T] | None = None

    def current() -> "T":
        nonlocal made
        now = fleet()
        if made is None or made[0] is not now:
            made = now, make(now)
        return made[1]

    return current


def clouds_file() -> Path:
    """Return where clouds.yaml is.

    Raises:
        ConfigurationError: this function was not given one.
    """
    path = settings().clouds_file
    if path is None:
        raise ConfigurationError("environment", "OS_CLIENT_CONFIG_FILE", "expected a path")
    return path


@cache
def regions_file() -> "CloudsFile":
    """Return where clouds.yaml is read again."""
    from openmultistack.fleet.files import CloudsFile

    return CloudsFile(clouds_file())


def regions() -> "Regions":
    """Return all regions of clouds.yaml by now."""
    return regions_file().now()


@cache
def keyring_file() -> "KeyringFile":
    """Return the keys that servers' marks are signed with.

    Raises:
        ConfigurationError: this function was not given any, or they are not as they must be.
    """
    from openmultistack.clouds.keyring import NO_KEYS, KeyringFile

    path = settings().marks_keys_file
    if path is None:
        raise ConfigurationError("environment", "OMS_MARKS_KEYS_FILE", NO_KEYS)
    return KeyringFile(path)


def keyring() -> "Keyring":
    """Return the keys of now."""
    return keyring_file().now()


@cache
def clouds() -> "Clouds":
    """Return the regions' clouds; openstacksdk is imported when the first one is called."""
    from openmultistack.clouds import LateClouds

    def opened(regions: "Regions") -> "Clouds":
        with lean_imports():
            from openmultistack.clouds.openstack.clouds import OpenStackClouds

        # The sdk logs addresses and its own retries; what failed is in our own line.
        for name in ("openstack", "keystoneauth"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return OpenStackClouds(
            clouds_file(), regions, fleet=settings().fleet, keys=keyring, shelf=ledger()
        )

    return LateClouds(regions_file(), opened)


@cache
def arriving() -> "Arriving":
    """Return what looks after servers that are being built, in this process."""
    from openmultistack.provision.arriving import Arriving

    return Arriving(ledger(), clouds(), lambda region: fleet().shows_no_address(region))


@cache
def attempts() -> "Attempts":
    """Return what runs attempts, with the process' bound on each region."""
    from openmultistack.provision.attempts import Attempts

    lease_ms = settings().lease_s * 1000
    return Attempts(
        ledger(), clouds(), arriving(), lease_ms=lease_ms, call_budget_s=CREATE_CALL_BUDGET_S
    )


@of_fleet
def serving(fleet: "Fleet") -> "Serving":
    """Return what fills free slots from the queue."""
    from openmultistack.provision.dequeuing import Serving

    return Serving(ledger(), fleet, settings().fleet, attempts())


@cache
def leaving() -> "Leaving":
    """Return what looks after servers that are leaving, in this process."""
    from openmultistack.provision.leaving import Leaving

    return Leaving(ledger(), clouds(), lambda region: serving().serve(region))


@cache
def destroying() -> "Destroying":
    """Return the use case destroy."""
    from openmultistack.usecases.destroy import Destroying

    return Destroying(ledger(), clouds(), leaving())


@of_fleet
def creating(fleet: "Fleet") -> "Creating":
    """Return the use case create."""
    from openmultistack.usecases.create import Creating
    from openmultistack.usecases.waiting_room import WaitingRoom

    return Creating(
        ledger(),
        fleet,
        settings().fleet,
        arriving(),
        attempts(),
        destroying(),
        WaitingRoom(settings().threads),
    )


@of_fleet
def reaping(fleet: "Fleet") -> "Reaping":
    """Return the use case reap."""
    from openmultistack.usecases.reap import Reaping

    return Reaping(
        ledger(),
        fleet,
        settings().fleet,
        clouds(),
        attempts(),
        destroying=destroying(),
        serving=serving(),
        leaving=leaving(),
    )


@of_fleet
def draining(fleet: "Fleet") -> "Draining":
    """Return the use case of operators who drain and open regions."""
    from openmultistack.usecases.drain import Draining

    return Draining(ledger(), fleet, serving())


@of_fleet
def vouching(fleet: "Fleet") -> "Vouching":
    """Return the use case of operators who adopt what nothing proves, and end copies."""
    from openmultistack.usecases.vouch import Vouching

    return Vouching(ledger(), fleet, clouds(), reaping())


@cache
def callers() -> "Callers":
    """Return who names callers; nothing is opened before the first token."""
    from openmultistack.auth.callers import Callers
    from openmultistack.auth.register import Register

    return Callers(issuers, Register(ledger).use)


def create() -> "Handler":
    """Return the handler of functions/create.py."""
    with lean_imports():
        from openmultistack.api import door as http
        from openmultistack.api import endpoints
        from openmultistack.usecases import create as _  # noqa: F401  at start, not later

        refuse_bad_configuration(redis_address, issuers, fleet, keyring)
        return http.door("create", endpoints.create_endpoints(creating), callers())


def destroy() -> "Handler":
    """Return the handler of functions/destroy.py; fleet.yaml is read when a slot is given on."""
    with lean_imports():
        from openmultistack.api import door as http
        from openmultistack.api import endpoints

        refuse_bad_configuration(redis_address, issuers, regions, keyring)
        return http.door("destroy", endpoints.destroy_endpoints(destroying, ledger), callers())


def list_() -> "Handler":
    """Return the handler of functions/list.py."""
    with lean_imports():
        from openmultistack.api import door as http
        from openmultistack.api import endpoints

        refuse_bad_configuration(redis_address, issuers)
        return http.door("list", endpoints.list_endpoints(ledger), callers())


def renew() -> "Handler":
    """Return the handler of functions/renew.py."""
    with lean_imports():
        from openmultistack.api import door as http
        from openmultistack.api import endpoints

        refuse_bad_configuration(redis_address, issuers, fleet_file)
        return http.door("renew", endpoints.renew_endpoints(ledger, fleet_file), callers())


def reap() -> "Handler":
    """Return the handler of functions/reap.py."""
    with lean_imports():
        from openmultistack.api import door as http
        from openmultistack.api import endpoints

        refuse_bad_configuration(redis_address, issuers, fleet, keyring)
        return http.door("reap", endpoints.reap_endpoints(reaping, draining, vouching), callers())


def refuse_bad_configuration(*read: Callable[[], object]) -> None:
    """End a function that is starting, with one sentence, if its configuration is bad."""
    try:
        for each in read:
            each()
    except ConfigurationError as error:
        raise SystemExit(f"refused to start: {error}") from None
