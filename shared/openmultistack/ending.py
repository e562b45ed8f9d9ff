"""Whether this process is about to end: who sleeps inside a request answers then, at once."""

import threading
import time

# Set by the launcher when the platform has told the process to end.
ENDING = threading.Event()
LOOK_EVERY_S = 0.2


def wait_for(what: threading.Event, seconds: float) -> bool:
    """Return whether something came about within a time, or before the process is to end."""
    until = time.monotonic() + seconds
    while not ENDING.is_set() and (left_s := until - time.monotonic()) > 0:
        if what.wait(min(LOOK_EVERY_S, left_s)):
            return True
    return what.is_set()
