"""A create is sent once, whatever the options of the libraries say; every list ends."""

import json
from types import ModuleType
from typing import Any

import pytest

from openmultistack.clouds import ServerOrder
from openmultistack.clouds.openstack import asking, connections
from openmultistack.clouds.openstack.asking import listed
from openmultistack.domain.cloud_errors import CloudError, InDoubt, Unreachable
from tests.support.stub import Stub

SERVERS, KEYPAIRS = "POST /v2.1/servers", "POST /v2.1/os-keypairs"
MARKS = "POST /v2.1/servers/server-1/metadata"
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
# Each list there is: what is asked for it, what it is called, what is on it, and where it ends.
LISTS = {
    "servers": ("survey", "GET /v2.1/servers/detail", "servers"),
    "ids": ("present", "GET /v2.1/servers", "servers"),
    "keypairs": ("survey", "GET /v2.1/os-keypairs", "keypairs"),
    "flavors": ("catalogue", "GET /v2.1/flavors/detail", "flavors"),
    "images": ("catalogue", "GET /v2/images", "images"),
    "networks": ("catalogue", "GET /v2.0/networks", "networks"),
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
@pytest.mark.parametrize("fault", ["reset", "silence", 409, 429, 500, 503])
def test_no_option_of_a_library_repeats_what_makes_something(
    stub: Stub,
    connect: Any,
    order: ServerOrder,
    stub_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fault: str | int,
    path: str,
    prefix: str,
    in_region: bool,
) -> None:
    options = {prefix + name: it for name, it in REPEATING.items()}
    stub.usual_clouds_yaml = stub.clouds_yaml
    stub.clouds_yaml = lambda: clouds_yaml(stub, options, in_region=in_region)
    if isinstance(fault, str):
        monkeypatch.setattr(connections, "READ_TIMEOUT_S", 0.5)
        stub.answers[path] = stub_module.Answer(instead=fault)
    else:  # urllib3 would heed this
        stub.answers[path] = stub_module.html(fault)._replace(headers={"Retry-After": "0"})
    marks = order.marks._replace(identity=order.marks.identity._replace(has_keypair=True))
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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("asked", "act"),
    [
        (KEYPAIRS, lambda cloud, order: cloud.create(order._replace(ssh_public_key="ssh-rsa A"))),
        (MARKS, lambda cloud, order: cloud.mark("server-1", order.marks)),
        ("DELETE /v2.1/servers/server-1", lambda cloud, _: cloud.delete("server-1")),
    ],
    ids=["keypair", "marks", "delete"],
)
def test_what_leads_elsewhere_has_not_been_done(
    stub: Stub,
    connect: Any,
    order: ServerOrder,
    stub_module: ModuleType,
    *,
    asked: str,
    act: Any,
    status: int,
) -> None:
    stub.answers[asked] = stub_module.Answer(status, headers=ELSEWHERE)
    with pytest.raises(Unreachable, match=str(status)):
        act(connect(stub), order)
    assert (stub.requests.count(asked), stub.requests.count(SERVERS)) == (1, 0)


@pytest.mark.parametrize("fault", ["reset", 503])
def test_marks_are_written_once(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, fault: str | int
) -> None:
    stub.usual_clouds_yaml = stub.clouds_yaml
    stub.clouds_yaml = lambda: clouds_yaml(stub, REPEATING, in_region=False)
    if isinstance(fault, int):
        stub.answers[MARKS] = stub_module.html(fault)
    else:
        stub.answers[MARKS] = stub_module.Answer(instead=fault)
    with pytest.raises(CloudError):
        connect(stub).mark("server-1", order.marks)
    assert stub.requests.count(MARKS) == 1


@pytest.fixture
def whole(stub: Stub, stub_module: ModuleType) -> Stub:
    """Return the stub with a Glance and a Neutron beside its Nova, and nothing in them."""
    login = "POST /v3/auth/tokens"
    usual = stub._usual(login)  # noqa: SLF001  the token that it gives
    token = json.loads(usual.body)
    catalog = token["token"]["catalog"]
    for kind, version in (("image", "v2"), ("network", "v2.0")):
        (endpoint,) = catalog[1]["endpoints"]
        more = {"endpoints": [{**endpoint, "id": kind, "url": f"{stub.url}/{version}"}]}
        catalog.append({**catalog[1], "type": kind, "name": kind, "id": kind, **more})
    stub.answers[login] = usual._replace(body=json.dumps(token))
    for _, asked, field in LISTS.values():
        stub.answers[asked] = stub_module.Answer(200, json.dumps({field: []}))
    return stub


def page(stub_module: ModuleType, field: str, *ids: str, after: str | None = "x") -> Any:
    """Return a page that names the next one: as Glance does, or with a link as all others."""
    size = {"vcpus": 1, "ram": 512, "disk": 1}
    items: list[Any] = [{"id": it, "name": it, "status": "ACTIVE"} | size for it in ids]
    if field == "keypairs":
        items = [{"keypair": it} for it in items]
    href = f"http://elsewhere/{field}?marker={after}"
    links = [{"rel": "next", "href": href}] if after else []
    following = {"next": href if after else None} if field == "images" else {}
    return stub_module.Answer(200, json.dumps({field: items, f"{field}_links": links} | following))


@pytest.mark.parametrize(
    ("pages", "requests"),
    [([["a"]], 2), ([["a"], ["b"]], 3), ([["a"], []], 2), ([[]], 1), ([["a", "b"], ["b"]], 2)],
    ids=["one", "two", "empty", "only empty", "nothing new"],
)
@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_comes_round_is_a_failure_in_bounded_requests(
    whole: Stub, connect: Any, stub_module: ModuleType, name: str, pages: Any, requests: int
) -> None:
    look, asked, field = LISTS[name]
    made = [page(stub_module, field, *it) for it in pages]
    whole.answers[asked] = lambda: made[(whole.requests.count(asked) - 1) % len(made)]
    with pytest.raises(Unreachable, match=f"its list of {field} does not end"):
        getattr(connect(whole), look)()
    assert whole.requests.count(asked) == requests


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_all_of_its_pages_each_thing_once(
    whole: Stub, connect: Any, stub_module: ModuleType, name: str
) -> None:
    _, asked, field = LISTS[name]
    ends = [(["a", "b"], "b"), (["b", "c"], "c"), (["d"], None)]
    made = iter([page(stub_module, field, *ids, after=after) for ids, after in ends])
    whole.answers[asked] = lambda: next(made)
    with connect(whole)._sessions.opened() as session:  # noqa: SLF001  the lists as they are
        services = session.services
        service = {"images": services.image, "networks": services.network}.get(
            field, services.compute
        )
        path = "/" + asked.partition("/")[2].partition("/")[2]
        found = [str(it) for it in listed(service, path)]
    assert [next(c for c in "abcd" if f"'id': '{c}'" in it) for it in found] == list("abcd")
    assert [it.rpartition("marker=")[2] for it in whole.queries[asked]] == ["", "b", "c"]


@pytest.mark.parametrize("form", ["{}", "[1]", "[{}]", '[{"id": null}]', "null", "missing"])
@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_no_things_is_a_failure(
    whole: Stub, connect: Any, stub_module: ModuleType, name: str, form: str
) -> None:
    look, asked, field = LISTS[name]
    body = "{}" if form == "missing" else f'{{"{field}": {form}}}'
    whole.answers[asked] = stub_module.Answer(200, body)
    with pytest.raises(Unreachable, match=f"list of {field}"):
        getattr(connect(whole), look)()
    assert whole.requests.count(asked) == 1


@pytest.mark.parametrize("links", ["1", "[1]", '[{"rel": "next", "href": 1}]', '{"rel": "next"}'])
def test_a_link_that_is_none_is_a_failure(
    stub: Stub, connect: Any, stub_module: ModuleType, links: str
) -> None:
    stub.answers[DETAIL] = stub_module.Answer(200, f'{{"servers": [], "servers_links": {links}}}')
    with pytest.raises(Unreachable, match="has a link that is none"):
        connect(stub).active()


def test_a_list_has_no_more_pages_than_are_possible(
    stub: Stub, connect: Any, stub_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAGES_MAX", 5)
    stub.answers[DETAIL] = lambda: page(stub_module, "servers", str(len(stub.requests)))
    with pytest.raises(CloudError, match="over 5 pages"):
        connect(stub).active()
    assert stub.requests.count(DETAIL) == 5


def test_a_body_without_an_end_is_a_failure(
    stub: Stub, connect: Any, stub_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BODY_MAX_BYTES", 50_000)
    stub.answers[DETAIL] = stub_module.Answer(200, " " * 200_000 + '{"servers": []}')
    with pytest.raises(CloudError, match="does not end"):
        connect(stub).survey()
