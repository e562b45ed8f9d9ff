"""Clouds under one contract, a stub cloud that breaks over real sockets, and a simulated one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from openmultistack.clouds import Marks, ServerOrder
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.keyring import Keys
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.clouds.signing import Signing
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Flavor, Image, Network, Offer
from tests.support import rest
from tests.support import stub as stub_of_tests
from tests.support.places import Sim
from tests.support.rest import LABEL, Control, Region
from tests.support.stub import Stub

FLEET = "stub-fleet"
REGION = "stub/RegionOne"


@pytest.fixture(scope="session")
def stub_module() -> ModuleType:
    """Return the module of the stub."""
    return stub_of_tests


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Return a provider of our own making."""
    running = Stub()
    yield running
    running.close()


@pytest.fixture
def connect(tmp_path: Path) -> Callable[..., Any]:
    """Return what gives the stub's region, as it is when asked."""

    def cloud(stub: Stub, keys: Keys = lambda: KEYRING) -> Any:
        file = tmp_path / "clouds.yaml"
        file.write_text(stub.clouds_yaml())
        clouds = OpenStackClouds(file, {REGION: ("stub", "RegionOne")}, fleet=FLEET, keys=keys)
        return clouds.region(REGION)

    return cloud


@pytest.fixture
def signing(stub: Stub, connect: Callable[[Any], Any]) -> Signing:
    """Return what marks of servers in the stub's region are signed with, and for."""
    place = connect(stub).place().id
    stub.requests.clear()
    stub.bodies.clear()
    return Signing(KEYRING, FLEET, place)


@pytest.fixture
def order() -> ServerOrder:
    """Return an order that the stub takes."""
    return ServerOrder(
        marks=Marks(
            fleet=FLEET, instance_id="i-1", attempt=1, identity=Identity("alice", "ci", {}, 0, 1)
        ),
        offer=Offer(
            region=REGION,
            flavor=Flavor(id="f", name="small", vcpus=1, ram_mb=512, disk_gb=1),
            image=Image(id="i", name="debian"),
            network=Network(id="n", name="net"),
        ),
    )


@pytest.fixture(scope="session")
def rest_module() -> ModuleType:
    """Return the module that speaks to an OpenStack without an SDK."""
    return rest


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """Return a client that is closed at the end."""
    with httpx.Client(timeout=30) as client:
        yield client


@pytest.fixture
def control(http: httpx.Client, sim: Sim) -> Iterator[Control]:
    """Return the control of a simulation where nothing has happened."""
    http.post(f"{sim.url}/sim/reset").raise_for_status()
    yield Control(http, sim.url)
    http.post(f"{sim.url}/sim/reset").raise_for_status()


@pytest.fixture
def region(control: Control, sim: Sim) -> Region:
    """Return a region that is as at the start."""
    return Region(control.http, sim.clouds_file, LABEL)
