"""Regions of a stub provider, and a fault proxy before them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from openmultistack.clouds import Marks, ServerOrder
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Flavor, Image, Network, Offer
from tests.support import stub as stub_of_tests
from tests.support.fault_proxy import FaultProxy
from tests.support.stub import Stub

FLEET = "faulty-fleet"
REGION = "stub/RegionOne"
SEED = 7


@pytest.fixture(scope="session")
def stub_module() -> ModuleType:
    """Return the module of the stub."""
    return stub_of_tests


@pytest.fixture(scope="session")
def standing_stub() -> Iterator[Stub]:
    """Return a provider of our own making, for all tests."""
    running = Stub()
    yield running
    running.close()


@pytest.fixture(scope="session")
def clouds_file(standing_stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clouds.yaml that leads to the stub."""
    file = tmp_path_factory.mktemp("direct") / "clouds.yaml"
    file.write_text(standing_stub.clouds_yaml())
    return file


@pytest.fixture(scope="session")
def proxied_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the clouds.yaml is that leads through `fault_proxy`."""
    return tmp_path_factory.mktemp("proxied") / "clouds.yaml"


@pytest.fixture(scope="session")
def standing_proxy(clouds_file: Path, proxied_file: Path) -> Iterator[FaultProxy]:
    """Return a proxy before the stub's region, for all tests."""
    proxy = FaultProxy.before(clouds_file, to=proxied_file, seed=SEED)
    yield proxy
    assert proxy.close() == 0


@pytest.fixture
def fault_proxy(standing_proxy: FaultProxy) -> FaultProxy:
    """Return the proxy as new: no rules, nothing counted."""
    standing_proxy.set_rules(REGION)
    return standing_proxy


@pytest.fixture
def stub(standing_stub: Stub) -> Stub:
    """Return the stub as new; what it counts was executed."""
    standing_stub.requests.clear()
    standing_stub.bodies.clear()
    standing_stub.answers.clear()
    return standing_stub


@pytest.fixture
def connect(fault_proxy: FaultProxy, proxied_file: Path) -> Callable[[], Any]:
    """Return what gives the region through the proxy, logged in and with nothing to discover."""

    def cloud() -> Any:
        regions = {REGION: ("stub", "RegionOne")}
        region = OpenStackClouds(proxied_file, regions, fleet=FLEET, keys=lambda: KEYRING).region(
            REGION
        )
        region.survey()
        return region

    assert fault_proxy.urls.keys() == {REGION}
    return cloud


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
