"""Ports of this machine: blocks of them claimed for tests and measurements, and who has which.

A unit is 250 ports. Whoever uses a unit binds its last port, on which nothing ever listens: the
kernel gives that to one process alone, and takes it back when that process ends, however it ends.
"""

import atexit
import contextlib
import itertools
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import psutil

HOST = "127.0.0.1"
UNIT = 250
# Below the stacks that people start (20000 and more), their laboratories, and the ports from 32768
# on that the kernel gives to outgoing connections.
FIRST, AFTER_LAST = 10_000, 20_000
# Where a stack's laboratory has its units, as seen from the stack's base.
LAB_UNITS = (5000, 5250, 6000)
# A stack marks its processes with its home, a laboratory with its own, which is below that.
STACK_MARK, LAB_MARK = "OMS_LOCAL_STACK", "LAB_HOME"


# Claims that nobody has a name for are held, too.
_CLAIMS: set["Claim"] = set()


class NoPorts(Exception):
    """There is no free block of ports."""


class Claim:
    """A stack's block of ports, with its laboratory's: no other claim has any of them."""

    def __init__(self, base: int, *, lab: bool = False) -> None:
        self.base = base
        self.units = [base, *(base + it for it in LAB_UNITS if lab)]
        self._held: list[socket.socket] = []
        try:
            for unit in self.units:
                self._held.append(_bound(unit + UNIT - 1))
        except OSError:
            self.release()
            raise
        _CLAIMS.add(self)

    def ports(self) -> list[int]:
        """Return all ports of the block but those that are the claim."""
        return [port for unit in self.units for port in range(unit, unit + UNIT - 1)]

    def release(self) -> None:
        """Let go of it; may be repeated."""
        _CLAIMS.discard(self)
        for it in self._held:
            it.close()
        self._held.clear()


def claim_block(*, lab: bool = False, wanted: int | None = None, home: Path | None = None) -> Claim:
    """Claim a block of which no port is taken; held until released, or until this process ends.

    `wanted` is tried first; what a stack at `home` left running there does not matter.

    Raises:
        NoPorts: there is none.
    """
    last = AFTER_LAST - UNIT - (max(LAB_UNITS) if lab else 0)
    for base in [*([] if wanted is None else [wanted]), *range(FIRST, last + 1, UNIT)]:
        claim = claim_base(base, lab=lab, home=home)
        if claim:
            return claim
    raise NoPorts(f"no block of ports is free from {FIRST} to {AFTER_LAST}")


def claim_base(base: int, *, lab: bool = False, home: Path | None = None) -> Claim | None:
    """Claim just this block; None if others have it, or some of its ports."""
    with contextlib.suppress(OSError):
        claim = Claim(base, lab=lab)
        if not taken(claim.ports(), besides=home):
            return claim
        claim.release()
    return None


def single_ports() -> Iterator[int]:
    """Give free ports without end, all of a unit that is claimed as long as this is kept.

    None comes again before all others came.

    Raises:
        NoPorts: no unit is free, or no port of this one.
    """
    for base in range(AFTER_LAST - UNIT, FIRST, -UNIT):
        claim = claim_base(base)
        if claim:
            break
    else:
        raise NoPorts(f"no unit of ports is free from {FIRST} to {AFTER_LAST}")
    missed = 0
    for port in itertools.cycle(claim.ports()):
        missed = 0 if is_free(port) else missed + 1
        if missed > UNIT:
            raise NoPorts(f"all ports from {claim.base} on are taken")
        if not missed:
            yield port


@atexit.register
def _release_all() -> None:
    """Close what is still claimed as this process ends, before Python complains of it."""
    for it in list(_CLAIMS):
        it.release()


@cache
def _singles() -> Iterator[int]:
    return single_ports()


def free_port() -> int:
    """Return a port that is free, and that no other process which asks here is given.

    Raises:
        NoPorts: there is none.
    """
    return next(_singles())


def is_free(port: int) -> bool:
    """Whether a service could listen on a port now."""
    with contextlib.suppress(OSError):
        _bound(port, reuse=True).close()
        return True
    return False


def taken(ports: Sequence[int], *, besides: Path | None = None) -> list[int]:
    """Return those of the ports that somebody has, but for the stack at `besides`."""
    found = [port for port in ports if not is_free(port)]
    if not found or besides is None:
        return found
    listening = holders()
    return [it for it in found if it not in listening or home_of(listening[it]) != besides]


def holders() -> Mapping[int, psutil.Process]:
    """Return which process listens on which port, as far as this user may know."""
    found: dict[int, psutil.Process] = {}
    with contextlib.suppress(psutil.Error, OSError):
        for it in psutil.net_connections("tcp"):
            if it.status == psutil.CONN_LISTEN and it.pid and it.laddr:
                with contextlib.suppress(psutil.Error):
                    found[it.laddr.port] = psutil.Process(it.pid)
    return found


def home_of(process: psutil.Process) -> Path | None:
    """Return the home of the stack that a process is of, its laboratory included; or None."""
    with contextlib.suppress(psutil.Error, OSError):
        environment = process.environ()
        if STACK_MARK in environment:
            return Path(environment[STACK_MARK])
        if LAB_MARK in environment:
            return Path(environment[LAB_MARK]).parent
    return None


def describe_holder(port: int) -> str:
    """Return who has a port, in words: a stack by its home, another program by name and pid."""
    process = holders().get(port)
    if process is None:
        return "another program"
    home = home_of(process)
    if home is not None:
        return f"the stack in {home}"
    with contextlib.suppress(psutil.Error):
        return f"another program ({process.name()}, pid {process.pid})"
    return "another program"


def first_free(bases: Sequence[int], ports_of: Callable[[int], Sequence[int]]) -> int | None:
    """Return the first of the bases whose ports are all free; None if there is none."""
    return next((base for base in bases if not taken(ports_of(base))), None)


def _bound(port: int, *, reuse: bool = False) -> socket.socket:
    """Return a socket that has a port; with `reuse` also one of connections that just ended."""
    it = socket.socket()
    try:
        if reuse:
            it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        it.bind((HOST, port))
    except OSError:
        it.close()
        raise
    return it
