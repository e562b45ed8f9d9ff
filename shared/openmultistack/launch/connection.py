"""A client's connection: waiting for the client takes one of few places, and has an end.

A thread that works for a client who has sent everything is never held up by one who has not.
"""

import errno
import select
import socket
import time
from contextlib import suppress
from threading import Lock

# An answer is read by whoever asked for it; gateways read at once.
SENT_WITHIN_S = 10.0


class Places:
    """Where threads wait for their clients; for one more, whoever began first is cut off.

    So a few who send a byte now and then cannot take all threads: others are quicker than they.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = Lock()
        self._waiting: set[Connection] = set()

    def wait(self, connection: "Connection", event: int, until: float) -> None:
        """Return when a connection can be read or written (`select.POLLIN`, `POLLOUT`).

        Raises:
            TimeoutError: not by `until`, or somebody else has the place now.
        """
        with self._lock:
            self._waiting.add(connection)
            if len(self._waiting) > self._count:
                min(self._waiting, key=lambda it: it.began).cut_off()
        try:
            poll = select.poll()
            poll.register(connection, event)
            ready = poll.poll(max(0.0, until - time.monotonic()) * 1000)
        finally:
            with self._lock:
                self._waiting.discard(connection)
        if not ready or connection.is_cut_off:
            raise _too_slow()


def _too_slow() -> TimeoutError:
    """Return what gunicorn passes over in silence, as it does with who has gone."""
    return TimeoutError(errno.ECONNRESET, "the client took too long")


class Connection(socket.socket):
    """An accepted connection, as gunicorn's threads use it: it never blocks them in the kernel."""

    def __init__(self, accepted: socket.socket, places: Places) -> None:
        kind = (accepted.family, accepted.type, accepted.proto)
        super().__init__(*kind, fileno=accepted.detach())
        super().settimeout(0)
        self._places = places
        self.is_cut_off = False
        self.expect(0)

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001  socket's own
        """Change nothing: gunicorn would have it block."""

    def settimeout(self, value: float | None, /) -> None:
        """Change nothing, as above."""

    def expect(self, within_s: float) -> None:
        """Have all that is received from now on come within so many seconds together.

        0: what is not there yet is not awaited, which takes no place from those who wait.
        """
        self.began = time.monotonic()
        self._until = self.began + within_s
        self._is_answered = False

    def cut_off(self) -> None:
        """Give up the client; who waits for it is woken. Who did not send can be answered still."""
        self.is_cut_off = True
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR if self._is_answered else socket.SHUT_RD)

    def take(self, size: int) -> bytes | None:
        """Return what is there, b"" at the end, however it came; None if nothing is there yet."""
        try:
            return super().recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def is_silent(self) -> bool:
        """Return whether nothing has come that was not read, the end neither."""
        try:
            super().recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return what comes next.

        Raises:
            TimeoutError: it did not come in time.
        """
        while True:
            if self.is_cut_off:
                raise _too_slow()
            try:
                return super().recv(bufsize, flags)
            except BlockingIOError:
                if time.monotonic() >= self._until:
                    raise _too_slow() from None
                self._places.wait(self, select.POLLIN, self._until)

    def sendall(self, data: bytes, flags: int = 0, /) -> None:  # type: ignore[override]
        """Send it all.

        Raises:
            TimeoutError: the client did not read in time.
        """
        self._is_answered, self.began = True, time.monotonic()
        until = self.began + SENT_WITHIN_S
        left = memoryview(data)
        while left:
            try:
                left = left[super().send(left, flags) :]
            except BlockingIOError:
                self._places.wait(self, select.POLLOUT, until)
