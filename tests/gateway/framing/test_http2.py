"""HTTP/2 with prior knowledge is not spoken: none of its games begins, whatever is sent."""

import struct
from collections.abc import Mapping
from typing import Any

import pytest

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
MANY = 20_000


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header as it is, in no table (RFC 7541, 6.2.2)."""
    return b"\x00" + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    """Return a string without Huffman's code, its length in the 7 bits that begin it."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, length = len(text) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + text


def head(**changed: bytes | None) -> list[tuple[bytes, bytes]]:
    """Return the pseudo-headers of a request, changed, and its token."""
    said = {"method": b"POST", "scheme": b"http", "path": b"/v1/reap", "authority": b"a"} | changed
    pseudo = [(b":" + name.encode(), it) for name, it in said.items() if it is not None]
    return [*pseudo, (b"authorization", b"Bearer <ann>")]


def stream(
    number: int, headers: list[tuple[bytes, bytes]], token: bytes, *, ended: bool = True
) -> bytes:
    """Return the frame that opens a stream."""
    block = b"".join(literal(name, it.replace(b"<ann>", token)) for name, it in headers)
    return frame(HEADERS, END_HEADERS | ended * END_STREAM, number, block)


def games(token: bytes) -> Mapping[str, bytes]:
    """Return what to send after the preface and the settings."""
    ask = head()
    body = stream(1, [*ask, (b"content-length", b"5")], token, ended=False)
    bomb = b"\x40" + _text(b"x") + _text(b"y" * 4000) + b"\xbe" * 200_000
    opened = [stream(n, ask, token) for n in range(1, 4000, 2)]
    reset = struct.pack(">I", 8)
    resets = [
        it + frame(RST_STREAM, 0, n, reset) for n, it in zip(range(1, 4000, 2), opened, strict=True)
    ]
    return {
        "a request": stream(1, ask, token),
        "rapid resets": b"".join(resets),
        "continuations without end": frame(HEADERS, 0, 1, literal(b":method", b"GET"))
        + frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 9000)) * 100,
        "empty continuations": frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * MANY,
        "a bomb of HPACK": frame(HEADERS, END_HEADERS, 1, bomb[:16_000]) * 200,
        "a table's size": frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\xff\xff\x0f"),
        "a name in capitals": stream(1, [*ask, (b"X-Name", b"y")], token),
        "a header of one hop": stream(1, [*ask, (b"transfer-encoding", b"chunked")], token),
        "a line in a header": stream(1, [*ask, (b"x", b"y\r\nHost: b")], token),
        "a request in a path": stream(1, head(path=b"/ HTTP/1.1\r\nHost: b\r\n\r\n"), token),
        "a pseudo-header twice": stream(1, [*head(), (b":path", b"/v1/regions")], token),
        "a pseudo-header of an answer": stream(1, [(b":status", b"200"), *ask], token),
        "no path": stream(1, head(path=None), token),
        "a tunnel": stream(1, head(method=b"CONNECT", path=None, scheme=None), token, ended=False),
        "less than its length": body + frame(DATA, END_STREAM, 1, b"abc"),
        "more than its length": body + frame(DATA, END_STREAM, 1, b"abcdefgh"),
        "a flood of settings": frame(SETTINGS, 0, 0) * MANY,
        "a flood of pings": frame(PING, 0, 0, b"x" * 8) * MANY,
        "a flood of empty data": body + frame(DATA, 0, 1) * MANY,
        "a window too wide": frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
    }


@pytest.mark.parametrize("name", games(b""))
@pytest.mark.parametrize("door", ["gateway", "function"])
def test_it_is_refused_at_its_first_line(scene: Any, door: str, name: str) -> None:
    """Once, in HTTP/1, and nothing arrives; others are answered meanwhile."""
    before = len(scene.arrived("ann"))
    sent = PREFACE + frame(SETTINGS, 0, 0) + games(scene.fill(b"<ann>"))[name]
    with scene.wire(door) as wire:
        wire.send(sent)
        scene.neighbour(door)
        answers = wire.rest()
    scene.neighbour(door)
    # Who goes on sending may have the connection reset before they read it.
    assert [400 <= it.status < 500 for it in answers] in ([True], [])
    assert answers or len(sent) > 10_000
    assert scene.arrived("ann")[before:] == []
