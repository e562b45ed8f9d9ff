"""Many requests on one connection, tunnels, other protocols: each is judged by itself."""

from collections.abc import Callable
from typing import Any

import pytest

DOORS = ("gateway", "function")
GET = b"GET /v1/regions HTTP/1.1\r\nHost: a\r\n"
ANN, BOB = b"Authorization: Bearer <ann>\r\n", b"Authorization: Bearer <bob>\r\n"
POST = b"POST /v1/instances HTTP/1.1\r\nHost: a\r\n" + ANN
HIDDEN = b"<hidden>"
REGIONS = ("ann", "GET", "/v1/regions", "")
INSTANCES = ("ann", "POST", "/v1/instances", "")
SECOND = ("ann", "POST", "/v1/reap", "")
MANY = 100


@pytest.mark.parametrize("door", DOORS)
def test_many_requests_in_one_packet_are_all_answered_in_order(
    judge: Callable[..., None], door: str
) -> None:
    paths = [f"/v1/instances?n={n}" for n in range(MANY)]
    one = b"POST %s HTTP/1.1\r\nHost: a\r\n" + ANN + b"Content-Length: 3\r\n\r\nabc"
    sent = b"".join(one % it.encode() for it in paths)
    judge(door, sent, [("ann", "POST", it, "abc") for it in paths], "kept")


def test_each_of_many_owners_on_one_connection_is_taken_for_themselves(scene: Any) -> None:
    """As behind a proxy that all share; with the first that is refused the connection ends."""
    who = [ANN, BOB, ANN, BOB, b"", ANN, BOB]
    before = len(scene.arrived())
    with scene.wire("gateway") as wire:
        wire.send(scene.fill(b"".join(GET + it + b"\r\n" for it in who)))
        statuses = [it.status for it in wire.rest()]
    scene.neighbour("gateway")
    assert statuses == [200, 200, 200, 200, 401]
    came = [it.owner for it in scene.arrived()[before:]]
    assert came == ["ann", "bob", "ann", "bob", "bob"]


def test_a_good_token_opens_nothing_for_who_comes_after_it(scene: Any) -> None:
    before = len(scene.arrived())
    with scene.wire("gateway") as wire:
        scene.ask(wire, "ann")
        for path in (b"/v1/regions", b"/v1/instances", b"/v1/metrics"):
            wire.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            answer = wire.answer()
            assert answer is not None
            assert answer.status == 401
        scene.ask(wire, "ann")
    assert len(scene.arrived()) == before + 2


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("start", [GET, POST], ids=["GET", "POST"])
def test_a_request_in_a_body_is_a_body(
    judge: Callable[..., None], scene: Any, door: str, start: bytes
) -> None:
    head = start.replace(ANN, b"") + ANN + b"Content-Length: <len>\r\n\r\n"
    (method, path) = start.split(b" ")[:2]
    first = ("ann", method.decode(), path.decode(), scene.hidden.decode())
    judge(door, head + HIDDEN + HIDDEN, [first, SECOND], "kept")


@pytest.mark.parametrize("door", DOORS)
def test_a_body_that_is_missing_takes_nobody_elses_request_for_it(
    judge: Callable[..., None], door: str
) -> None:
    """The function is asked for nothing of it by the gateway; others come and go meanwhile."""
    judge(door, POST + b"Content-Length: 9999\r\n\r\n" + HIDDEN, [], "waits")


@pytest.mark.parametrize("refused", [b"", b"Authorization: Bearer x\r\n"], ids=["no", "bad"])
def test_the_body_of_who_is_refused_is_no_request(scene: Any, refused: bytes) -> None:
    """Refused before the body is there: what comes of it later is not taken for a request."""
    before = len(scene.arrived("ann"))
    head = (
        b"POST /v1/instances HTTP/1.1\r\nHost: a\r\n" + refused + b"Content-Length: <len>\r\n\r\n"
    )
    for pieces in ([head + HIDDEN], [head, HIDDEN]):
        with scene.wire("gateway") as wire:
            for it in pieces:
                wire.send(scene.fill(it))
                scene.neighbour("gateway")
            answers = wire.rest() if len(pieces) > 1 else [wire.answer()]
            assert [it.status for it in answers] == [401]
    scene.neighbour("gateway")
    assert scene.arrived("ann")[before:] == []


@pytest.mark.parametrize("target", ["a:80", "/v1/reap", "http://a/v1/reap", "*"])
@pytest.mark.parametrize("door", DOORS)
def test_nobody_digs_a_tunnel(judge: Callable[..., None], door: str, target: str) -> None:
    sent = b"CONNECT %s HTTP/1.1\r\nHost: a\r\n" % target.encode() + ANN + b"\r\n" + HIDDEN
    judge(door, sent, [], "refused")


@pytest.mark.parametrize(
    ("door", "offer"),
    [(door, it) for door in DOORS for it in ("h2c", "TLS/1.0", "connect-udp", "HTTP/2.0, h2c")]
    + [("gateway", "websocket")],
)
def test_an_offer_of_another_protocol_is_passed_over(
    judge: Callable[..., None], door: str, offer: str
) -> None:
    """RFC 9110, 7.8: what follows is HTTP/1 all the same."""
    lines = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {offer}\r\n"
    lines += "HTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    judge(door, POST + lines.encode() + b"\r\n" + HIDDEN, [INSTANCES, SECOND], "kept")


@pytest.mark.parametrize("door", DOORS)
def test_another_absolute_target_leads_nowhere_else(judge: Callable[..., None], door: str) -> None:
    """RFC 9112, 3.2.2: its path counts, and `Host` does not."""
    sent = GET.replace(b" /", b" http://else.example/") + ANN + b"\r\n" + HIDDEN
    path = "/v1/regions"
    judge(door, sent, [("ann", "GET", path, ""), SECOND], "kept")


@pytest.mark.parametrize("hosts", [b"Host: a\r\n", b"Host: b\r\n", b"host: b\r\n"])
@pytest.mark.parametrize("door", DOORS)
def test_two_hosts_are_refused(scene: Any, door: str, hosts: bytes) -> None:
    """RFC 9112, 3.2: whichever of them somebody in front believed."""
    before = len(scene.arrived("ann"))
    with scene.wire(door) as wire:
        wire.send(scene.fill(GET + hosts + ANN + b"\r\n"))
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 400
    scene.neighbour(door)
    assert len(scene.arrived("ann")) == before


@pytest.mark.parametrize("door", DOORS)
def test_a_client_that_asks_before_it_sends_is_told_to_go_on(
    judge: Callable[..., None], door: str
) -> None:
    sent = POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + HIDDEN
    judge(door, sent, [(*INSTANCES[:3], "abc"), SECOND], "kept")


def test_another_expectation_is_refused_and_is_no_end_of_a_body(scene: Any) -> None:
    before = len(scene.arrived("ann"))
    with scene.wire("gateway") as wire:
        wire.send(scene.fill(POST + b"Expect: 200-ok\r\nContent-Length: <len>\r\n\r\n" + HIDDEN))
        answer = wire.answer()
        assert answer is not None
        assert 400 <= answer.status < 500
    scene.neighbour("gateway")
    assert len(scene.arrived("ann")) == before


def test_an_old_connection_that_would_be_kept_is_not(judge: Callable[..., None]) -> None:
    """HTTP/1.0: the gateway speaks none; a function does, to probes, and keeps on request only."""
    old = GET.replace(b"HTTP/1.1", b"HTTP/1.0") + ANN
    judge("gateway", old + b"Connection: keep-alive\r\n\r\n" + HIDDEN, [], "refused")
    judge("function", old + b"Connection: keep-alive\r\n\r\n" + HIDDEN, [REGIONS, SECOND], "kept")
    judge("function", old + b"\r\n" + HIDDEN, [REGIONS], "closed")


def test_a_token_that_a_header_has_removed_is_none(scene: Any) -> None:
    """`Connection` may name what only this hop reads, so also `Authorization`."""
    before = len(scene.arrived("ann"))
    with scene.wire("gateway") as wire:
        wire.send(scene.fill(GET + ANN + b"Connection: Authorization\r\n\r\n"))
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 401
    scene.neighbour("gateway")
    assert len(scene.arrived("ann")) == before
