"""Who may sleep inside a request: few, so that waiting leaves the threads to all others."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

# Of a process' threads this part may sleep at once, and of one owner's requests so many.
PART = 4
OF_OWNER = 4


class WaitingRoom:
    """The places for requests that sleep in one process; safe to share between threads."""

    def __init__(self, threads: int) -> None:
        self._places = max(1, threads // PART)
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def is_free_for(self, owner: str) -> bool:
        """Whether there is a place for one more of an owner's requests."""
        return self._taken.total() < self._places and self._taken[owner] < OF_OWNER

    @contextmanager
    def place(self, owner: str) -> Iterator[bool]:
        """Hold a place while the block runs; False: there is none, answer without sleeping."""
        with self._lock:
            found = self.is_free_for(owner)
            if found:
                self._taken[owner] += 1
        try:
            yield found
        finally:
            if found:
                with self._lock:
                    self._taken[owner] -= 1
                    self._taken += Counter()  # owners with none are forgotten
