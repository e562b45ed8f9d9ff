"""What becomes of a broken connection, an odd answer and a slow cloud, over real sockets."""

import base64
import json
import math
import socket
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import psutil
import pytest

from openmultistack.clouds import ServerOrder
from openmultistack.clouds.keyring import Keyring, MarksKey
from openmultistack.clouds.marks import metadata_of
from openmultistack.clouds.names import name_of
from openmultistack.clouds.openstack import connections
from openmultistack.clouds.signing import Signing
from openmultistack.domain.bounds import UNLIMITED
from openmultistack.domain.cloud_errors import (
    AccountBroken,
    CatalogueStale,
    CloudError,
    InDoubt,
    NoSuchRegion,
    OrderRefused,
    RateLimited,
    RegionFull,
    TooLate,
    Unreachable,
    Unsuitable,
)
from openmultistack.logs import ASKING, Asking
from tests.support.stub import Stub

SERVERS = "POST /v2.1/servers"
KEYPAIRS = "POST /v2.1/os-keypairs"
TOKENS = "POST /v3/auth/tokens"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait half a minute for silence."""
    monkeypatch.setattr(connections, "READ_TIMEOUT_S", 2.0)


def nobodys_port() -> int:
    """Return a port where connections are refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failure(act: Callable[[], object], stub: Stub) -> CloudError:
    """Return the error of an act, which tells nobody a secret or an address."""
    with pytest.raises(CloudError) as caught:
        act()
    text = str(caught.value)
    for private in ("very-secret", "://", "127.0.0.1", str(stub.port), "/v2.1", "cloud.invalid"):
        assert private not in text
    assert text
    return caught.value


# ---------------------------------------------------------------- the control


def test_a_create_is_one_post_with_marks_tag_and_what_was_ordered(
    stub: Stub, connect: Any, order: ServerOrder, signing: Signing
) -> None:
    ordered = order._replace(user_data="#!/bin/sh\n# ä")
    before_s = int(time.time())
    assert connect(stub).create(ordered) == "server-1"
    assert stub.posts("/v2.1/servers") == 1
    sent = stub.bodies[stub.requests.index(SERVERS)]["server"]
    name = name_of(signing, ordered.marks.attempted)
    assert (sent["name"], sent["flavorRef"], sent["imageRef"]) == (name, "f", "i")
    assert sent["networks"] == [{"uuid": "n"}]
    assert sent["tags"] == ["oms-stub-fleet"]
    signed_at_ms = int(sent["metadata"]["oms_marks"].split(" ")[8])
    assert before_s <= signed_at_ms / 1000 <= time.time()
    assert sent["metadata"] == metadata_of(ordered.marks, signing, at_ms=signed_at_ms)
    assert base64.b64decode(sent["user_data"]).decode() == "#!/bin/sh\n# ä"
    assert not sent.keys() & {"key_name", "security_groups", "min_count", "max_count"}


def test_a_region_rules_security_groups_are_sent_by_name(
    stub: Stub, connect: Any, order: ServerOrder
) -> None:
    connect(stub).create(order._replace(offer=order.offer._replace(security_groups=("ssh", "w 1"))))
    sent = stub.bodies[stub.requests.index(SERVERS)]["server"]
    assert sent["security_groups"] == [{"name": "ssh"}, {"name": "w 1"}]


def test_the_login_is_kept_over_calls(stub: Stub, connect: Any, order: ServerOrder) -> None:
    cloud = connect(stub)
    for _ in range(3):
        cloud.create(order)
    assert stub.posts("/v3/auth/tokens") == 1
    assert stub.posts("/v2.1/servers") == 3


def test_a_cloud_too_old_for_tags_gets_none(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType
) -> None:
    old = stub._nova_version()  # noqa: SLF001
    old["version"]["version"] = "2.51"
    text = stub_module.json.dumps(old)
    stub.answers["GET /v2.1/"] = stub.answers["GET /v2.1"] = stub_module.Answer(200, text)
    connect(stub).create(order)
    assert "tags" not in stub.bodies[stub.requests.index(SERVERS)]["server"]


# ---------------------------------------------------------------- nothing was made, for certain


def test_a_refused_connection_to_nova(stub: Stub, connect: Any, order: ServerOrder) -> None:
    stub.compute_url = f"http://127.0.0.1:{nobodys_port()}/v2.1"
    assert type(failure(lambda: connect(stub).create(order), stub)) is Unreachable


def test_a_refused_connection_to_keystone(stub: Stub, connect: Any, order: ServerOrder) -> None:
    stub.auth_url = f"http://127.0.0.1:{nobodys_port()}/v3"
    error = failure(lambda: connect(stub).create(order), stub)
    assert type(error) is Unreachable
    assert str(error) == "connection refused"


@pytest.mark.parametrize("what", ["auth_url", "compute_url"])
def test_a_name_that_does_not_resolve(
    stub: Stub, connect: Any, order: ServerOrder, what: str
) -> None:
    setattr(stub, what, "http://cloud.invalid/v2.1")
    error = failure(lambda: connect(stub).create(order), stub)
    assert type(error) is Unreachable
    assert "resolve" in str(error)


@pytest.mark.parametrize("what", ["auth_url", "compute_url"])
def test_tls_with_a_port_that_speaks_none(
    stub: Stub, connect: Any, order: ServerOrder, what: str
) -> None:
    setattr(stub, what, getattr(stub, what).replace("http:", "https:"))
    error = failure(lambda: connect(stub).create(order), stub)
    assert (type(error), str(error)) == (Unreachable, "TLS fails")
    assert stub.posts("/v2.1/servers") == 0


@pytest.mark.parametrize("instead", ["reset", "silence"])
def test_a_keystone_that_breaks_off_or_is_silent(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, instead: str
) -> None:
    stub.answers[TOKENS] = stub_module.Answer(instead=instead)
    assert type(failure(lambda: connect(stub).create(order), stub)) is Unreachable
    assert stub.posts("/v2.1/servers") == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_keystone_behind_a_sick_proxy(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, status: int
) -> None:
    stub.answers[TOKENS] = stub_module.html(status)
    assert type(failure(lambda: connect(stub).create(order), stub)) is Unreachable
    assert stub.posts("/v2.1/servers") == 0


def test_a_wrong_password(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType
) -> None:
    stub.answers[TOKENS] = stub_module.nova(401, "The request requires authentication.", "error")
    assert type(failure(lambda: connect(stub).create(order), stub)) is AccountBroken


def test_a_catalog_without_the_region(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType
) -> None:
    token = stub._token() | {"catalog": []}  # noqa: SLF001
    text = stub_module.json.dumps({"token": token})
    headers = {"X-Subject-Token": "t"}
    stub.answers[TOKENS] = stub_module.Answer(201, text, headers=headers)
    assert type(failure(lambda: connect(stub).create(order), stub)) is NoSuchRegion


def test_an_order_whose_time_is_over_is_not_sent(
    stub: Stub, connect: Any, order: ServerOrder
) -> None:
    cloud = connect(stub)
    act = lambda: cloud.create(order, not_after=time.monotonic() - 1)  # noqa: E731
    assert type(failure(act, stub)) is TooLate
    assert stub.posts("/v2.1/servers") == 0
    assert cloud.create(order, not_after=math.inf) == "server-1"


def test_a_login_so_slow_that_the_time_is_over_is_too_late(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType
) -> None:
    token = stub_module.json.dumps({"token": stub._token()})  # noqa: SLF001
    headers = {"X-Subject-Token": "t"}
    stub.answers[TOKENS] = stub_module.Answer(201, token, headers=headers, delay_s=0.4)
    cloud = connect(stub)
    act = lambda: cloud.create(order, not_after=time.monotonic() + 0.2)  # noqa: E731
    assert type(failure(act, stub)) is TooLate
    assert stub.posts("/v2.1/servers") == 0


# ---------------------------------------------------------------- in doubt


@pytest.mark.parametrize("instead", ["reset", "silence"])
def test_bounded_a_nova_that_breaks_off_or_is_silent_is_in_doubt_and_not_asked_again(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, instead: str
) -> None:
    stub.answers[SERVERS] = stub_module.Answer(instead=instead)
    began = time.monotonic()
    assert type(failure(lambda: connect(stub).create(order), stub)) is InDoubt
    assert stub.posts("/v2.1/servers") == 1
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("status", [200, 201, 204, 300, 400, 403, 404, 409, 500, 502, 503, 504])
def test_html_instead_of_nova_is_in_doubt_and_not_asked_again(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, status: int
) -> None:
    stub.answers[SERVERS] = stub_module.html(status)._replace(body="" if status == 204 else "<p>")
    assert type(failure(lambda: connect(stub).create(order), stub)) is InDoubt
    assert stub.posts("/v2.1/servers") == 1


def test_nothing_but_a_202_is_an_acceptance(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType
) -> None:
    stub.answers[SERVERS] = stub_module.Answer(200, '{"server": {"id": "server-1"}}')
    assert type(failure(lambda: connect(stub).create(order), stub)) is InDoubt


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"server": null}', '{"server": {}}'])
def test_a_202_that_names_no_server_is_in_doubt(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, body: str
) -> None:
    stub.answers[SERVERS] = stub_module.Answer(202, body)
    assert type(failure(lambda: connect(stub).create(order), stub)) is InDoubt
    assert stub.posts("/v2.1/servers") == 1


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, "Quota exceeded for instances: Requested 1, but already used 20 of 20", RegionFull),
        (403, "Policy doesn't allow it to be performed.", AccountBroken),
        (400, "Flavor f could not be found.", CatalogueStale),
        (400, "Invalid key_name provided.", OrderRefused),
        (503, "The server is currently unavailable.", InDoubt),
    ],
)
def test_novas_own_faults_come_through(
    stub: Stub,
    connect: Any,
    order: ServerOrder,
    stub_module: ModuleType,
    status: int,
    message: str,
    kind: type[CloudError],
) -> None:
    stub.answers[SERVERS] = stub_module.nova(status, message)
    error = failure(lambda: connect(stub).create(order), stub)
    assert (type(error), str(error)) == (kind, f"{status}: {message}")
    assert stub.posts("/v2.1/servers") == 1


@pytest.mark.parametrize("status", [429, 413])
def test_a_provider_that_asks_for_a_pause_made_nothing_and_is_not_asked_again(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType, status: int
) -> None:
    """What limits rates may be a proxy of the provider's, that speaks no JSON."""
    stub.answers[SERVERS] = stub_module.html(status)._replace(headers={"Retry-After": "11"})
    error = failure(lambda: connect(stub).create(order), stub)
    assert isinstance(error, RateLimited)
    assert (str(error), error.retry_after_s) == (str(status), 11)
    assert stub.posts("/v2.1/servers") == 1


# ---------------------------------------------------------------- keypairs


@pytest.fixture
def keyed(order: ServerOrder) -> ServerOrder:
    """Return an order with a key of the client's."""
    marks = order.marks._replace(identity=order.marks.identity._replace(has_keypair=True))
    return order._replace(marks=marks, ssh_public_key=SSH_KEY)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((400, "Keypair data is invalid: failed to generate fingerprint"), Unsuitable),
        ((403, "Quota exceeded, too many key pairs."), Unsuitable),
        ((403, "Policy doesn't allow it to be performed."), AccountBroken),
        ((429, "slow down"), RateLimited),
        ((500, "Unexpected API Error."), Unreachable),
    ],
)
def test_a_refused_keypair_means_that_no_server_is_made(
    stub: Stub, connect: Any, keyed: ServerOrder, stub_module: ModuleType, answer: Any, kind: Any
) -> None:
    stub.answers[KEYPAIRS] = stub_module.nova(*answer)
    assert type(failure(lambda: connect(stub).create(keyed), stub)) is kind
    assert stub.posts("/v2.1/servers") == 0


def test_a_keypair_that_is_there_already_is_this_attempts_own(
    stub: Stub, connect: Any, keyed: ServerOrder, stub_module: ModuleType, signing: Signing
) -> None:
    stub.answers[KEYPAIRS] = stub_module.nova(409, "Key pair 'oms-i-1-1' already exists.")
    assert connect(stub).create(keyed) == "server-1"
    name = name_of(signing, keyed.marks.attempted)
    assert stub.bodies[stub.requests.index(KEYPAIRS)]["keypair"]["name"] == name
    assert stub.bodies[stub.requests.index(SERVERS)]["server"]["key_name"] == name


def test_the_keypair_of_a_refused_server_is_taken_back_and_of_a_doubtful_one_kept(
    stub: Stub, connect: Any, keyed: ServerOrder, stub_module: ModuleType, signing: Signing
) -> None:
    cloud = connect(stub)
    stub.answers[SERVERS] = stub_module.nova(403, "Quota exceeded for instances")
    assert type(failure(lambda: cloud.create(keyed), stub)) is RegionFull
    name = name_of(signing, keyed.marks.attempted)
    assert f"DELETE /v2.1/os-keypairs/{name}" in stub.requests
    stub.requests.clear()
    stub.answers[SERVERS] = stub_module.html(504)
    assert type(failure(lambda: cloud.create(keyed), stub)) is InDoubt
    assert not [it for it in stub.requests if it.startswith("DELETE")]


@pytest.mark.parametrize("answer", [None, (403, "Quota exceeded for instances")])
def test_a_key_that_changes_meanwhile_parts_no_server_from_its_keypair(
    stub: Stub, connect: Any, keyed: ServerOrder, stub_module: ModuleType, answer: Any
) -> None:
    """All names and marks of one create are of one key, and so is what is taken back of it."""
    keys = (Keyring([MarksKey(f"k{number}", bytes([number] * 32))]) for number in range(9))
    cloud = connect(stub, lambda: next(keys))
    if answer:
        stub.answers[SERVERS] = stub_module.nova(*answer)
        failure(lambda: cloud.create(keyed), stub)
    else:
        cloud.create(keyed)
    name = stub.bodies[stub.requests.index(KEYPAIRS)]["keypair"]["name"]
    sent = stub.bodies[stub.requests.index(SERVERS)]["server"]
    assert (sent["name"], sent["key_name"]) == (name, name)
    assert sent["metadata"]["oms_seal"].startswith("k0 ")
    deleted = [it for it in stub.requests if it.startswith("DELETE")]
    assert deleted == [f"DELETE /v2.1/os-keypairs/{name}"] * bool(answer)


# ---------------------------------------------------------------- other calls


def test_a_survey_reads_the_quota_and_minus_one_is_boundless(stub: Stub, connect: Any) -> None:
    survey = connect(stub).survey()
    assert survey.servers == ()
    assert (survey.quota.instances, survey.quota.vcpus) == (20, 40)
    assert survey.quota.ram_mb == UNLIMITED


@pytest.mark.parametrize(
    "path", ["GET /v2.1/servers/detail", "GET /v2.1/limits", "GET /v2.1/os-keypairs"]
)
def test_a_survey_that_is_not_whole_is_none(
    stub: Stub, connect: Any, stub_module: ModuleType, path: str
) -> None:
    for answer in (
        stub_module.nova(500, "security groups are away"),
        stub_module.html(502),
        stub_module.Answer(instead="reset"),
        stub_module.Answer(200, "{"),
    ):
        stub.answers[path] = answer
        failure(lambda: connect(stub).survey(), stub)


def test_a_server_that_may_not_be_deleted_is_no_outage(
    stub: Stub, connect: Any, stub_module: ModuleType
) -> None:
    """Its sweep goes on with the others; an outage would end it there, each time."""
    stub.answers["DELETE /v2.1/servers/s-1"] = stub_module.nova(409, "Instance s-1 is locked")
    error = failure(lambda: connect(stub).delete("s-1"), stub)
    assert (type(error), str(error)) == (InDoubt, "409: Instance s-1 is locked")


def test_a_cloud_that_came_back_is_used_without_a_new_process(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType
) -> None:
    cloud = connect(stub)
    stub.answers[TOKENS] = stub_module.html(503)
    failure(lambda: cloud.create(order), stub)
    del stub.answers[TOKENS]
    assert cloud.create(order) == "server-1"


def test_a_cloud_is_told_for_which_request_it_is_called_and_what_it_says_is_kept(
    stub: Stub, connect: Any, order: ServerOrder, stub_module: ModuleType
) -> None:
    stub.answers["POST /v2.1/servers"] = stub_module.Answer(
        202, json.dumps({"server": {"id": "s"}}), headers={"X-OpenStack-Request-ID": "req-its-own"}
    )
    asking = Asking("0b2d4a3c-1111-4222-8333-123456789abc")
    token = ASKING.set(asking)
    try:
        connect(stub).create(order)
    finally:
        ASKING.reset(token)
    assert stub.global_ids[-1] == asking.global_id
    assert asking.heard == ["req-its-own"]
    connect(stub).create(order)
    assert stub.global_ids[-1] is None


def test_connections_that_are_given_up_are_closed_and_made_anew_when_needed(
    stub: Stub, connect: Any, order: ServerOrder
) -> None:
    def connections_there() -> list[Any]:
        there = psutil.Process().net_connections("tcp")
        return [it for it in there if it.raddr and it.raddr.port == stub.port]

    cloud = connect(stub)
    cloud.create(order)
    assert connections_there()
    cloud.close()
    assert connections_there() == []
    cloud.create(order)
    assert stub.posts("/v2.1/servers") == 2
    cloud.close()
