"""The whole product on a real OpenStack: gateway, two replicas of each function, ledger, lab.

The timer's beat is set too slow to matter: tests sweep when they mean to, and count the sweeps.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fault_proxy import FaultProxy
from tests.support.product import ROOT, Product

KEEP = bool(os.environ.get("OMS_TEST_KEEP"))
SEED = 20261123


@pytest.fixture(scope="session")
def running(lab: Path, place: Any) -> Iterator[Product]:
    """The product, up; ended after the last test."""
    given = {"home": place.home, "port_base": place.ports.base}
    product = Product(lab, place, **given, variables={"CLOUDS": "", "FLEET": ""})
    product.stack("up")
    yield product
    product.close()
    if not KEEP:
        product.stack("down")


@pytest.fixture
def product(running: Product) -> Product:
    """The product with nothing in it: no servers, an empty ledger that knows its regions."""
    return _empty(running)


@pytest.fixture(scope="session")
def proxy(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A fault proxy before every region's Nova; `clouds_file` leads through it."""
    clouds_file = tmp_path_factory.mktemp("proxied") / "clouds.yaml"
    proxy = FaultProxy.before(lab, to=clouds_file, seed=SEED)
    proxy.clouds_file = clouds_file
    yield proxy
    assert proxy.close() == 0


@pytest.fixture(scope="session")
def running_faulty(
    lab: Path, place: Any, free_port: Callable[[], int], proxy: Any
) -> Iterator[Product]:
    """A second stack on the same laboratory, whose way to every Nova leads through the proxy."""
    fleet = yaml.safe_load((ROOT / "infra" / "local" / "fleet.yaml").read_text())
    # A Nova that is killed can lose its own order to build a server; that is not waited for long.
    fleet["regions"]["alpha/RegionTwo"]["build_timeout"] = 150
    fleet_file = proxy.clouds_file.with_name("fleet.yaml")
    fleet_file.write_text(yaml.safe_dump(fleet))
    variables = {
        "CLOUDS": str(proxy.clouds_file),
        "FLEET": str(fleet_file),
        "OMS_FLEET": "faulty",
    }
    given = {"home": place.home / "faulty", "port_base": free_port()}
    product = Product(lab, place, **given, variables=variables)
    product.stack("up")
    yield product
    product.close()
    product.stack("down")


@pytest.fixture
def faulty(running_faulty: Product, proxy: Any) -> Product:
    """The second stack with nothing in it, and a proxy that lets everything pass."""
    proxy.clear()
    return _empty(running_faulty)


@pytest.fixture(scope="session")
def running_changed(
    lab: Path,
    place: Any,
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Product]:
    """A stack on the same laboratory with a clouds.yaml and a fleet.yaml of its own, to change."""
    folder = tmp_path_factory.mktemp("changed")
    variables = {
        "CLOUDS": str(folder / "clouds.yaml"),
        "FLEET": str(folder / "fleet.yaml"),
        "OMS_FLEET": "changed",
        "REPLICAS": "1",
    }
    given = {"home": place.home / "changed", "port_base": free_port()}
    product = Product(lab, place, **given, variables=variables)
    yield product
    product.close()
    product.stack("down")


def _empty(product: Product) -> Product:
    product.wipe()
    states = product.regions()
    assert {it["state"] for it in states.values()} == {"up"}, json.dumps(states)
    return product
