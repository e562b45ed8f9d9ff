"""The lab's processes: started, found again, signalled; no other is ever signalled.

A record holds a pid and the kernel's start time of it, so that a pid which another program was
given since is not taken for ours.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lock
from errors import LabError
from layout import Lab, replace_text
from topology import HOST

START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 20
POLL_S = 0.1
POSTGRES = "postgres"

Argv = Sequence[str | Path]

_writing = threading.Lock()


@dataclass(frozen=True)
class Process:
    """One recorded process; `start` is the kernel's start time of it, in clock ticks since boot."""

    name: str
    pid: int
    start: str
    port: int
    log: str

    def is_alive(self) -> bool:
        """Whether the pid still is the process that was recorded."""
        return start_time(self.pid) == self.start

    def family(self) -> list[int]:
        """Its pid, and for PostgreSQL those of its processes for each connection."""
        if self.name == POSTGRES:
            return [self.pid, *children(self.pid)]
        return [self.pid]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there; to stop, go on or die is for the whole family."""
        if not self.is_alive():
            return
        whole = number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL)
        for pid in self.family() if whole else [self.pid]:
            send(pid, number)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a pid that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def stat_fields(pid: int) -> list[str]:
    """What proc(5) calls the fields from 3 on of a pid's stat: state, parent and so on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def start_time(pid: int) -> str | None:
    """When the kernel started a pid, in ticks since boot; None if it does not run."""
    fields = stat_fields(pid)
    return fields[19] if fields and fields[0] != "Z" else None


def children(parent: int) -> list[int]:
    """The pids that a process started itself."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if stat_fields(pid)[1:2] == [str(parent)]]


def recorded(lab: Lab) -> dict[str, Process]:
    """Every process that was started and not stopped since, dead ones too."""
    try:
        records = json.loads((lab.state / "processes.json").read_text())
    except FileNotFoundError:
        return {}
    return {record["name"]: Process(**record) for record in records}


def running(lab: Lab) -> dict[str, Process]:
    """The recorded processes that are alive."""
    return {name: process for name, process in recorded(lab).items() if process.is_alive()}


def record(lab: Lab, processes: dict[str, Process]) -> None:
    """Replace what is recorded."""
    text = json.dumps([asdict(process) for process in processes.values()], indent=1)
    replace_text(lab.state / "processes.json", text)


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment for OpenStack's programs.

    Without a caller's OS_* variables, which they would read. Compiled modules are always kept:
    under PYTHONDONTWRITEBYTECODE every start would compile all of OpenStack anew.
    """
    dropped = ("OS_", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        "MALLOC_ARENA_MAX": "2",
        "no_proxy": HOST,
        "NO_PROXY": HOST,
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
        **(extra or {}),
    }


def listens(port: int) -> bool:
    """Whether something accepts connections on a port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def start(
    lab: Lab,
    name: str,
    argv: Argv,
    port: int,
    env: dict[str, str] | None = None,
    **popen: Any,  # noqa: ANN401  what subprocess.Popen takes
) -> None:
    """Start a process and record it, unless it runs already.

    Call it from a worker thread only: there Ctrl-C cannot come between the start and the record.

    Raises:
        LabError: another program has the port.
    """
    if name in running(lab):
        return
    if listens(port):
        raise LabError(f"port {port} of {name} is taken: set LAB_PORT_BASE to other ports")
    log = lab.state / "log" / f"{name}.out"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            argv,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **({"cwd": lab.state} | popen),
        )
    add(lab, Process(name, child.pid, start_time(child.pid) or "", port, str(log)))


def add(lab: Lab, process: Process) -> None:
    """Record one more process; safe among threads."""
    with _writing:
        record(lab, recorded(lab) | {process.name: process})


def wait_until_listening(lab: Lab, names: list[str]) -> None:
    """Wait until every named process accepts connections.

    Raises:
        LabError: one died, or does not listen in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    processes = recorded(lab)
    for name in names:
        process = processes[name]
        while not listens(process.port):
            if not process.is_alive():
                raise LabError(f"{name} died at its start, see {process.log}")
            if time.monotonic() > deadline:
                raise LabError(f"{name} does not listen after {START_TIMEOUT_S} s: {process.log}")
            time.sleep(POLL_S)


def stop(lab: Lab) -> int:
    """Stop what was recorded, the database last; returns how many ran."""
    ours = running(lab)
    database = [ours[POSTGRES]] if POSTGRES in ours else []
    services = [process for process in ours.values() if process.name != POSTGRES]
    stop_all(services, signal.SIGTERM)
    stop_all(database, signal.SIGINT)  # PostgreSQL's shutdown that waits for no client
    if lab.state.is_dir():
        record(lab, {})
    return len(ours)


def stop_all(processes: list[Process], number: signal.Signals) -> None:
    """Ask processes to end, then make those that did not."""
    for process in processes:
        process.signal(number)
        process.signal(signal.SIGCONT)  # a paused one has not seen the first
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for process in processes:
        process.signal(signal.SIGKILL)


def run(
    argv: Argv,
    env: dict[str, str] | None = None,
    **popen: Any,  # noqa: ANN401  what subprocess.run takes
) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        LabError: it failed; with the end of what it printed.
    """
    done = subprocess.run(
        argv,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        pass_fds=lock.held,
        **popen,
    )
    if done.returncode:
        raise LabError(f"{Path(argv[0]).name} failed ({done.returncode}): {done.stdout[-3000:]}")
    return str(done.stdout)
