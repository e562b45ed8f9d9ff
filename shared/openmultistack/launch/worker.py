"""Gunicorn's worker of threads, with an end to everything that a client may send, slowly or not.

What gunicorn leaves open: a head is awaited without a thread, for so long and no longer; a body
holds one of few places while it is awaited; what a function did not read is passed over, no further
than a body may be (`waiting`), and the connection ends there. Nothing here reads what a function
would not.
"""

import errno
import selectors
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn import http
from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import TConn

from openmultistack.domain.bounds import BODY_MAX_BYTES
from openmultistack.ending import ENDING
from openmultistack.launch.connection import Connection, Places
from openmultistack.launch.lame_duck import END_IS_NEAR
from openmultistack.launch.refusing import (
    HEADERS_TOO_LARGE,
    INTERNAL,
    Refusal,
    answer,
    demand_one_reading,
    refusal_of,
)
from openmultistack.launch.waiting import REST_WITHIN_S, WaitingWorker

if TYPE_CHECKING:
    from concurrent.futures import Future

# Of the request line, and of a header.
FIELD_MAX_BYTES = 8190
FIELDS_MAX = 100
# Of the request line and all headers. The gateway lets through 8 KiB of them.
HEAD_MAX_BYTES = 16 * 1024
HEAD_WITHIN_S = BODY_WITHIN_S = 10.0
END = b"\r\n\r\n"


class BoundedWorker(WaitingWorker):
    """The main thread collects heads and says goodbye; threads have whole heads only."""

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401  gunicorn's
        super().__init__(*arguments, **more)
        self._places = Places(max(1, self.cfg.threads // 4))

    def init_signals(self) -> None:
        """Listen to the master as well, which says beforehand that the end is near."""
        super().init_signals()
        signal.signal(END_IS_NEAR, lambda *_: self._say_ending())
        signal.siginterrupt(END_IS_NEAR, False)  # noqa: FBT003  the only form

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401  gunicorn's
        """Take nothing new, and end when all is answered."""
        self._say_ending()
        super().handle_exit(sig, frame)

    def _say_ending(self) -> None:
        """Have the main thread say so; a handler that took a lock would meet itself there.

        A signal may come while the handler of another is at work.
        """
        self.method_queue.defer(ENDING.set)

    # ------------------------------------------------------------ before a thread has it

    def accept(self, listener: socket.socket) -> None:
        """Take a connection; no thread has it before its head is there."""
        came = _accept(listener)
        if came is None:
            return
        accepted, address = came
        self.nr_conns += 1
        connection = Connection(accepted, self._places)
        self._await_head(TConn(self.cfg, connection, address, listener.getsockname()), b"")

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Begin the next request of a connection that was kept."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_head(conn, b"")

    def _await_head(self, conn: TConn, begun: bytes) -> None:
        conn.timeout = time.monotonic() + HEAD_WITHIN_S
        self.heads[conn] = bytearray(begun)
        self._on_head(conn, conn.sock)
        if conn in self.heads:
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_head, conn))

    def _on_head(self, conn: TConn, connection: Connection) -> None:
        """Take what is there of a head; nearly always it is all."""
        head = self.heads[conn]
        if END not in head:
            came = connection.take(HEAD_MAX_BYTES)
            if came == b"":
                self.close_now(conn)
                return
            head += came or b""
        if END in head:
            self._begin(conn)
        elif len(head) > HEAD_MAX_BYTES or b"\r\n" not in head[: FIELD_MAX_BYTES + 2] < head:
            _refuse(connection, HEADERS_TOO_LARGE)
            self.let_go(conn)
            self.leave(conn)

    def _begin(self, conn: TConn) -> None:
        """Give a connection whose head is there to a thread."""
        head = bytes(self.heads[conn])
        self.let_go(conn)
        if conn.parser is None:
            conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
        conn.parser.unreader.unread(head)
        conn.data_ready = True
        conn.sock.expect(BODY_WITHIN_S)
        self.enqueue_req(conn)

    # ------------------------------------------------------------ in a thread

    def handle_request(self, req: Any, conn: TConn) -> bool:  # noqa: ANN401  gunicorn's
        """Answer a request; a connection ends with one that is not going to be read to its end."""
        demand_one_reading(req)
        if getattr(req.body.reader, "length", 0) > BODY_MAX_BYTES:
            req.force_close()
        return bool(super().handle_request(req, conn))

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:  # noqa: FBT001  gunicorn's
        """Whether it can be known where the next request begins; nothing is awaited for that.

        Of a body whose length was said the main thread passes over what is left (`_go_on`).
        """
        if not keepalive or isinstance(conn.parser.mesg.body.reader, LengthReader):
            return keepalive and not conn.parser.mesg.body.failed
        conn.sock.expect(0)
        until = time.monotonic() + REST_WITHIN_S
        return bool(conn.parser.finish_body(deadline=until, max_bytes=BODY_MAX_BYTES + 1))

    def handle_error(self, req: Any, client: Connection, addr: Any, exc: Exception) -> None:  # noqa: ANN401, ARG002  gunicorn's
        """Refuse what is not HTTP in the API's words."""
        refusal = refusal_of(exc)
        if refusal is INTERNAL:
            self.log.error("a request could not be answered", exc_info=exc)
        _refuse(client, refusal)

    # ------------------------------------------------------------ after a thread had it

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Keep a connection for its next request, or let its client read the answer and go."""
        kept = not fs.cancelled() and fs.exception() is None and fs.result() is True
        if not kept:
            self.leave(conn)
            return
        reader, left = conn.parser.mesg.body.reader, 0
        if isinstance(reader, LengthReader):
            left, reader.length = reader.length, 0
        self._go_on(conn, conn.parser.unreader.take_buffered(), left)

    def _go_on(self, conn: TConn, begun: bytes, left: int) -> None:
        """Await the next request, after so many bytes that are left of the last one's body."""
        if left > len(begun):
            self.pass_over(conn, left - len(begun))
        elif begun[left:]:
            self._await_head(conn, begun[left:])
        else:
            self.keep(conn)


def _accept(listener: socket.socket) -> tuple[socket.socket, Any] | None:
    """Return a connection with its client's address; None if there is none to be had now."""
    try:
        return listener.accept()
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE):
            raise
        return None


def _refuse(client: Connection, refusal: Refusal) -> None:
    with suppress(OSError):
        client.send(answer(refusal))
