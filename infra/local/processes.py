"""The processes of a stack on this machine: found by their marks, ended by pid."""

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import psutil

from infra.local import gateway_admin
from infra.local.layout import Stack
from infra.local.ports import HOST, STACK_MARK
from infra.local.watchers import GRACEFUL_S, NAME_MARK, Door

SUPERVISOR, GATEWAY = "circusd", "envoy"
STARTED_WITHIN_S = 120


def running(stack: Stack) -> dict[str, psutil.Process]:
    """Return the stack's processes by name; of a family only the eldest."""
    found: dict[str, psutil.Process] = {}
    for process, name in _marked(stack):
        elder = found.get(name)
        if elder is None or process.create_time() < elder.create_time():
            found[name] = process
    return found


def _marked(stack: Stack) -> Iterator[tuple[psutil.Process, str]]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(STACK_MARK) != str(stack.home):
                continue
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process, environment.get(NAME_MARK, "")


def homes_below(folder: Path) -> set[Path]:
    """Return the homes below a folder, or that folder itself, of which processes run."""
    homes = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            home = Path(process.environ().get(STACK_MARK, "/"))
            if home.is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                homes.add(home)
    return homes


def end_gently(stack: Stack, names: Iterable[str]) -> None:
    """End processes that the supervisor starts again; return when the new ones are there.

    Requests in flight end before; the port is free only then.
    """
    wanted = set(names)
    families = [(it, name) for it, name in _marked(stack) if name in wanted]
    before = {it.pid for it, _ in families}
    eldest = [it for name, it in running(stack).items() if name in wanted]
    _end(eldest, within_s=GRACEFUL_S + 10)
    until = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until:
        now = running(stack)
        if all(name in now and now[name].pid not in before for _, name in families):
            return
        time.sleep(0.1)


def stop(stack: Stack) -> int:
    """End the stack's processes, the supervisor first, and return how many there were.

    What clients wait for is answered before. The supervisor ends the others gently; whatever is
    left then (as when it had been killed) is ended by pid.
    """
    ours = running(stack)
    supervisor = ours.get(SUPERVISOR)
    if GATEWAY in ours:
        _finish_requests(stack)
    if supervisor:
        _end([supervisor], within_s=GRACEFUL_S + 10)
    _end([process for process, _ in _marked(stack)], within_s=GRACEFUL_S)
    return len(ours)


def _finish_requests(stack: Stack) -> None:
    """Have the gateway take nothing new; return when what it has is answered, but for sweeps."""
    gateway_admin.close_listeners(stack)
    until = time.monotonic() + GRACEFUL_S
    while time.monotonic() < until and gateway_admin.under_way(stack):
        time.sleep(0.1)


def _end(processes: list[psutil.Process], *, within_s: float) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def memory_mb(process: psutil.Process) -> float:
    """Return the resident memory of a process and those of its name that it started."""
    with contextlib.suppress(psutil.Error):
        mine = process.environ().get(NAME_MARK)
        family = [
            it for it in process.children(recursive=True) if it.environ().get(NAME_MARK) == mine
        ]
        family.append(process)
        return float(sum(it.memory_info().rss for it in family) / 2**20)
    return 0.0


def listens(at: Door, *, timeout_s: float = 1.0) -> bool:
    """Return whether somebody takes connections on a port of this machine, or a Unix socket."""
    family = socket.AF_INET if isinstance(at, int) else socket.AF_UNIX
    with contextlib.suppress(OSError), socket.socket(family) as client:
        client.settimeout(timeout_s)
        client.connect((HOST, at) if isinstance(at, int) else str(at))
        return True
    return False


def wait_for(doors: Mapping[str, Door], *, timeout_s: float) -> list[str]:
    """Wait until all are listened on; return the names of those that are not in time."""
    until = time.monotonic() + timeout_s
    waiting = dict(doors)
    while waiting and time.monotonic() < until:
        waiting = {name: at for name, at in waiting.items() if not listens(at)}
        time.sleep(0.1)
    return list(waiting)
