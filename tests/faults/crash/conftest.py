"""A fleet on the simulated OpenStack, and functions that die between two steps."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.crash import Ground


@pytest.fixture(scope="session")
def imported(zygote: Callable[..., Any]) -> Any:
    """What starts functions that die."""
    return zygote("httpx", "openmultistack.clouds.openstack.clouds", "openmultistack.wiring.app")


@pytest.fixture
def ground(sim: Any, valkey_port: int, imported: Any) -> Iterator[Ground]:
    """A fleet of its own on the shared simulated OpenStack; what is left is taken away."""
    httpx.post(f"{sim.url}/sim/reset").raise_for_status()
    yield Ground(sim, valkey_port, imported)
    httpx.post(f"{sim.url}/sim/reset").raise_for_status()
