"""Keeps two commands from changing one lab at a time.

The programs that a command runs to their end hold the lock with it: what a killed `up` has left
running is over before the next one begins.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from errors import LabError
from layout import Lab

WAIT_TIMEOUT_S = 120
POLL_S = 0.2

# The descriptor of the lock that this process holds, for the programs it runs; or none.
held: list[int] = []


@contextmanager
def alone(lab: Lab) -> Iterator[None]:
    """Hold the lab's lock, once others are done.

    Raises:
        LabError: they are not in time.
    """
    lab.home.mkdir(parents=True, exist_ok=True)
    with (lab.home / "lock").open("w") as file:
        wait_for(file.fileno())
        held.append(file.fileno())
        try:
            yield
        finally:
            held.clear()


def wait_for(descriptor: int) -> None:
    """Take the lock as soon as it is free."""
    deadline = time.monotonic() + WAIT_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LabError("another command is still changing this lab") from None
            time.sleep(POLL_S)
        else:
            return
