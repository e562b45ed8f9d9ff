"""The one table of functions: what each file of functions/ serves, and what it is given for that.

stack.yml, Kubernetes' manifests, the routes, the API's description and the tests go by it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from openmultistack.api import openapi
from openmultistack.api.calls import Endpoint
from openmultistack.api.endpoints import (
    create,
    description,
    health,
    instances,
    probes,
    reaper,
    regions,
    tokens,
)
from openmultistack.api.operations import Json
from openmultistack.api.problems import OURS, Dialect
from openmultistack.domain.bounds import THREADS
from openmultistack.wiring.parts import Parts
from openmultistack.wiring.settings import Settings

# What a platform gives a function, by the names of its secrets: every one verifies tokens and reads
# the ledger, and only those that call clouds have what leads there.
LEDGER_ONLY = ("issuers", "redis")
LEDGER_AND_FLEET = ("issuers", "fleet", "redis")
CLOUDS = ("issuers", "fleet", "redis", "clouds", "marks")


class Door(NamedTuple):
    """One function."""

    endpoints: Callable[[Parts], Sequence[Endpoint]]
    secrets: Sequence[str]
    # What of its configuration is read at its start, and refused there if it is bad; beside
    # issuers and the ledger's address.
    reads: Callable[[Parts], object] = lambda _: None
    dialect: Dialect = OURS
    threads: int = THREADS
    # How long requests in flight may take when it is ended. A create may take the 120 s that the
    # gateway gives it.
    graceful_s: int = 140
    # When its platform calls it by the clock, as five fields of cron.
    schedule: str | None = None

    def all_endpoints(self, parts: Parts) -> Sequence[Endpoint]:
        """Return its endpoints, those that every function has among them."""
        return [*self.endpoints(parts), probes.say_alive(), probes.say_ready(parts.ledger)]

    @property
    def calls_clouds(self) -> bool:
        """Whether it is given what leads to clouds."""
        return "clouds" in self.secrets


def _create(parts: Parts) -> Sequence[Endpoint]:
    import openmultistack.usecases.create  # noqa: F401  at start, not later

    return [create.create_instances(parts.use.creating)]


def _destroy(parts: Parts) -> Sequence[Endpoint]:
    return [
        instances.destroy_instance(parts.use.destroying),
        instances.destroy_labelled(parts.use.destroying),
        tokens.revoke_token(parts.ledger),
    ]


def _list(parts: Parts) -> Sequence[Endpoint]:
    return [
        instances.list_instances(parts.ledger),
        instances.show_instance(parts.ledger),
        instances.tell_story(parts.ledger),
        regions.list_regions(parts.ledger),
        tokens.list_tokens(parts.ledger),
        health.say_health(parts.ledger),
        health.show_metrics(parts.ledger),
        description.describe(describe),
    ]


def _renew(parts: Parts) -> Sequence[Endpoint]:
    return [instances.renew_instance(parts.ledger, parts.fleet_file)]


def _reap(parts: Parts) -> Sequence[Endpoint]:
    return [
        reaper.reap(parts.use.reaping),
        reaper.adopt_unverified(parts.use.vouching),
        reaper.destroy_copies(parts.use.vouching),
        regions.drain_regions(parts.use.draining),
        regions.open_regions(parts.use.draining),
        regions.forget_regions(parts.use.draining),
        *([_tick(parts)] if parts.settings.tick else []),
    ]


def _tick(parts: Parts) -> Endpoint:
    return probes.tick(parts.ledger, parts.use.reaping, parts.settings.granted_s)


DOORS = {
    "create": Door(_create, CLOUDS, lambda it: (it.fleet(), it.regions(), it.keyring())),
    # fleet.yaml is read when a slot is given on.
    "destroy": Door(_destroy, CLOUDS, lambda it: (it.regions(), it.keyring())),
    "list": Door(_list, LEDGER_ONLY),
    "renew": Door(_renew, LEDGER_AND_FLEET, lambda it: it.fleet_file()),
    # A sweep that is cut off loses nothing.
    "reap": Door(
        _reap,
        CLOUDS,
        lambda it: (it.fleet(), it.regions(), it.keyring()),
        graceful_s=30,
        schedule="*/1 * * * *",
    ),
}


def endpoints_of(name: str) -> Sequence[Endpoint]:
    """Return a function's endpoints, with nothing behind them: to be looked at, not to be run."""
    return DOORS[name].all_endpoints(Parts(Settings(tick=True)))


def describe() -> Json:
    """Return the description of the API that all functions with our dialect are together."""
    ours = [name for name, door in DOORS.items() if door.dialect is OURS]
    return openapi.document(it for name in ours for it in endpoints_of(name))
