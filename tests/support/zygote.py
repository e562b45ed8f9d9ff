"""Python programs that need not import first."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

PROGRAM = Path(__file__).parent.parent / "zygote.py"


class Zygote:
    """Runs Python programs as processes of their own that need not import first; see zygote.py."""

    def __init__(self, home: Path, *modules: str) -> None:
        self._files = {name: home / name for name in ("stdin", "stdout", "stderr")}
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def run(
        self, program: str, *arguments: str, environment: Mapping[str, str], stdin: str = "",
        timeout_s: float = 600,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a module or a .py file until it ends; it is killed when it takes too long."""
        self._files["stdin"].write_text(stdin)
        order = {"run": program, "arguments": arguments, "environment": dict(environment)}
        told = json.dumps(order | {k: str(v) for k, v in self._files.items()})
        print(told, file=self._process.stdin)
        pid = self._read_number()
        alarm = threading.Timer(timeout_s, _kill, (pid,))
        alarm.start()
        code = self._read_number()
        alarm.cancel()
        said = (self._files[name].read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess([program, *arguments], code, *said)

    def _read_number(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def end(self) -> None:
        """End it; it has no process left then."""
        self._process.communicate(timeout=10)


def _kill(pid: int) -> None:
    """Kill a process, which may have ended by itself just now."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
