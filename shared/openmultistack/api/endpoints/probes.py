"""What platforms ask of each function: does it live, is it ready, is it time to sweep.

Nobody needs a token for these and no gateway leads to them; whoever reaches the function's own port
may ask as often as they like, and learns nothing of the fleet.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from openmultistack.api.calls import Call, Endpoint, Reply
from openmultistack.auth.guards import public
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.ending import ENDING, wait_for
from openmultistack.logs import in_context, tell

if TYPE_CHECKING:
    from openmultistack.ledger import Ledger
    from openmultistack.usecases.reap import Reaping

TICK = "/_/tick"
# So long an answer to `ready` counts: probes of many come to one question to the ledger.
READY_FOR_S = 1.0
# Ticks that come sooner after one, anywhere, are that one. Schedules have a minute, or ten seconds.
TICK_EVERY_MS = 9_000
# An answer waits so long for the sweeps at most, and no longer than the platform lets a request
# take; they go on behind it.
TICK_WITHIN_S = 20.0


def say_alive() -> Endpoint:
    """`GET /_/health`: the process answers, and is not about to end."""

    def run(_: Call) -> Reply:
        return Reply(503, {"status": "ending"}) if ENDING.is_set() else _OK

    return Endpoint("GET", "/_/health", public, run, is_routed=False, is_logged=False)


def say_ready(ledger: "Callable[[], Ledger]") -> Endpoint:
    """`GET /_/ready`: its files were read, or it would not have started, and the ledger answers."""
    readiness = _Readiness(lambda: ledger().now_ms())

    def run(_: Call) -> Reply:
        if not readiness.is_ready():
            raise LedgerUnavailable("the ledger does not answer")
        return _OK

    return Endpoint("GET", "/_/ready", public, run, is_routed=False, is_logged=False)


def tick(
    ledger: "Callable[[], Ledger]", reaping: "Callable[[], Reaping]", within_s: float
) -> Endpoint:
    """`POST /_/tick`: a schedule without a token has come; it takes no parameters.

    A hint, safe to flood: one of all that come within TICK_EVERY_MS has the regions swept.
    """
    ticking = _Ticking(
        lambda: ledger().turn("tick", for_ms=TICK_EVERY_MS),
        lambda: reaping().reap(),
        min(TICK_WITHIN_S, within_s),
    )

    def run(_: Call) -> Reply:
        return Reply(204 if ticking.tick() else 202, "")

    return Endpoint("POST", TICK, public, run, timeout_s=30, is_routed=False, is_logged=False)


_OK = Reply(200, {"status": "ok"})


class _Readiness:
    """Whether the ledger answered lately; one request at a time asks, the others take its word."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._asking = threading.Lock()
        self._until = 0.0
        self._is_ready = False

    def is_ready(self) -> bool:
        if time.monotonic() >= self._until and self._asking.acquire(blocking=False):
            try:
                self._ask()
            except LedgerUnavailable:
                self._is_ready = False
            else:
                self._is_ready = True
            finally:
                self._until = time.monotonic() + READY_FOR_S
                self._asking.release()
        return self._is_ready


class _Ticking:
    """Has the regions swept once for many ticks."""

    def __init__(
        self, is_my_turn: Callable[[], bool], reap: Callable[[], object], within_s: float
    ) -> None:
        self._is_my_turn = is_my_turn
        self._reap = reap
        self._within_s = within_s
        self._asking = threading.Lock()
        self._next = 0.0

    def tick(self) -> bool:
        """Return whether the sweeps that this tick began are over; True if it began none."""
        if time.monotonic() < self._next or not self._asking.acquire(blocking=False):
            return True
        try:
            mine = self._is_my_turn()
            self._next = time.monotonic() + TICK_EVERY_MS / 1000
        finally:
            self._asking.release()
        if not mine:
            return True
        over = threading.Event()
        (run,) = in_context([lambda: self._run(over)])
        threading.Thread(target=run, name="tick", daemon=True).start()
        return wait_for(over, self._within_s)

    def _run(self, over: threading.Event) -> None:
        try:
            self._reap()
        except LedgerUnavailable as error:
            tell("tick failed", "warning", detail=str(error))
        except Exception:  # noqa: BLE001  nobody else hears of it
            tell("tick failed", "exception")
        finally:
            over.set()
