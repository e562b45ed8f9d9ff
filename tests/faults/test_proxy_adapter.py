"""openstacksdk and our adapter through the fault proxy, led there by a clouds.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import openstack
import pytest
import yaml

from openmultistack.clouds import ServerOrder
from openmultistack.clouds.openstack import connections
from openmultistack.domain.cloud_errors import CloudError, InDoubt, Unreachable
from openmultistack.fleet.config import load_fleet
from tests.support.fault_proxy import FaultProxy, compute_endpoints, led_through
from tests.support.stub import Stub

Rule = Mapping[str, Any]
REGION = "stub/RegionOne"
CREATE = {"method": "POST", "path": "/servers"}


def test_every_link_leads_back_through_the_proxy(
    fault_proxy: FaultProxy, stub: Stub, proxied_file: Path
) -> None:
    url = fault_proxy.urls[REGION]
    document = httpx.get(url).json()
    assert document["version"]["links"][0]["href"] == url + "/"
    config = openstack.config.OpenStackConfig(config_files=[str(proxied_file)], load_envvars=False)
    with openstack.connection.Connection(config=config.get_one("stub")) as connection:
        before = len(stub.requests)
        found = connection.compute.get_endpoint_data()
        assert connection.compute.get_endpoint().rstrip("/") == url
        assert found.url.rstrip("/") == url
        assert found.max_microversion == (2, 90)
        assert list(connection.compute.servers()) == []
    computed = [it for it in stub.requests[before:] if "/v2.1" in it]
    assert "GET /v2.1/servers/detail" in computed
    assert fault_proxy.counts(REGION)["forwarded"] == 1 + len(computed)


def test_our_adapter_reaches_compute_by_the_proxy_alone(
    fault_proxy: FaultProxy, connect: Any, order: ServerOrder, stub: Stub
) -> None:
    stub.requests.clear()
    assert connect().create(order) == "server-1"
    assert stub.posts("/v2.1/servers") == 1
    computed = [it for it in stub.requests if "/v2.1" in it]
    assert fault_proxy.counts(REGION)["forwarded"] == len(computed)


@pytest.mark.parametrize(
    ("rule", "executed"),
    [
        ({"kind": "reset_before"}, 0),
        ({"kind": "reset_after"}, 1),
        ({"kind": "error_before", "status": 500}, 0),
        ({"kind": "error_before", "status": 502}, 0),
        ({"kind": "error_before", "status": 503}, 0),
        ({"kind": "error_after", "status": 500}, 1),
        ({"kind": "truncated"}, 1),
        ({"kind": "html", "status": 200, "executed": False}, 0),
        ({"kind": "html", "status": 502, "executed": True}, 1),
        ({"kind": "broken_body"}, 1),
    ],
    ids=str,
)
def test_what_may_have_been_executed_is_in_doubt_and_sent_once(
    fault_proxy: FaultProxy,
    connect: Any,
    order: ServerOrder,
    stub: Stub,
    rule: Rule,
    executed: int,
) -> None:
    cloud = connect()
    fault_proxy.set_rules(REGION, CREATE | rule)
    with pytest.raises(CloudError) as caught:
        cloud.create(order)
    assert type(caught.value) is InDoubt
    assert stub.posts("/v2.1/servers") == executed
    assert fault_proxy.counts(REGION)["done"] == {rule["kind"]: 1}


@pytest.mark.parametrize("executed", [False, True])
def test_silence_is_in_doubt(
    fault_proxy: FaultProxy,
    connect: Any,
    order: ServerOrder,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    *,
    executed: bool,
) -> None:
    cloud = connect()
    fault_proxy.set_rules(REGION, CREATE | {"kind": "hang", "executed": executed})
    monkeypatch.setattr(connections, "READ_TIMEOUT_S", 0.5)
    with pytest.raises(CloudError) as caught:
        cloud.create(order)
    assert type(caught.value) is InDoubt
    fault_proxy.wait_until_idle(REGION, requests=1)
    assert stub.posts("/v2.1/servers") == int(executed)
    assert fault_proxy.counts(REGION)["done"] == {"hang": 1}


@pytest.mark.parametrize("status", [429, 413])
def test_a_rate_limited_create_makes_nothing(
    fault_proxy: FaultProxy, connect: Any, order: ServerOrder, stub: Stub, status: int
) -> None:
    cloud = connect()
    fault_proxy.set_rules(REGION, CREATE | {"kind": "rate_limit", "status": status})
    with pytest.raises(CloudError):
        cloud.create(order)
    assert stub.posts("/v2.1/servers") == 0
    assert fault_proxy.counts(REGION)["done"]["rate_limit"] >= 1


def test_a_refused_connection_is_unreachable_and_works_again_after(
    fault_proxy: FaultProxy, connect: Any, order: ServerOrder, stub: Stub
) -> None:
    cloud = connect()
    fault_proxy.set_rules(REGION, {"kind": "refuse"})
    with pytest.raises(Unreachable):
        cloud.create(order)
    assert stub.posts("/v2.1/servers") == 0
    fault_proxy.clear()
    assert cloud.create(order) == "server-1"


def test_a_delayed_create_is_a_create(
    fault_proxy: FaultProxy, connect: Any, order: ServerOrder, stub: Stub
) -> None:
    cloud = connect()
    fault_proxy.set_rules(REGION, CREATE | {"kind": "delay", "delay_s": 0.2})
    assert cloud.create(order) == "server-1"
    assert stub.posts("/v2.1/servers") == 1
    assert fault_proxy.counts(REGION)["done"] == {"delay": 1}


def test_a_clouds_yaml_led_through_has_the_same_regions_and_values(tmp_path: Path) -> None:
    before = {
        "alpha": {
            "auth": {"auth_url": "http://k"},
            "regions": ["One", {"name": "Two", "values": {"own": "kept"}}],
        },
        "beta": {"auth": {"auth_url": "http://l"}, "region_name": "One", "verify": False},
    }
    urls = {"alpha/One": "http://p:1/v2.1", "alpha/Two": "http://p:2", "beta/One": "http://p:3"}
    file = tmp_path / "clouds.yaml"
    file.write_text(led_through(yaml.safe_dump({"clouds": before}), urls))
    assert load_fleet(file, None).regions.keys() == urls.keys()
    config = openstack.config.OpenStackConfig(config_files=[str(file)], load_envvars=False)
    for name, url in urls.items():
        provider, _, region = name.partition("/")
        assert config.get_one(provider, region_name=region).get_endpoint("compute") == url
    assert config.get_one("alpha", region_name="Two").config["own"] == "kept"
    assert config.get_one("beta").config["verify"] is False


def test_the_real_endpoint_comes_from_the_service_catalog(clouds_file: Path, stub: Stub) -> None:
    assert compute_endpoints(clouds_file) == {REGION: stub.compute_url}
