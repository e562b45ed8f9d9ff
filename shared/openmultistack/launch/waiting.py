"""Connections that no thread has, and no place: they wait in the main thread, each for so long.

When all connections are taken, who needs one least makes room.
"""

import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from openmultistack.launch.connection import Connection

# What is left of a body after the answer.
REST_WITHIN_S = 2.0
# Who was sent an answer without having been heard out may read it so long, and send so much
# meanwhile: a connection that is closed with something unread is reset, and the answer with it.
LEAVING_WITHIN_S = 1.0
LEAVING_MAX_BYTES = 64 * 1024
# What the main thread takes of one connection before it looks at the others.
TAKEN_BYTES = 64 * 1024


class WaitingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Knows who has no head yet, whose body is passed over, who leaves, and who is idle."""

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401  gunicorn's
        super().__init__(*arguments, **more)
        # In the order of their timeouts, which all of a kind have from the same number of seconds.
        self.heads: dict[TConn, bytearray] = {}
        self._rests: dict[TConn, int] = {}
        self._leaving: dict[TConn, int] = {}
        # Who was idle longest makes room; gunicorn would keep none of those who come later.
        self.max_keepalived = self.worker_connections

    def pass_over(self, conn: TConn, left: int) -> None:
        """Await so many bytes of a body that nobody reads; then the connection is kept."""
        conn.timeout = time.monotonic() + REST_WITHIN_S
        self._rests[conn] = left
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_rest, conn))

    def _on_rest(self, conn: TConn, connection: Connection) -> None:
        came = connection.take(min(self._rests[conn], TAKEN_BYTES))
        if came == b"":
            self.close_now(conn)
            return
        self._rests[conn] -= len(came or b"")
        if not self._rests[conn]:
            self.let_go(conn)
            self.keep(conn)

    def keep(self, conn: TConn) -> None:
        """Have a connection idle until its next request."""
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        self.keepalived_conns.append(conn)
        later = partial(self.on_client_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, later)

    def leave(self, conn: TConn) -> None:
        """Send nothing more, and let the client read its answer and go."""
        conn.timeout = time.monotonic() + LEAVING_WITHIN_S
        self._leaving[conn] = 0
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_leaving, conn))
        except (OSError, ValueError):
            self.close_now(conn)

    def _on_leaving(self, conn: TConn, connection: Connection) -> None:
        came = connection.take(TAKEN_BYTES)
        if came == b"":
            self.close_now(conn)
            return
        self._leaving[conn] += len(came or b"")
        if self._leaving[conn] > LEAVING_MAX_BYTES:
            self.poller.unregister(connection)

    def murder_pending(self) -> None:
        """Close what has waited too long; when all connections are taken, one more."""
        now = time.monotonic()
        for waiting in (self.heads, self._rests, self._leaving):
            for conn in _due(waiting, now):
                self.close_now(conn)
        while self.nr_conns >= self.worker_connections and (least := self._find_least_needed()):
            self.close_now(least)

    def _find_least_needed(self) -> TConn | None:
        """Return who makes room: was idle longest, else has its answer, else sends no head.

        HTTP allows to end an idle connection at any time; but one that has spoken is idle no more.
        """
        while self.keepalived_conns:
            conn = self.keepalived_conns[0]
            if conn.sock.is_silent():
                return self.keepalived_conns.popleft()
            self.on_client_socket_readable(conn, conn.sock)
        longest = (next(iter(it)) for it in (self._leaving, self._rests, self.heads) if it)
        return next(longest, None)

    def let_go(self, conn: TConn) -> None:
        """Have a connection wait for nothing any more."""
        for waiting in (self.heads, self._rests, self._leaving):
            waiting.pop(conn, None)
        with suppress(KeyError, OSError, ValueError):
            self.poller.unregister(conn.sock)

    def close_now(self, conn: TConn) -> None:
        """End a connection that no thread has."""
        self.let_go(conn)
        self.nr_conns -= 1
        conn.close()


def _due(waiting: dict[TConn, Any], now: float) -> list[TConn]:
    """Return those whose time is up, of connections in the order of their timeouts."""
    due: list[TConn] = []
    for conn in waiting:
        if conn.timeout > now:
            break
        due.append(conn)
    return due
