"""Looks over real sockets: after a lost answer, after what is there, after left-over keypairs."""

import json
import re
import time
from contextlib import suppress
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from openmultistack.clouds import Attempted, Marks, ServerOrder
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.marks import metadata_of
from openmultistack.clouds.names import name_of
from openmultistack.clouds.openstack import servers
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import CloudError, InDoubt, RateLimited
from tests.support.stub import Stub

DETAIL, BRIEF = "GET /v2.1/servers/detail", "GET /v2.1/servers"
KEYPAIRS = "GET /v2.1/os-keypairs"
ANYWHERE = Signing(KEYRING, "stub-fleet", "p-anywhere")
OURS = "oms-stub-fleet-i-" + "0" * 26 + "-1"


def shown(server_id: str, marks: Marks, signing: Signing = ANYWHERE, **more: Any) -> dict[str, Any]:
    """Return a server as Nova shows it."""
    fields = {
        "id": server_id,
        "name": name_of(signing, marks.attempted),
        "status": "BUILD",
        "metadata": metadata_of(marks, signing),
        "addresses": {},
        "flavor": {"original_name": "small", "vcpus": 1, "ram": 512},
        "image": {"id": "i"},
    }
    return fields | more


def listing(stub_module: ModuleType, *servers: dict[str, Any]) -> Any:
    """Return the answer of Nova that lists these servers."""
    return stub_module.Answer(200, json.dumps({"servers": servers}))


def test_a_server_is_found_by_its_marks_and_not_by_its_name(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, signing: Signing
) -> None:
    marks = order.marks
    later = marks._replace(attempt=11)
    others = marks._replace(fleet="another")
    name = name_of(signing, marks.attempted)
    elsewhere = metadata_of(marks, signing._replace(place="p-elsewhere"))
    stub.answers[DETAIL] = listing(
        stub_module,
        shown("s-later", later, signing, name=name, created="1"),
        shown("s-others", others, signing._replace(fleet="another"), created="1"),
        shown("s-bare", marks, signing, metadata={}, created="1"),
        shown("s-elsewhere", marks, signing, metadata=elsewhere, created="1"),
        shown("s-copy", marks, signing, created="3"),
        shown("s-mine", marks, signing, created="2"),
    )
    found = connect(stub).find(marks)
    assert (found.id, found.marks) == ("s-mine", marks)
    assert connect(stub).find(marks._replace(attempt=2)) is None


def test_nova_is_asked_for_the_whole_name_and_once(
    stub: Stub, connect: Any, order: ServerOrder
) -> None:
    paths, answer = [], stub.answer

    def noting(handler: Any) -> None:
        paths.append(handler.path)
        answer(handler)

    stub.answer = noting
    assert connect(stub).find(order.marks) is None
    assert stub.requests.count(DETAIL) == 1
    (asked,) = parse_qs(urlsplit(paths[-1]).query)["name"]
    assert re.search(asked, "oms-stub-fleet-i-1-1-abcdefgh_-12")
    assert re.search(asked, "oms-i-1-1")  # as it was before names were signed
    for other in ("oms-i-1-11", "oms-stub-fleet-i-1-11-abcdefgh_-12", "my-oms-i-1-1", "oms-i-1-1x"):
        assert not re.search(asked, other)


def test_a_server_whose_create_was_under_way_before_marks_were_signed_is_found(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, signing: Signing
) -> None:
    unsigned = {
        "oms_fleet": "stub-fleet", "oms_instance": "i-1", "oms_attempt": "1", "oms_owner": "alice",
        "oms_name": "ci", "oms_created_at_ms": "0", "oms_expires_at_ms": "1",
    }  # fmt: skip
    there = shown("s-1", order.marks, signing, name="oms-i-1-1", metadata=unsigned)
    stub.answers[DETAIL] = listing(stub_module, there)
    assert connect(stub).find(order.marks).id == "s-1"


ODD_IDS = ["../os-keypairs/x", "a/b", "a?b", "a#b", "%2e%2e/x", "a b", "a;b"]
SENDING = {
    "delete": lambda cloud, it: cloud.delete(it),
    "show": lambda cloud, it: cloud.show(it),
    "forget_keypair": lambda cloud, it: cloud.forget_keypair(it),
}


@pytest.mark.parametrize("odd", ODD_IDS)
@pytest.mark.parametrize("act", SENDING)
def test_an_odd_id_stays_one_part_of_its_path(stub: Stub, connect: Any, act: str, odd: str) -> None:
    with suppress(CloudError):
        SENDING[act](connect(stub), odd)
    (asked,) = [it for it in stub.requests if quote(odd, safe="") in it]
    where = "os-keypairs" if act == "forget_keypair" else "servers"
    assert asked.split()[1] == f"/v2.1/{where}/{quote(odd, safe='')}"


@pytest.mark.parametrize("none", ["", ".", ".."])
@pytest.mark.parametrize("act", SENDING)
def test_what_cannot_be_an_id_is_not_sent(stub: Stub, connect: Any, act: str, none: str) -> None:
    with pytest.raises(CloudError, match="cannot be the id of anything"):
        SENDING[act](connect(stub), none)
    assert not [it for it in stub.requests if "DELETE" in it or "/servers" in it]


@pytest.mark.parametrize("instead", ["reset", "silence"])
def test_a_look_that_gets_no_answer_is_soon_over(
    stub: Stub,
    connect: Any,
    order: ServerOrder,
    stub_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    instead: str,
) -> None:
    monkeypatch.setattr(servers, "LOOK_TIMEOUT_S", 0.5)
    stub.answers[DETAIL] = stub_module.Answer(instead=instead)
    began = time.monotonic()
    with pytest.raises(CloudError):
        connect(stub).find(order.marks)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("body", ["{", "[]", "null", "{}"])
def test_a_look_that_is_answered_with_nonsense_finds_nothing_out(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, body: str
) -> None:
    stub.answers[DETAIL] = stub_module.Answer(200, body)
    with pytest.raises(CloudError):
        connect(stub).find(order.marks)


def test_all_servers_of_the_project_are_present(
    stub: Stub, connect: Any, stub_module: ModuleType
) -> None:
    assert connect(stub).present() == frozenset()
    servers = [{"id": it, "name": it, "links": []} for it in ("s-1", "s-2")]
    stub.answers[BRIEF] = listing(stub_module, *servers)
    assert connect(stub).present() == {"s-1", "s-2"}


def test_a_list_is_read_to_its_last_page_whatever_host_its_links_name(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType
) -> None:
    def page(*servers: str, after: str | None = None) -> Any:
        document: dict[str, Any] = {"servers": [shown(it, order.marks) for it in servers]}
        if after:
            href = f"http://known-inside-only:8774/v2.1/servers/detail?marker={after}"
            document["servers_links"] = [{"rel": "next", "href": href}]
        return stub_module.Answer(200, json.dumps(document))

    pages = iter([page("s-1", "s-2", after="s-2"), page("s-3", after="s-3"), page()])
    stub.answers[DETAIL] = lambda: next(pages)
    assert [it.id for it in connect(stub).survey().servers] == ["s-1", "s-2", "s-3"]
    assert stub.requests.count(DETAIL) == 3
    assert stub.queries[DETAIL] == ["", "marker=s-2", "marker=s-3"]


def test_of_what_is_active_nova_sends_nothing_else(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, signing: Signing
) -> None:
    stub.answers[DETAIL] = listing(stub_module, shown("s-1", order.marks, signing, status="ACTIVE"))
    assert [(it.id, it.marks) for it in connect(stub).active()] == [("s-1", order.marks)]
    assert stub.queries[DETAIL] == ["status=ACTIVE"]


@pytest.mark.parametrize("path", [BRIEF, KEYPAIRS, DETAIL])
def test_a_rate_limit_comes_through_on_lists(
    stub: Stub, connect: Any, stub_module: ModuleType, path: str
) -> None:
    stub.answers[path] = stub_module.html(429)._replace(headers={"Retry-After": "12"})
    with pytest.raises(RateLimited) as limited:
        connect(stub).present() if path == BRIEF else connect(stub).survey()
    assert limited.value.retry_after_s == 12


def test_a_survey_names_this_fleets_keypairs_only(
    stub: Stub, connect: Any, stub_module: ModuleType, signing: Signing
) -> None:
    signed = name_of(signing, Attempted("i-" + "0" * 26, 1))
    copied = name_of(signing._replace(place="p-elsewhere"), Attempted("i-" + "0" * 26, 1))
    forged = f"{OURS}-{'A' * 12}"
    others = [OURS.replace("stub-fleet", "another"), "laptop", "oms-stub-fleet", OURS + "-x"]
    others.append(name_of(signing._replace(fleet="another"), Attempted("i-" + "0" * 26, 1)))
    named = [OURS, signed, copied, forged, *others]
    keypairs = [{"keypair": {"name": it, "type": "ssh"}} for it in named]
    stub.answers[KEYPAIRS] = stub_module.Answer(200, json.dumps({"keypairs": keypairs}))
    survey = connect(stub).survey()
    assert {it.name: it.verified for it in survey.keypairs} == {OURS: False, signed: True}
    assert [it.name for it in survey.unproven_keypairs] == [copied, forged]


def test_a_keypair_that_is_gone_already_is_no_error_and_a_refusal_is(
    stub: Stub, connect: Any, stub_module: ModuleType
) -> None:
    path = f"DELETE /v2.1/os-keypairs/{OURS}"
    connect(stub).forget_keypair(OURS)
    assert stub.requests[-1] == path
    stub.answers[path] = stub_module.nova(404, "Keypair could not be found")
    connect(stub).forget_keypair(OURS)
    stub.answers[path] = stub_module.nova(500, "Unexpected API Error.")
    with pytest.raises(InDoubt):
        connect(stub).forget_keypair(OURS)


@pytest.mark.parametrize(
    ("nova", "status", "word"),
    [
        ("ACTIVE", "ACTIVE", ""),
        ("BUILD", "BUILD", ""),
        ("BUILD(scheduling)", "BUILD", ""),
        ("SHUTOFF", "ACTIVE", "SHUTOFF"),
        ("RESCUE", "ACTIVE", "RESCUE"),
        ("SHELVED_OFFLOADED", "ACTIVE", "SHELVED_OFFLOADED"),
        ("SOFT_DELETED", "DELETING", "SOFT_DELETED"),
        ("ERROR", "ERROR", ""),
        ("UNKNOWN", "BUILD", "UNKNOWN"),
    ],
)
def test_novas_words_are_ours_and_what_more_they_say_is_kept(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType,
    nova: str, status: str, word: str,
) -> None:  # fmt: skip
    stub.answers[DETAIL] = listing(stub_module, shown("s", order.marks, status=nova))
    (found,) = connect(stub).survey().servers
    assert (found.status, found.cloud_status) == (status, word)


@pytest.mark.parametrize(
    ("nova", "task", "status"),
    [
        ("ACTIVE", "deleting", "DELETING"),
        ("ACTIVE", "soft-deleting", "DELETING"),
        ("BUILD", "deleting", "DELETING"),
        ("ACTIVE", "rebooting", "ACTIVE"),
        ("BUILD", "spawning", "BUILD"),
        ("ERROR", "deleting", "ERROR"),
    ],
)
def test_what_is_being_deleted_is_leaving_whatever_else_is_shown(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType,
    nova: str, task: str, status: str,
) -> None:  # fmt: skip
    document = shown("s", order.marks, status=nova) | {"OS-EXT-STS:task_state": task}
    stub.answers[DETAIL] = listing(stub_module, document)
    (found,) = connect(stub).survey().servers
    assert (found.status, found.cloud_status) == (status, "")


def test_a_server_in_a_cell_that_is_down_is_read_though_little_is_told(
    stub: Stub, connect: Any, stub_module: ModuleType
) -> None:
    told = {"id": "s", "status": "UNKNOWN", "tenant_id": "p", "created": "x", "links": []}
    stub.answers[DETAIL] = listing(stub_module, told)
    (found,) = connect(stub).survey().servers
    assert (found.id, found.marks, found.addresses) == ("s", None, ())


def test_addresses_tell_whether_they_are_fixed_or_floating(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType
) -> None:
    addresses = [
        {"addr": "10.0.0.2", "version": 4, "OS-EXT-IPS:type": "fixed"},
        {"addr": "203.0.113.9", "version": 4, "OS-EXT-IPS:type": "floating"},
        {"addr": "10.0.0.3", "version": 4},
    ]
    server = shown("s", order.marks, status="ACTIVE", addresses={"net": addresses})
    stub.answers[DETAIL] = listing(stub_module, server)
    (found,) = connect(stub).survey().servers
    assert [it.kind for it in found.addresses] == ["fixed", "floating", "fixed"]
