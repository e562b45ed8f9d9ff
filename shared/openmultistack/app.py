"""The one wiring place: each function's handler, with what it needs made at its first request."""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from openmultistack import endpoints
from openmultistack.errors import ConfigurationError
from openmultistack.fleet import Fleet, FleetFile, load_fleet, load_fleet_file
from openmultistack.http import Handler, door
from openmultistack.ledger import Address, Ledger, connect, read_address
from openmultistack.principal import Issuer, load_issuers
from openmultistack.settings import Settings, load_settings

if TYPE_CHECKING:  # imported by those who need it, at their first request: a cold start is short
    from openmultistack.arriving import Arriving
    from openmultistack.attempts import Attempts
    from openmultistack.clouds import Clouds
    from openmultistack.creating import Creating
    from openmultistack.draining import Draining
    from openmultistack.instances import Destroying
    from openmultistack.leaving import Leaving
    from openmultistack.reaper import Reaping
    from openmultistack.serving import Serving

# What one POST may take at worst: its connect and read timeouts, and a margin.
CREATE_CALL_BUDGET_S = 35.0


@cache
def settings() -> Settings:
    """Return the environment's settings."""
    return load_settings()


@cache
def issuers() -> Mapping[str, Issuer]:
    """Return who is believed, their keys read; without a file: nobody."""
    path = settings().issuers_file
    believed = load_issuers(path) if path else {}
    for issuer in believed.values():
        _ = issuer.keys  # a key file that cannot be used is refused at start, too
    return believed


@cache
def redis_address() -> Address:
    """Return where Redis is."""
    return read_address(settings().redis_url)


@cache
def ledger() -> Ledger:
    """Return the ledger."""
    client = connect(redis_address())
    return Ledger(client, settings().fleet, lease_ms=settings().lease_s * 1000)


@cache
def fleet_file() -> FleetFile:
    """Return what the operator says of the fleet; it holds no secrets."""
    path = settings().fleet_file
    return load_fleet_file(path) if path else FleetFile()


@cache
def fleet() -> Fleet:
    """Return the configured fleet."""
    return load_fleet(clouds_file(), settings().fleet_file)


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
def clouds() -> "Clouds":
    """Return the regions' clouds; openstacksdk is imported when the first one is called."""
    from openmultistack.clouds import LateClouds

    regions = {it.name: (it.provider, it.region) for it in fleet().regions.values()}

    def opened() -> "Clouds":
        from openmultistack.clouds.openstack import OpenStackClouds

        # The sdk logs addresses and its own retries; what failed is in our own line.
        for name in ("openstack", "keystoneauth"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return OpenStackClouds(clouds_file(), regions, fleet=settings().fleet, shelf=ledger())

    return LateClouds(list(regions), opened)


@cache
def arriving() -> "Arriving":
    """Return what looks after servers that are being built, in this process."""
    from openmultistack.arriving import Arriving

    return Arriving(ledger(), clouds())


@cache
def attempts() -> "Attempts":
    """Return what runs attempts, with the process' bound on each region."""
    from openmultistack.attempts import Attempts

    lease_ms = settings().lease_s * 1000
    return Attempts(
        ledger(), clouds(), arriving(), lease_ms=lease_ms, call_budget_s=CREATE_CALL_BUDGET_S
    )


@cache
def serving() -> "Serving":
    """Return what fills free slots from the queue."""
    from openmultistack.serving import Serving

    return Serving(ledger(), fleet(), settings().fleet, attempts())


@cache
def leaving() -> "Leaving":
    """Return what looks after servers that are leaving, in this process."""
    from openmultistack.leaving import Leaving

    return Leaving(ledger(), clouds(), lambda region: serving().serve(region))


@cache
def destroying() -> "Destroying":
    """Return the use case destroy."""
    from openmultistack.instances import Destroying

    return Destroying(ledger(), clouds(), settings().fleet, leaving())


@cache
def creating() -> "Creating":
    """Return the use case create."""
    from openmultistack.creating import Creating

    return Creating(ledger(), fleet(), settings().fleet, arriving(), attempts(), destroying())


@cache
def reaping() -> "Reaping":
    """Return the use case reap."""
    from openmultistack.reaper import Reaping

    return Reaping(
        ledger(),
        fleet(),
        settings().fleet,
        clouds(),
        attempts(),
        destroying=destroying(),
        serving=serving(),
        leaving=leaving(),
    )


@cache
def draining() -> "Draining":
    """Return the use case of operators who drain and open regions."""
    from openmultistack.draining import Draining

    return Draining(ledger(), fleet(), serving())


def create() -> Handler:
    """Return the handler of functions/create.py."""
    refuse_bad_configuration(redis_address, issuers, fleet)
    return door("create", endpoints.create_endpoints(creating), issuers)


def destroy() -> Handler:
    """Return the handler of functions/destroy.py."""
    refuse_bad_configuration(redis_address, issuers, fleet)
    return door("destroy", endpoints.destroy_endpoints(destroying), issuers)


def list_() -> Handler:
    """Return the handler of functions/list.py."""
    refuse_bad_configuration(redis_address, issuers)
    return door("list", endpoints.list_endpoints(ledger), issuers)


def renew() -> Handler:
    """Return the handler of functions/renew.py."""
    refuse_bad_configuration(redis_address, issuers, fleet_file)
    return door("renew", endpoints.renew_endpoints(ledger, fleet_file), issuers)


def reap() -> Handler:
    """Return the handler of functions/reap.py."""
    refuse_bad_configuration(redis_address, issuers, fleet)
    return door("reap", endpoints.reap_endpoints(reaping, draining), issuers)


def refuse_bad_configuration(*read: Callable[[], object]) -> None:
    """End a function that is starting, with one sentence, if its configuration is bad."""
    try:
        for each in read:
            each()
    except ConfigurationError as error:
        raise SystemExit(f"refused to start: {error}") from None
