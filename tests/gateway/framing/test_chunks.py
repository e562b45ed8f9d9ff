"""Bodies in chunks: sizes that are none, chunks that are longer or shorter than they say, trailers.

`HIDDEN` follows each; it is a request of its own exactly where the body before it ended for sure.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

DOORS = ("gateway", "function")
HEAD = b"POST /v1/instances HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer <ann>\r\n"
HEAD += b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN, END = b"<hidden>", b"\r\nabc\r\n0\r\n\r\n"
SECOND = ("ann", "POST", "/v1/reap", "")
NONE: tuple[list[tuple[str, ...]], str] = ([], "refused")

REFUSED: Mapping[str, bytes] = {
    "longer than it says": b"3\r\nabcde\r\n0\r\n\r\n",
    "longer by one": b"3\r\nabcX\r\n0\r\n\r\n",
    "longer by a request": b"3\r\nabc" + HIDDEN + b"0\r\n\r\n",
    "longer by a line": b"3\r\nabc X\r\nY\r\n0\r\n\r\n",
    "the first is longer": b"1\r\naX\r\n2\r\nbc\r\n0\r\n\r\n",
    "shorter than it says": b"5\r\nabc\r\n0\r\n\r\n",
    "an end that is none": b"0\r\nX",
    "an end without its line": b"3\r\nabc\r\n0\r\n",
    "a request for a trailer": b"0\r\n" + HIDDEN,
    "LF everywhere": b"3\nabc\n0\n\n",
    "LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "LF after the chunk": b"3\r\nabc\n0\r\n\r\n",
    "CR after the size": b"3\rabc\r\n0\r\n\r\n",
    "CR after the chunk": b"3\r\nabc\r0\r\n\r\n",
    "nothing after the chunk": b"3\r\nabc0\r\n\r\n",
    "no size": END + END,
    "0x": b"0x3" + END,
    "minus": b"-3" + END,
    "plus": b"+3" + END,
    "underscore": b"0_3" + END,
    "a blank before": b" 3" + END,
    "a digit that is none of ours": b"\xd9\xa3" + END,
    "LF in an extension": b"3;a" + END.replace(b"\r\n", b"\n", 1),
    "CR in an extension": b"3;a\rb" + END,
    "a trailer that is none": b"0\r\nno colon\r\n\r\n",
    "a long trailer": b"0\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
}
READ: Mapping[str, bytes] = {
    "one": b"3" + END,
    "two": b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    "zeros": b"00000000000000000003" + END,
    "thousands of zeros": b"0" * 6000 + b"3" + END,
    "an extension": b'3;a=b;c="d"' + END,
    "a trailer": b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
}
# What Envoy passes over and a function refuses: the end of the chunk is the same in all readings.
MENDED: Mapping[str, bytes] = {
    "a blank after": b"3 " + END,
    "LF at the end": b"3\r\nabc\r\n0\r\n\n",
    "LF in trailers": b"3\r\nabc\r\n0\r\nX: y\n\n",
    "a folded trailer": b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
    "NUL in an extension": b"3;a\x00" + END,
    "a long extension": b"3;" + b"a" * 20_000 + END,
    "trailers that say who and how long": (
        b"3\r\nabc\r\n0\r\nContent-Length: 9\r\nAuthorization: Bearer <bob>\r\nHost: b\r\n\r\n"
    ),
}
WAITED_FOR = {
    "a request is what it says": b"<hex>\r\n",
    "more than there may be": b"100000003\r\nabc\r\n",
    "the largest number": b"f" * 16 + b"\r\nabc\r\n",
}


def read(body: str) -> list[tuple[str, ...]]:
    """Return the arrivals of a body and of the hidden request after it."""
    return [("ann", "POST", "/v1/instances", body), SECOND]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("chunks", REFUSED.values(), ids=REFUSED)
def test_chunks_that_are_none_are_refused(
    judge: Callable[..., None], door: str, chunks: bytes
) -> None:
    judge(door, HEAD + chunks + HIDDEN, *NONE)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("chunks", READ.values(), ids=READ)
def test_a_body_ends_where_its_last_chunk_does(
    judge: Callable[..., None], door: str, chunks: bytes
) -> None:
    judge(door, HEAD + chunks + HIDDEN, read("abc"), "kept")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("chunks", MENDED.values(), ids=MENDED)
def test_what_the_gateway_passes_over_moves_no_end(
    judge: Callable[..., None], door: str, chunks: bytes
) -> None:
    """Nothing of it reaches the function: it is sent a length, and no trailer."""
    judge(door, HEAD + chunks + HIDDEN, *((read("abc"), "kept") if door == "gateway" else NONE))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("size", ["10000000000000003", "1" + "0" * 40])
def test_a_size_that_no_number_holds_is_not_another_one(
    judge: Callable[..., None], door: str, size: str
) -> None:
    """A function's numbers have no end: it waits for what it was told, or refuses."""
    sent = HEAD + size.encode() + END + HIDDEN
    judge(door, sent, [], "refused" if door == "gateway" else "waits")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("size", WAITED_FOR.values(), ids=WAITED_FOR)
def test_what_a_chunk_holds_is_no_request(
    judge: Callable[..., None], door: str, size: bytes
) -> None:
    judge(door, HEAD + size + HIDDEN, [], "waits")


@pytest.mark.parametrize("door", DOORS)
def test_a_request_in_a_chunk_is_a_body(judge: Callable[..., None], scene: Any, door: str) -> None:
    sent = HEAD + b"<hex>\r\n" + HIDDEN + b"\r\n0\r\n\r\n" + HIDDEN
    judge(door, sent, read(scene.hidden.decode()), "kept")
