"""A fleet on the simulated OpenStack, and functions that die between two steps."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from openmultistack.usecases import awaiting, deleting
from tests.support.crash import Ground


@pytest.fixture(scope="session")
def imported(zygote: Callable[..., Any]) -> Any:
    """What starts functions that die."""
    return zygote("httpx", "openmultistack.clouds.openstack.clouds", "openmultistack.wiring.app")


@pytest.fixture
def ground(
    sim: Any, valkey_port: int, imported: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    """A fleet of its own on the shared simulated OpenStack; what is left is taken away."""
    monkeypatch.setattr(deleting, "GONE_WITHIN_S", 0.0)
    monkeypatch.setattr(awaiting, "REPEAT_WAIT_S", 0.2)
    httpx.post(f"{sim.url}/sim/reset").raise_for_status()
    yield Ground(sim, valkey_port, imported)
    httpx.post(f"{sim.url}/sim/reset").raise_for_status()
