"""Which requests meet a fault of the proxy, and which pass."""

import ssl
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.stub import Stub

Rule = Mapping[str, Any]
REGION = "stub/RegionOne"
CREATE = {"method": "POST", "path": "/servers"}
# Enough for a machine that is very busy; nothing waits as long.
WITHIN_S = 180
# To read the machine's certificates is most of what a request costs.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def post(proxy: FaultProxy, path: str = "/servers") -> httpx.Response:
    """Ask for a server without openstacksdk, on a connection of its own."""
    return httpx.post(
        proxy.urls[REGION] + path, json={"server": {}}, timeout=WITHIN_S, verify=NO_TLS
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


def test_another_seed_has_other_faults(fault_proxy: FaultProxy, stub: Stub) -> None:
    rule = CREATE | {"kind": "reset_before", "share": 0.5}
    other = FaultProxy({REGION: stub.compute_url}, seed=8)
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
    assert httpx.get(fault_proxy.urls[REGION] + "/servers").status_code == 200
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
