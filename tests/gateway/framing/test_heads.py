"""Heads that can be read in two ways: lengths, codings of the body, ends of lines, odd targets.

`HIDDEN` follows each; it is a request of its own exactly where the one before it ended for sure.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

DOORS = ("gateway", "function")
START, HOST = b"POST /v1/instances HTTP/1.1\r\n", b"Host: a\r\n"
TOKEN = b"Authorization: Bearer <ann>\r\n"
GET = b"GET /v1/regions HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
NO_CHUNKS = b"0\r\n\r\n"
HIDDEN = b"<hidden>"
FIRST = ("ann", "POST", "/v1/instances", "")
SECOND = ("ann", "POST", "/v1/reap", "")
REGIONS = ("ann", "GET", "/v1/regions", "")
TWO = ([FIRST, SECOND], "kept")
NONE: tuple[list[tuple[str, ...]], str] = ([], "refused")


def post(*lines: bytes, body: bytes = b"") -> bytes:
    """Return a request with these lines in its head, and the hidden one after its body."""
    return START + HOST + TOKEN + b"".join(it + b"\r\n" for it in lines) + b"\r\n" + body + HIDDEN


def get(*lines: bytes, start: bytes = GET, token: bytes = TOKEN) -> bytes:
    """Return a request for the regions."""
    return start + HOST + token + b"".join(it + b"\r\n" for it in lines) + b"\r\n"


AMBIGUOUS: Mapping[str, bytes] = {
    "a length, then chunks": post(b"Content-Length: 5", CHUNKED, body=NO_CHUNKS),
    "chunks, then a length": post(CHUNKED, b"Content-Length: 5", body=NO_CHUNKS),
    "chunks, and a length over the next": post(b"Content-Length: <len>", CHUNKED, body=NO_CHUNKS),
    "a length twice": post(b"Content-Length: 0", b"Content-Length: 0"),
    "a list of a length": post(b"Content-Length: 0, 0"),
    "two lengths": post(b"Content-Length: 0", b"Content-Length: <len>"),
    "two lengths, the other way": post(b"Content-Length: <len>", b"Content-Length: 0"),
    "two lengths of other case": post(b"content-length: 0", b"CONTENT-LENGTH: <len>"),
}
LENGTHS = (
    b"+0", b"-0", b"-1", b"0x0", b"0 0", b"0,", b"", b"0.0", b"0\x0b", b"\x0c0", b"\x000",
    b"1_0", b"\xb2", b"\xd9\xa0", b"1e1", b'"0"', b"0;a",
)  # fmt: skip
CODINGS: Mapping[str, tuple[bytes, ...]] = {
    repr(it)[2:-1]: (b"Transfer-Encoding: " + it,)
    for it in (
        b"chunked, identity", b"identity, chunked", b"identity", b"xchunked", b"chunkedx",
        b"chunked,", b", chunked", b"chunked, chunked", b"gzip, chunked", b"chunked;q=1",
        b'"chunked"', b"\x0bchunked", b"chunked\x0b", b"chunked\x0c", b"chun\xc3\xa9ked",
        b"\xa0chunked", b"chun\xe2\x84\xaaed", b"", b"chunked\x00", b"ch unked", b"chunked\rx",
    )
} | {
    "two headers": (CHUNKED, CHUNKED),
    "two headers, identity last": (CHUNKED, b"Transfer-Encoding: identity"),
    "two headers, identity first": (b"Transfer-Encoding: identity", CHUNKED),
    "a space before the colon": (b"Transfer-Encoding : chunked",),
    "a tab before the colon": (b"Transfer-Encoding\t: chunked",),
    "folded after a coding": (b"Transfer-Encoding: identity\r\n , chunked",),
}  # fmt: skip
SOUND: Mapping[str, bytes] = {
    "an empty line before": b"\r\n" + post(),
    "no length": post(),
    "a length": post(b"Content-Length:0"),
    "zeros": post(b"Content-Length: 000"),
    "blanks about a length": post(b"Content-Length: \t 0 \t"),
    "Chunked": post(b"Transfer-Encoding: Chunked", body=NO_CHUNKS),
    "CHUNKED": post(b"tRANSFER-eNCODING: CHUNKED", body=NO_CHUNKS),
    "tabs about chunked": post(b"Transfer-Encoding:\t\tchunked\t", body=NO_CHUNKS),
    "named in Connection": post(b"Connection: Transfer-Encoding", CHUNKED, body=NO_CHUNKS),
    "bytes over 127 in a value": post(b"X: \xff\xfe", b"Content-Length: 0"),
}
LINES: Mapping[str, bytes] = {
    "NUL in a value": post(b"X: a\x00b"),
    "NUL in a name": post(b"X\x00: a"),
    "a name that is none": post(b"X(y): a"),
    "no name": post(b": a"),
    "no colon": post(b"no colon"),
    "a space before a colon": post(b"Content-Length : 5", body=b"12345"),
    "folded before any": START + b" X: y\r\n" + HOST + TOKEN + b"\r\n" + HIDDEN,
    "another method's case": b"post" + post()[4:],
    "HTTP/1.2": get(start=GET.replace(b"1.1", b"1.2")) + HIDDEN,
    "HTTP/2.0": get(start=GET.replace(b"1.1", b"2.0")) + HIDDEN,
    "HTTP/1.1x": get(start=GET.replace(b"1.1", b"1.1x")) + HIDDEN,
    "a space in the path": get(start=b"GET /v1/regions x HTTP/1.1\r\n") + HIDDEN,
    "no Host": GET + TOKEN + b"\r\n" + HIDDEN,
    "HTTP/1.0 in chunks": post(CHUNKED, body=NO_CHUNKS).replace(b"1.1", b"1.0", 1),
}
# What Envoy mends (RFC 9112, 2.2 and 5.2 allow that) and a function refuses: at the gateway one
# reading only, and the function is sent that.
MENDED: Mapping[str, tuple[bytes, list[tuple[str, ...]]]] = {
    "LF alone": (post()[: -len(HIDDEN)].replace(b"\r\n", b"\n") + HIDDEN, [FIRST, SECOND]),
    "one LF": (post(b"X: y\nContent-Length: 5", body=b"12345"), [(*FIRST[:3], "12345"), SECOND]),
    "a CR alone": (post(b"X: y\rContent-Length: 9", b"Content-Length: 0"), [FIRST, SECOND]),
    "a CR more": (post(b"Content-Length: 0\r"), [FIRST, SECOND]),
    "a folded coding": (post(b"Transfer-Encoding:\r\n chunked", body=NO_CHUNKS), [FIRST, SECOND]),
    "a folded length": (post(b"X: y\r\n Content-Length: <len>"), [FIRST, SECOND]),
    "two empty lines before": (b"\r\n\r\n" + get() + HIDDEN, [REGIONS, SECOND]),
    "two spaces": (get(start=b"GET  /v1/regions  HTTP/1.1\r\n") + HIDDEN, [REGIONS, SECOND]),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_two_framings_of_one_body_are_refused(
    judge: Callable[..., None], door: str, sent: bytes
) -> None:
    judge(door, sent, *NONE)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("length", LENGTHS, ids=repr)
def test_a_length_that_is_none_is_refused(
    judge: Callable[..., None], door: str, length: bytes
) -> None:
    judge(door, post(b"Content-Length: " + length), *NONE)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("lines", CODINGS.values(), ids=CODINGS)
def test_a_coding_other_than_chunked_alone_is_refused(
    judge: Callable[..., None], door: str, lines: tuple[bytes, ...]
) -> None:
    judge(door, post(*lines, body=NO_CHUNKS), *NONE)


@pytest.mark.parametrize("door", DOORS)
def test_a_name_with_an_underscore_frames_nothing(judge: Callable[..., None], door: str) -> None:
    """The gateway refuses all such; a function leaves them out, and goes by the length."""
    sent = post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=NO_CHUNKS)
    read = [(*FIRST[:3], NO_CHUNKS.decode()), SECOND]
    judge(door, sent, *(NONE if door == "gateway" else (read, "kept")))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("sent", SOUND.values(), ids=SOUND)
def test_what_has_one_reading_is_two_requests(
    judge: Callable[..., None], door: str, sent: bytes
) -> None:
    judge(door, sent, *TWO)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("sent", LINES.values(), ids=LINES)
def test_a_head_that_is_none_is_refused(judge: Callable[..., None], door: str, sent: bytes) -> None:
    judge(door, sent, *NONE)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("sent", "read"), MENDED.values(), ids=MENDED)
def test_what_the_gateway_mends_has_one_reading(
    judge: Callable[..., None], door: str, sent: bytes, read: list[Any]
) -> None:
    judge(door, sent, *((read, "kept") if door == "gateway" else NONE))
