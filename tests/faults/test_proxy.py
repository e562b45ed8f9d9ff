"""The fault proxy: what a client sees of each kind, what the cloud does, what our adapter says."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import openstack
import pytest
import yaml

from openmultistack.clouds import ServerOrder
from openmultistack.clouds import openstack as adapter
from openmultistack.errors import CloudError, InDoubt, Unreachable
from openmultistack.fleet.config import load_fleet

Stub = FaultProxy = Rule = Any  # conftest's own; test modules do not import one another
REGION = "stub/RegionOne"
CREATE = {"method": "POST", "path": "/servers"}
# Enough for a machine that is very busy; nothing waits as long.
WITHIN_S = 30
# To read the machine's certificates is most of what a request costs.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def nobodys_port() -> Iterator[int]:
    """Return a port where connections are refused, held so that nobody else listens on it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def post(proxy: FaultProxy, path: str = "/servers", timeout_s: float = WITHIN_S) -> httpx.Response:
    """Ask for a server without openstacksdk, on a connection of its own."""
    return httpx.post(
        proxy.urls[REGION] + path, json={"server": {}}, timeout=timeout_s, verify=NO_TLS
    )


def seen(proxy: FaultProxy, requests: int) -> str:
    """Return a letter for each of some requests in turn: r for a reset, 2 or 5 for an answer."""
    letters = ""
    for _ in range(requests):
        try:
            letters += str(post(proxy).status_code)[0]
        except httpx.ReadError:
            letters += "r"
    return letters


def wait_until(holds: Callable[[], bool]) -> None:
    """Return when it holds, or fail."""
    until = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


# ---------------------------------------------------------------- what a plain client sees


def test_without_rules_everything_passes(fault_proxy: FaultProxy, stub: Stub) -> None:
    answer = post(fault_proxy)
    assert (answer.status_code, answer.json()) == (202, {"server": {"id": "server-1"}})
    assert answer.headers["Content-Type"] == "application/json"
    assert stub.bodies[-1] == {"server": {}}
    assert post(fault_proxy, "/nowhere?a=%2F").status_code == 404
    counts = fault_proxy.counts(REGION)
    assert counts == {"requests": 2, "forwarded": 2, "open": 0, "done": {"pass": 2}}


def test_a_delay_passes_and_then_the_request(fault_proxy: FaultProxy, stub: Stub) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "delay", "delay_s": 0.4})
    began = time.monotonic()
    assert post(fault_proxy).status_code == 202
    assert time.monotonic() - began > 0.39
    assert stub.posts("/v2.1/servers") == 1
    assert fault_proxy.counts(REGION)["done"] == {"delay": 1}


@pytest.mark.parametrize(("kind", "executed"), [("reset_before", 0), ("reset_after", 1)])
def test_a_reset_is_a_reset(fault_proxy: FaultProxy, stub: Stub, kind: str, executed: int) -> None:
    """RST, not FIN: a plain socket hears ECONNRESET, where an orderly end reads as nothing."""
    fault_proxy.set_rules(REGION, CREATE | {"kind": kind})
    url = httpx.URL(fault_proxy.urls[REGION])
    request = f"POST {url.path}/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
    with socket.create_connection((url.host, url.port), WITHIN_S) as connection:
        connection.sendall(request.encode())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert stub.posts("/v2.1/servers") == executed
    assert fault_proxy.counts(REGION)["forwarded"] == executed


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize(("kind", "executed"), [("error_before", 0), ("error_after", 1)])
def test_an_error_has_its_status_and_novas_words(
    fault_proxy: FaultProxy, stub: Stub, kind: str, executed: int, status: int
) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": kind, "status": status})
    answer = post(fault_proxy)
    assert answer.status_code == status
    assert answer.json()["computeFault"]["code"] == status
    assert stub.posts("/v2.1/servers") == executed


@pytest.mark.parametrize("status", [429, 413])
def test_a_rate_limit_says_when_to_come_again(
    fault_proxy: FaultProxy, stub: Stub, status: int
) -> None:
    rule = {"kind": "rate_limit", "status": status, "retry_after_s": 17}
    fault_proxy.set_rules(REGION, CREATE | rule)
    answer = post(fault_proxy)
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "17")
    assert stub.posts("/v2.1/servers") == 0


def test_a_truncated_answer_ends_before_its_length(fault_proxy: FaultProxy, stub: Stub) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "truncated"})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message"):
        post(fault_proxy)
    assert stub.posts("/v2.1/servers") == 1


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("executed", [False, True])
def test_html_is_what_a_proxy_says(
    fault_proxy: FaultProxy, stub: Stub, status: int, *, executed: bool
) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "html", "status": status, "executed": executed})
    answer = post(fault_proxy)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.text.startswith("<html>")
    assert stub.posts("/v2.1/servers") == int(executed)


def test_a_broken_body_accepts_and_names_nothing(fault_proxy: FaultProxy, stub: Stub) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "broken_body"})
    answer = post(fault_proxy)
    assert answer.status_code == 202
    assert "id" not in answer.json()["server"]
    assert stub.posts("/v2.1/servers") == 1


@pytest.mark.parametrize("executed", [False, True])
def test_a_hang_answers_nothing_and_ends_when_its_client_goes(
    fault_proxy: FaultProxy, stub: Stub, *, executed: bool
) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "hang", "executed": executed})
    url = httpx.URL(fault_proxy.urls[REGION])
    request = f"POST {url.path}/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
    with socket.create_connection((url.host, url.port), 0.5) as connection:
        connection.sendall(request.encode())
        with pytest.raises(TimeoutError):
            connection.recv(1)
        wait_until(lambda: fault_proxy.counts(REGION)["open"] == 1)
        wait_until(lambda: stub.posts("/v2.1/servers") == int(executed))
    wait_until(lambda: fault_proxy.counts(REGION)["open"] == 0)
    assert stub.posts("/v2.1/servers") == int(executed)
    assert fault_proxy.counts(REGION)["done"] == {"hang": 1}


def test_a_refusal_ends_what_is_open_and_is_over_on_the_same_port(
    fault_proxy: FaultProxy, stub: Stub
) -> None:
    with httpx.Client(base_url=fault_proxy.urls[REGION], timeout=WITHIN_S) as kept:
        assert kept.get("/limits").status_code == 200
        fault_proxy.set_rules(REGION, {"kind": "refuse"})
        with pytest.raises(httpx.ConnectError, match="refused"):
            kept.get("/limits")
        fault_proxy.clear()
        assert kept.get("/limits").status_code == 200
    assert stub.requests.count("GET /v2.1/limits") == 2


def test_a_target_that_is_gone_is_a_reset_and_counted_apart(
    fault_proxy_module: ModuleType, nobodys_port: int
) -> None:
    proxy = fault_proxy_module.FaultProxy({REGION: f"http://127.0.0.1:{nobodys_port}"})
    try:
        assert seen(proxy, 1) == "r"
        assert proxy.counts(REGION)["done"] == {"pass": 1, "target_failed": 1}
    finally:
        proxy.close()


# ---------------------------------------------------------------- rules


def test_the_same_seed_and_requests_meet_the_same_faults(fault_proxy: FaultProxy) -> None:
    rule = CREATE | {"kind": "reset_before", "share": 0.5}
    fault_proxy.set_rules(REGION, rule)
    once = seen(fault_proxy, 30)
    fault_proxy.set_rules(REGION, rule)
    assert seen(fault_proxy, 30) == once
    assert {"r", "2"} == set(once)
    assert fault_proxy.counts(REGION)["done"] == {
        "reset_before": once.count("r"),
        "pass": once.count("2"),
    }


def test_another_seed_has_other_faults(
    fault_proxy_module: ModuleType, fault_proxy: FaultProxy, stub: Stub
) -> None:
    rule = CREATE | {"kind": "reset_before", "share": 0.5}
    other = fault_proxy_module.FaultProxy({REGION: stub.compute_url}, seed=8)
    try:
        for proxy in (fault_proxy, other):
            proxy.set_rules(REGION, rule)
        assert seen(fault_proxy, 30) != seen(other, 30)
    finally:
        other.close()


def test_of_several_rules_the_first_that_matches_and_falls_counts(fault_proxy: FaultProxy) -> None:
    fault_proxy.set_rules(
        REGION,
        CREATE | {"kind": "reset_before", "first": 2},
        CREATE | {"kind": "truncated", "share": 0},
        CREATE | {"kind": "error_before"},
        {"kind": "html"},
    )
    assert seen(fault_proxy, 5) == "rr555"
    assert fault_proxy.counts(REGION)["done"] == {"reset_before": 2, "error_before": 3}


def test_a_rule_counts_for_its_method_and_its_whole_path(fault_proxy: FaultProxy) -> None:
    fault_proxy.set_rules(REGION, CREATE | {"kind": "error_before"})
    assert post(fault_proxy, "/servers?a=b").status_code == 503
    assert post(fault_proxy, "/servers/x").status_code == 404
    assert httpx.get(fault_proxy.urls[REGION] + "/servers").status_code == 404
    fault_proxy.set_rules(REGION, {"path": "/servers/.*", "kind": "error_before"})
    assert post(fault_proxy, "/servers/x/action").status_code == 503


def test_cleared_rules_pass_everything_and_leave_the_counts(fault_proxy: FaultProxy) -> None:
    fault_proxy.set_rules(REGION, {"kind": "error_before"})
    assert seen(fault_proxy, 2) == "55"
    fault_proxy.clear()
    assert seen(fault_proxy, 1) == "2"
    assert fault_proxy.counts(REGION)["done"] == {"error_before": 2, "pass": 1}


@pytest.mark.parametrize(
    "rules",
    [
        [{"kind": "unheard-of"}],
        [{"kind": "delay", "unheard_of": 1}],
        [{"kind": "error_before", "status": 202}],
        [{"kind": "reset_after", "executed": True}],
        [{"kind": "delay", "path": "("}],
        [{"kind": "refuse"}, {"kind": "delay"}],
    ],
)
def test_a_rule_that_means_nothing_is_refused_and_changes_nothing(
    fault_proxy: FaultProxy, rules: list[Rule]
) -> None:
    fault_proxy.set_rules(REGION, {"kind": "error_before"})
    answer = fault_proxy.control.put(f"/faults/{REGION}", json=rules)
    assert answer.status_code == 400
    assert seen(fault_proxy, 1) == "5"


def test_an_unknown_target_is_not_found(fault_proxy: FaultProxy) -> None:
    assert fault_proxy.control.get("/faults/stub/Elsewhere").status_code == 404


def test_a_fault_at_one_target_leaves_the_others_alone(
    fault_proxy_module: ModuleType, stub: Stub
) -> None:
    proxy = fault_proxy_module.FaultProxy({REGION: stub.compute_url, "other": stub.compute_url})
    try:
        proxy.set_rules(REGION, {"kind": "refuse"})
        assert httpx.post(proxy.urls["other"] + "/servers", verify=NO_TLS).status_code == 202
        with pytest.raises(httpx.ConnectError):
            post(proxy)
    finally:
        assert proxy.close() == 0


def test_it_ends_at_once_even_with_a_hang(fault_proxy_module: ModuleType, stub: Stub) -> None:
    proxy = fault_proxy_module.FaultProxy({REGION: stub.compute_url})
    proxy.set_rules(REGION, {"kind": "hang"})
    with pytest.raises(httpx.ReadTimeout):
        post(proxy, timeout_s=0.2)
    assert proxy.close() == 0


def test_a_proxy_that_does_not_come_up_says_so(fault_proxy_module: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="did not come up"):
        fault_proxy_module.FaultProxy({})


# ---------------------------------------------------------------- openstacksdk and our adapter


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
    monkeypatch.setattr(adapter, "READ_TIMEOUT_S", 0.5)
    with pytest.raises(CloudError) as caught:
        cloud.create(order)
    assert type(caught.value) is InDoubt
    wait_until(lambda: fault_proxy.counts(REGION)["open"] == 0)
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


# ---------------------------------------------------------------- clouds.yaml


def test_a_clouds_yaml_led_through_has_the_same_regions_and_values(
    fault_proxy_module: ModuleType, tmp_path: Path
) -> None:
    before = {
        "alpha": {
            "auth": {"auth_url": "http://k"},
            "regions": ["One", {"name": "Two", "values": {"own": "kept"}}],
        },
        "beta": {"auth": {"auth_url": "http://l"}, "region_name": "One", "verify": False},
    }
    urls = {"alpha/One": "http://p:1/v2.1", "alpha/Two": "http://p:2", "beta/One": "http://p:3"}
    file = tmp_path / "clouds.yaml"
    file.write_text(fault_proxy_module.led_through(yaml.safe_dump({"clouds": before}), urls))
    assert load_fleet(file, None).regions.keys() == urls.keys()
    config = openstack.config.OpenStackConfig(config_files=[str(file)], load_envvars=False)
    for name, url in urls.items():
        provider, _, region = name.partition("/")
        assert config.get_one(provider, region_name=region).get_endpoint("compute") == url
    assert config.get_one("alpha", region_name="Two").config["own"] == "kept"
    assert config.get_one("beta").config["verify"] is False


def test_the_real_endpoint_comes_from_the_service_catalog(
    fault_proxy_module: ModuleType, clouds_file: Path, stub: Stub
) -> None:
    assert fault_proxy_module.compute_endpoints(clouds_file) == {REGION: stub.compute_url}
