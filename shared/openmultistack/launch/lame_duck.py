"""The end of a function: it is told, and still answers for a while.

Platforms send SIGTERM and take the function out of their lists at the same time; for seconds
requests come from whoever has not heard of it yet.
"""

import queue
import signal
import time

from gunicorn.arbiter import Arbiter

# A worker has no other use for it; a terminal never sends it.
END_IS_NEAR = signal.SIGUSR2


class LameDuck(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's master, which takes requests for some seconds more when it is to end."""

    def __init__(self, app: object, for_s: int) -> None:
        super().__init__(app)
        self._for_s = for_s

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002  gunicorn's
        """Tell the workers, go on for a while, and end when all is answered."""
        if graceful:
            self.kill_workers(END_IS_NEAR)
            graceful = self._go_on()
        super().stop(graceful)

    def _go_on(self) -> bool:
        """Return whether nobody was in a hurry meanwhile."""
        until = time.monotonic() + self._for_s
        while self.WORKERS and (left_s := until - time.monotonic()) > 0:
            try:
                told = self.SIG_QUEUE.get(timeout=left_s)
            except queue.Empty:
                break
            if told in (signal.SIGINT, signal.SIGQUIT):
                return False
        return True
