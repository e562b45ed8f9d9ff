"""Clients that send too much, too slowly, or without end: a function neither grows nor waits.

Both kinds of door are tried, the port that platforms give and the Unix socket of a stack; nobody
needs a token to get that far.
"""

import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

import psutil
import pytest

from tests.support.doors import House
from tests.support.signer import Signer

GROWTH_MAX_MB = 8
ENDLESS_BYTES = 400_000_000
SLOW = 64
# What is meant is one second; see docs/testing.md. `TIMES_AS_LONG`: as right before. A function
# that lets itself be held up answers after ten seconds, by its own deadlines, or never.
ANSWERED_WITHIN_S, TIMES_AS_LONG, NEVER_LATER_S = 1.0, 5, 5.0
# Of open files the function may have twice as many as of connections.
CONNECTIONS, CROWD, COMING_PER_S = 256, 300, 150
# So many connections take some 30 KB each, once.
CROWD_MAX_MB = 2 * GROWTH_MAX_MB
PIECE = b"x" * 65_536
PATIENCE_S = 60


class Function:
    """A real function, started as platforms do, or on a socket as in a stack."""

    def __init__(self, house: House, at: str, home: Path) -> None:
        self._at = at if at.startswith("unix:") else ("127.0.0.1", int(at.rpartition(":")[2]))
        command = ["sh", "-c", f'ulimit -n {2 * CONNECTIONS} && exec "$@"', "sh"]
        command += [sys.executable, "-m", "openmultistack.launch", "--bind", at]
        command += ["--source", str(Path(__file__).parents[2] / "functions" / "create.py")]
        with (home / "function.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=house.environment | {"THREADS": "16"}, stdout=log, stderr=log, cwd=home
            )

    def connect(self) -> socket.socket:
        """Return a new connection."""
        unix = isinstance(self._at, str)
        with ExitStack() as unless_connected:
            it = unless_connected.enter_context(
                socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
            )
            it.settimeout(PATIENCE_S)
            it.connect(self._at.removeprefix("unix:") if isinstance(self._at, str) else self._at)
            unless_connected.pop_all()
        return it

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """Give a connection."""
        with self.connect() as it:
            yield it

    def answers(self, request: bytes) -> bytes:
        """Return all that is answered until the function ends the connection."""
        with self.connected() as it:
            it.sendall(request)
            return read_all(it)

    def memory_mb(self) -> float:
        """Return what its processes have in memory, what they share counted for each.

        Not what is theirs alone: a worker's collection of garbage parts pages that it shared.
        """
        family = [self.process.pid, *(p.pid for p in psutil.Process(self.process.pid).children())]
        return sum(psutil.Process(pid).memory_info().rss for pid in family) / 2**20

    def took_s(self) -> float:
        """Return how long a small request takes now; it is refused in order."""
        began = time.monotonic()
        assert b"401" in self.answers(
            request(b"Connection: close", b"Content-Length: 2", body=b"{}")
        )
        return time.monotonic() - began


def request(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /v1/instances HTTP/1.1", b"Host: a", *lines, b"", body])


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the end; a reset is one, too."""
    came = b""
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            came += part
    return came


@pytest.fixture(scope="module", params=["port", "socket"])
def function(
    request: Any, house: House, free_port: Callable[[], int], tmp_path_factory: Any
) -> Iterator[Function]:
    """A function that has answered before, as memory that is used once stays used."""
    home = tmp_path_factory.mktemp("greedy")
    at = f"unix:{home}/s" if request.param == "socket" else f"127.0.0.1:{free_port()}"
    it = Function(house, at, home)
    until = time.monotonic() + 120
    while True:
        with suppress(OSError):
            for _ in range(20):
                it.took_s()
            break
        assert time.monotonic() < until, (home / "function.log").read_text()
        time.sleep(0.05)
    yield it
    it.process.terminate()
    assert it.process.wait(60) == 0


def pour(connection: socket.socket, piece: bytes) -> int:
    """Send until the other side will not have it, or it is enough; return how much it was."""
    sent = 0
    with suppress(OSError):
        while sent < ENDLESS_BYTES:
            sent += connection.send(piece)
    return sent


@pytest.mark.parametrize("known", [False, True], ids=["stranger", "owner"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_without_end_is_not_read(
    function: Function, signer: Signer, framing: str, *, known: bool
) -> None:
    """It is answered, 401 or 413, and the connection ends long before the body does."""
    lines = [f"Authorization: Bearer {signer.token()}".encode()] if known else []
    if framing == "length":
        head, piece = request(*lines, f"Content-Length: {ENDLESS_BYTES}".encode()), PIECE
    else:
        head = request(*lines, b"Transfer-Encoding: chunked")
        piece = b"10000\r\n" + PIECE + b"\r\n"
    before = function.memory_mb()
    with function.connected() as it:
        it.sendall(head)
        answer: list[bytes] = []
        reader = threading.Thread(target=lambda: answer.append(read_all(it)))
        reader.start()
        sent = pour(it, piece)
        reader.join()
    grown = function.memory_mb() - before
    print(f"{framing}, {known=}: {sent} bytes were taken, {grown:.1f} MB grown")
    assert answer[0].startswith(b"HTTP/1.1 413 " if known else b"HTTP/1.1 401 ")
    assert sent < 20_000_000
    assert grown < GROWTH_MAX_MB


@contextmanager
def slow_clients(function: Function, begun: bytes, drop: bytes) -> Iterator[None]:
    """Have many clients begin a request and go on a byte a second."""
    stop = threading.Event()

    def trickle() -> None:
        with function.connected() as it, suppress(OSError):
            it.sendall(begun)
            started.release()
            while not stop.wait(1):
                it.sendall(drop)

    started = threading.Semaphore(0)
    threads = [threading.Thread(target=trickle) for _ in range(SLOW)]
    for it in threads:
        it.start()
    for _ in threads:
        assert started.acquire(timeout=PATIENCE_S)
    try:
        yield
    finally:
        stop.set()
        for it in threads:
            it.join()


@contextmanager
def others_are_answered(
    function: Function, for_s: float, growth_max_mb: float = GROWTH_MAX_MB
) -> Iterator[None]:
    """Have the block begin what may hold up others, and see how long these wait meanwhile."""
    calm = max(function.took_s() for _ in range(10))
    before = function.memory_mb()
    yield
    until, took = time.monotonic() + for_s, []
    while time.monotonic() < until:
        took.append(function.took_s())
        time.sleep(0.05)
    grown = function.memory_mb() - before
    nine_of_ten = quantiles(took, n=10)[-1]
    print(
        f"calm {calm:.3f} s; {len(took)} asked: median {median(took):.3f} s, nine of ten"
        f" {nine_of_ten:.3f} s, most {max(took):.3f} s; {grown:.1f} MB grown"
    )
    assert median(took) < ANSWERED_WITHIN_S
    assert nine_of_ten < max(ANSWERED_WITHIN_S, TIMES_AS_LONG * calm)
    assert max(took) < NEVER_LATER_S
    assert grown < growth_max_mb


@pytest.mark.parametrize("part", ["line", "headers", "body", "chunks"])
def test_slow_clients_hold_up_nobody(function: Function, signer: Signer, part: str) -> None:
    """Four times as many of them as the function has threads, and who is let in is among them."""
    token = f"Authorization: Bearer {signer.token()}".encode()
    begun, drop = {
        "line": (b"POST /v1/inst", b"a"),
        "headers": (b"POST /v1/instances HTTP/1.1\r\nHost: a\r\nSlow: ", b"a"),
        "body": (request(token, b"Content-Length: 200000", body=b"{"), b" "),
        "chunks": (
            request(token, b"Transfer-Encoding: chunked", body=b"1\r\n{\r\n"),
            b"1\r\n \r\n",
        ),
    }[part]
    with ExitStack() as attack, others_are_answered(function, 6):
        attack.enter_context(slow_clients(function, begun, drop))


class Crowd:
    """Many connections at once, each of which sends one thing and keeps what it got open.

    Whose connection is ended comes back, so many in a second: it is connections that run out
    here, not processors.
    """

    def __init__(self, function: Function, sent: bytes, count: int = CROWD) -> None:
        self._function, self._sent, self._count = function, sent, count
        self._stop = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run)
        # How many came, and by what status how many were answered.
        self.came = 0
        self.statuses: Counter[bytes] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _run(self) -> None:
        while not self._stop.wait(1 / COMING_PER_S):
            if len(self._selector.get_map()) < self._count:
                self._come()
            for key, _ in self._selector.select(0):
                self._hear(key.fileobj)

    def _come(self) -> None:
        it = self._function.connect()
        with suppress(OSError):
            it.sendall(self._sent)
        it.settimeout(0)
        self._selector.register(it, selectors.EVENT_READ)
        self.came += 1

    def _hear(self, it: Any) -> None:
        came = b""
        with suppress(ConnectionError):
            came = it.recv(65_536)
        if came.startswith(b"HTTP/1.1 "):
            self.statuses[came[9:12]] += 1
        if not came:
            self._selector.unregister(it)
            it.close()


LARGE = b"Content-Length: 200000"
LAST = b"Connection: close"
BY_OWNER = b"Authorization: Bearer (an owner's)"
REFUSED = {
    "401 whose body does not come": (request(LARGE, body=b"{"), b"401"),
    "401 whose chunks do not come": (
        request(b"Transfer-Encoding: chunked", body=b"1\r\n{\r\n"),
        b"401",
    ),
    "401": (request(LARGE, body=b"x" * 200_000), b"401"),
    "413": (request(BY_OWNER, b"Content-Length: 9999999", body=b"{"), b"413"),
    "431": (b"GET /" + b"a" * 8190, b"431"),
    "400": (b"hello\r\n\r\n", b"400"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_who_is_refused_in_a_flood_holds_up_nobody(
    function: Function, signer: Signer, kind: str
) -> None:
    """Neither who asks in between, nor an owner whose body comes slowly: it has its place."""
    sent, status = REFUSED[kind]
    token = f"Authorization: Bearer {signer.token()}".encode()
    sent = sent.replace(BY_OWNER, token)
    with ExitStack() as attack, others_are_answered(function, 3, CROWD_MAX_MB):
        crowd = attack.enter_context(Crowd(function, sent))
        wait_until(lambda: crowd.statuses[status] >= CROWD)
        attack.callback(lambda: print(kind, crowd.came, crowd.statuses))
        with function.connected() as it:
            it.sendall(request(token, LAST, b"Content-Length: 3", body=b"{"))
            for part in (b" ", b"]"):
                time.sleep(1)
                it.sendall(part)
            answer = read_all(it)
    assert b"the body is not JSON" in answer, answer


@pytest.mark.parametrize("kind", ["kept", "silent"])
def test_idle_connections_hold_up_nobody(function: Function, kind: str) -> None:
    """More of them than the function takes, while slow ones come and come."""
    plain = request(b"Content-Length: 2", body=b"{}") if kind == "kept" else b""
    with ExitStack() as attack, others_are_answered(function, 3, CROWD_MAX_MB):
        crowd = attack.enter_context(Crowd(function, plain))
        wait_until(lambda: crowd.came >= CROWD)
        attack.enter_context(Crowd(function, b"POST /v1/inst", SLOW))


def test_who_was_idle_longest_makes_room(function: Function) -> None:
    """Its connection ends between two requests; those of all others go on."""
    plain = request(b"Content-Length: 2", body=b"{}")
    with ExitStack() as kept:
        idle = [kept.enter_context(function.connected()) for _ in range(CONNECTIONS)]
        for it in idle:
            assert_answered_on(it, plain)
        assert read_all(idle[0]) == b""
        for it in idle[1:]:
            assert_answered_on(it, plain)


def assert_answered_on(connection: socket.socket, request: bytes) -> None:
    """A request is refused in order, and the whole answer read."""
    connection.sendall(request)
    came = b""
    while not came.endswith(b"}\n"):
        part = connection.recv(65_536)
        assert part, came
        came += part
    assert came.startswith(b"HTTP/1.1 401 ")


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_body_that_does_not_come_is_408(function: Function, signer: Signer) -> None:
    token = f"Authorization: Bearer {signer.token()}".encode()
    answer = function.answers(request(token, b"Content-Length: 100", body=b"{"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["type"] == "urn:openmultistack:problem:timeout"


def test_a_head_that_does_not_come_is_given_up(function: Function) -> None:
    assert function.answers(b"POST /v1/instances HTTP/1.1\r\nHost: a\r\n") == b""


@pytest.mark.parametrize(
    ("sent", "status", "slug"),
    [
        (b"GET /" + b"a" * 8190, 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 8192 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 101 + b"\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 4000, 431, "headers-too-large"),
        (b"hello\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1\r\nA b: c\r\n\r\n", 400, "malformed"),
        (request(b"Transfer-Encoding: gzip"), 400, "malformed"),
        (request(b"Transfer-Encoding: odd"), 501, "malformed"),
        (request(b"Content-Length: 1", b"Content-Length: 2"), 400, "malformed"),
    ],
)
def test_what_is_not_http_is_a_problem_document(
    function: Function, sent: bytes, status: int, slug: str
) -> None:
    head, _, body = function.answers(sent).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nContent-Type: application/problem+json" in head
    document = json.loads(body)
    assert (document["type"], document["status"]) == (f"urn:openmultistack:problem:{slug}", status)


@pytest.mark.parametrize("body", [b"zz\r\n", b"1\r\nabc\r\n", b"1;;=\r\na\r\n", b"1" * 9000])
def test_chunks_that_are_none_are_malformed(
    function: Function, signer: Signer, body: bytes
) -> None:
    """Said by the function, which knew who asks; no 500, and no further request is read."""
    token = f"Authorization: Bearer {signer.token()}".encode()
    answer = function.answers(request(token, b"Transfer-Encoding: chunked", body=body))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"urn:openmultistack:problem:malformed" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_that_ends_early_is_not_taken_for_a_command(
    function: Function, signer: Signer
) -> None:
    token = f"Authorization: Bearer {signer.token()}".encode()
    with function.connected() as it:
        it.sendall(request(token, b"Content-Length: 99", body=b'{"image": "i", "size": "s"}'))
        it.shutdown(socket.SHUT_WR)
        answer = read_all(it)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"ended before its length" in answer


def test_requests_on_one_connection_are_all_answered(function: Function) -> None:
    """One after the other, at once, after a body that nobody read, and after a pause."""
    plain = request(b"Content-Length: 2", body=b"{}")
    large = request(b"Content-Length: 200000", body=b"x" * 200_000)
    last = request(b"Connection: close", b"Content-Length: 2", body=b"{}")
    with function.connected() as it:
        it.sendall(plain + plain + large + plain)
        time.sleep(12)  # longer than a head may take, and than gunicorn keeps what is idle
        it.sendall(plain[:20])
        it.sendall(plain[20:] + last)
        answer = read_all(it)
    assert answer.count(b"HTTP/1.1 401 ") == 6
    assert answer.count(b"Connection: close") == 1
