"""A create is sent once, whatever the options of the libraries say; every list ends."""

import json
from types import ModuleType
from typing import Any

import pytest

from openmultistack.clouds import ServerOrder, connections, documents
from openmultistack.errors import CloudError, InDoubt

Stub = Any  # conftest's own; test modules do not import one another
SERVERS, KEYPAIRS = "POST /v2.1/servers", "POST /v2.1/os-keypairs"
DETAIL = "GET /v2.1/servers/detail"
ELSEWHERE = {"Location": "/v2.1/servers"}
# Every option by which keystoneauth's adapter and openstacksdk's configuration repeat a request.
REPEATING = {
    "connect_retries": 2,
    "connect_retry_delay": 0.01,
    "status_code_retries": 2,
    "status_code_retry_delay": 0.01,
    "retriable_status_codes": [401, 403, 409, 429, 500, 502, 503, 504],
}


def clouds_yaml(stub: Stub, options: dict[str, Any], *, in_region: bool) -> str:
    """Return the stub's clouds.yaml with options of a provider, or of its region alone."""
    document = json.loads(stub.usual_clouds_yaml())
    entry = document["clouds"]["stub"]
    if in_region:
        entry["regions"] = [{"name": "RegionOne", "values": options}]
    else:
        entry |= options
    return json.dumps(document)


@pytest.mark.parametrize("in_region", [False, True], ids=["provider", "region"])
@pytest.mark.parametrize("prefix", ["", "compute_"])
@pytest.mark.parametrize("path", [SERVERS, KEYPAIRS])
@pytest.mark.parametrize("fault", ["reset", 409, 429, 500, 503])
def test_no_option_of_a_library_repeats_what_makes_something(
    stub: Stub,
    connect: Any,
    order: ServerOrder,
    stub_module: ModuleType,
    *,
    fault: str | int,
    path: str,
    prefix: str,
    in_region: bool,
) -> None:
    options = {prefix + name: it for name, it in REPEATING.items()}
    stub.usual_clouds_yaml = stub.clouds_yaml
    stub.clouds_yaml = lambda: clouds_yaml(stub, options, in_region=in_region)
    broken = stub_module.Answer(instead="reset")
    stub.answers[path] = broken if fault == "reset" else stub_module.html(fault)
    marks = order.marks._replace(keypair="k")
    keyed = order._replace(marks=marks, ssh_public_key="ssh-ed25519 AAAA")
    if (path, fault) == (KEYPAIRS, 409):  # it is there already
        connect(stub).create(keyed)
    else:
        with pytest.raises(CloudError):
            connect(stub).create(keyed)
    assert stub.requests.count(path) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_what_makes_something_follows_no_redirect(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, status: int
) -> None:
    stub.answers[SERVERS] = stub_module.Answer(status, headers=ELSEWHERE)
    with pytest.raises(InDoubt):
        connect(stub).create(order)
    assert stub.requests.count(SERVERS) == 1


def page(stub_module: ModuleType, *ids: str, after: str | None) -> Any:
    """Return a page of servers that names the next one."""
    servers = [{"id": it, "status": "ACTIVE"} for it in ids]
    document: dict[str, Any] = {"servers": servers}
    if after:
        link = {"rel": "next", "href": f"http://x/v2.1/servers/detail?marker={after}"}
        document["servers_links"] = [link]
    return stub_module.Answer(200, json.dumps(document))


@pytest.mark.parametrize(
    ("pages", "requests"),
    [([["a"]], 2), ([["a"], ["b"]], 3), ([["a"], []], 2), ([[]], 1)],
    ids=["one", "two", "empty", "only empty"],
)
@pytest.mark.parametrize("look", ["survey", "active"])
def test_a_list_that_comes_round_is_a_failure_in_bounded_requests(
    stub: Stub, connect: Any, stub_module: ModuleType, look: str, pages: Any, requests: int
) -> None:
    made = [page(stub_module, *it, after="x") for it in pages]
    stub.answers[DETAIL] = lambda: made[(stub.requests.count(DETAIL) - 1) % len(made)]
    with pytest.raises(CloudError, match="list of servers does not end"):
        getattr(connect(stub), look)()
    assert stub.requests.count(DETAIL) == requests


def test_a_list_has_no_more_pages_than_are_possible(
    stub: Stub, connect: Any, stub_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PAGES_MAX", 5)
    stub.answers[DETAIL] = lambda: page(stub_module, str(len(stub.requests)), after="x")
    with pytest.raises(CloudError, match="over 5 pages"):
        connect(stub).active()
    assert stub.requests.count(DETAIL) == 5


@pytest.mark.parametrize("items", ["{}", "[1]", "[{}]", '[{"id": null}]', "null"])
def test_a_list_of_no_things_is_a_failure(
    stub: Stub, connect: Any, stub_module: ModuleType, items: str
) -> None:
    stub.answers[DETAIL] = stub_module.Answer(200, f'{{"servers": {items}}}')
    with pytest.raises(CloudError, match="list of servers"):
        connect(stub).survey()


def test_a_body_without_an_end_is_a_failure(
    stub: Stub, connect: Any, stub_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BODY_MAX_BYTES", 50_000)
    stub.answers[DETAIL] = stub_module.Answer(200, " " * 200_000 + '{"servers": []}')
    with pytest.raises(CloudError, match="does not end"):
        connect(stub).survey()
