"""The supervisor of a stack: circus, of whose acts none comes between another one's.

Circus does one thing at a time and refuses what comes meanwhile: a round of its own with a
traceback in its log, a SIGTERM without a word. Here such a round is left out, as whoever is at work
looks after the processes, and such a SIGTERM waits for its turn.
"""

import sys
from collections.abc import Iterator
from typing import Any

from circus import logger
from circus.arbiter import Arbiter
from circus.util import configure_logger
from tornado import gen

LOOK_EVERY_S = 0.05


class Supervisor(Arbiter):  # type: ignore[misc]  # circus has no types
    """Circus' own, whose acts do not overlap."""

    def manage_watchers(self) -> Any:  # noqa: ANN401  tornado's Future, or nothing to wait for
        """Look after the processes, if nobody else is at work."""
        return None if self._exclusive_running_command else super().manage_watchers()

    @gen.coroutine
    def stop(self) -> Iterator[Any]:
        """End all processes, when what is under way has come to its end."""
        while self._exclusive_running_command and not self._stopping:
            yield gen.sleep(LOOK_EVERY_S)
        if not self._stopping:
            yield super().stop()


def main() -> None:
    """Run what a configuration file says, until SIGTERM."""
    configure_logger(logger, "warning", "-")
    Supervisor.load_from_config(sys.argv[1]).start().result()


if __name__ == "__main__":
    main()
