"""Waiting for facts: how tests wait, on a machine that has other things to do."""

import time
from collections.abc import Callable

WITHIN_S = 180.0


def until(holds: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Return when something holds; fail if it does not in time."""
    over = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < over, f"not within {within_s} s"
        time.sleep(0.02)


def soon(holds: Callable[[], object], within_s: float = 60) -> bool:
    """Return whether something comes to hold."""
    over = time.monotonic() + within_s
    while not holds() and time.monotonic() < over:
        time.sleep(0.01)
    return bool(holds())
