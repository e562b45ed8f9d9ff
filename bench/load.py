"""A load that costs little: prepared requests on kept connections, one process, no threads."""

import selectors
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from report import percentile

END_OF_HEADERS = b"\r\n\r\n"


class Load(NamedTuple):
    """What a load came to; `own_us`: its own processor time for each request."""

    per_second: float
    p50_ms: float
    own_us: float


class Connection:
    """A kept connection that has one request under way."""

    def __init__(self, url: str, request: bytes, expect: int) -> None:
        where = urlsplit(url)
        self.socket = socket.create_connection((where.hostname, where.port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._expect = b"HTTP/1.1 %d " % expect
        self._answer = b""
        self._sent_at = 0.0

    def send(self) -> None:
        """Send the request."""
        self._answer, self._sent_at = b"", time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> float | None:
        """Take what has come; return the seconds it took once the answer is whole.

        Raises:
            RuntimeError: the answer is not the one that is expected.
        """
        self._answer += self.socket.recv(65536)
        head, end, body = self._answer.partition(END_OF_HEADERS)
        if not end:
            if not self._answer:
                raise RuntimeError("a connection was closed")
            return None
        if not head.startswith(self._expect):
            raise RuntimeError(f"an answer was {self._answer[:400]!r}")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return time.perf_counter() - self._sent_at if len(body) >= length else None


def load(
    urls: Sequence[str], path: str, body: str, *,
    token: str, expect: int, seconds: float, connections: int,
) -> Load:  # fmt: skip
    """Send the same POST again and again, by turns to these addresses, each waiting for its answer.

    Raises:
        RuntimeError: an answer had another status than is expected.
    """
    request = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    took: list[float] = []
    with selectors.DefaultSelector() as ready:
        for number in range(connections):
            made = Connection(urls[number % len(urls)], request, expect)
            ready.register(made.socket, selectors.EVENT_READ, made)
            made.send()
        used, began = time.process_time(), time.perf_counter()
        while time.perf_counter() - began < seconds:
            for key, _ in ready.select(1):
                if (took_s := key.data.receive()) is not None:
                    took.append(took_s)
                    key.data.send()
        wall, used = time.perf_counter() - began, time.process_time() - used
        for key in list(ready.get_map().values()):
            key.data.socket.close()
    return Load(len(took) / wall, percentile(took, 0.5) * 1000, used / len(took) * 1e6)
