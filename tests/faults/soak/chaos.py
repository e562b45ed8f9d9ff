"""What goes wrong during a soak, at random from a seed: every fault, many at once."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import psutil

from tests.faults.soak.clients import Api
from tests.faults.soak.stage import Stage

ACTS = {"kill", "faults", "outage", "conduct", "drain", "open", "pause"}
KINDS = {
    "delay",
    "reset_before",
    "reset_after",
    "error_before",
    "error_after",
    "rate_limit",
    "truncated",
    "html",
    "broken_body",
    "hang",
}
SHARE_MAX = 0.3
PAUSE_S = (0.3, 1.5)
SPELL_S = (4.0, 9.0)
WHOLE = ("reset_before", "refuse", "reset_before", "refuse", "hang")
CREATES = {"method": "POST", "path": "/servers"}
SCOPES = ({}, {}, CREATES, CREATES, {"method": "DELETE"}, {"method": "GET"})


class Spell(NamedTuple):
    """Something that goes on for a while, and how it is ended."""

    until: float
    region: str
    undo: Callable[[], None]


class Chaos:
    """A thread that breaks things; when it ends, all it broke is whole again."""

    def __init__(self, stage: Stage, operator: Api, seed: int) -> None:
        self._stage = stage
        self._operator = operator
        self._chance = random.Random(f"chaos {seed}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos")
        self._spells: list[Spell] = []
        self._kinds: list[str] = []
        self._acts: list[Callable[[], bool]] = []
        self._begun = time.monotonic()
        self.log: list[str] = []
        self.acts: Counter[str] = Counter()
        # Requests that met each kind of fault, as the proxy counts them.
        self.met: Counter[str] = Counter()
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def unmet(self) -> set[str]:
        """Return the acts that were not done yet, and the kinds of fault that nothing has met."""
        return (ACTS - self.acts.keys()) | (KINDS - self.met.keys())

    def stop(self) -> None:
        """End it, and undo all; raises what ended it before."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._chance.uniform(*PAUSE_S)):
                self._end_spells(time.monotonic())
                self._act()
        except Exception as error:  # noqa: BLE001  told by `stop`
            self.error = error
        finally:
            self._end_spells(float("inf"))

    def _act(self) -> None:
        """Do the next of a shuffled deck; what cannot be done now comes up again."""
        if not self._acts:
            deck = [act for act, times in self._deck_of_acts().items() for _ in range(times)]
            self._acts = self._chance.sample(deck, len(deck))
        act = self._acts.pop()
        if not act():
            self._acts.insert(0, act)

    def _deck_of_acts(self) -> dict[Callable[[], bool], int]:
        return {
            self._kill: 6,
            self._break_some: 8,
            self._misbehave: 3,
            self._outage: 2,
            self._drain: 2,
            self._pause: 1,
        }

    def _note(self, what: str, text: str) -> None:
        self.acts[what] += 1
        self.log.append(f"{time.monotonic() - self._begun:7.2f} {what} {text}")

    def _end_spells(self, now: float) -> None:
        over = [it for it in self._spells if it.until <= now]
        self._spells = [it for it in self._spells if it.until > now]
        for it in over:
            it.undo()

    def _begin(self, region: str, undo: Callable[[], None]) -> None:
        until = time.monotonic() + self._chance.uniform(*SPELL_S)
        self._spells.append(Spell(until, region, undo))

    def _region(self) -> str | None:
        """Return a region of which nothing is broken; at least one other stays whole as well."""
        broken = {it.region for it in self._spells}
        whole = [it for it in self._stage.regions if it not in broken]
        return self._chance.choice(whole) if len(whole) > 1 else None

    # ------------------------------------------------------------ functions and ledger

    def _kill(self) -> bool:
        name = self._chance.choice(self._stage.function_names())
        process = self._stage.process(name)
        if process is None:
            return False
        with suppress(psutil.Error, ProcessLookupError):
            for it in (process, *process.children(recursive=True)):
                os.kill(it.pid, signal.SIGKILL)
        self._note("kill", name)
        return True

    def _pause(self) -> bool:
        process = self._stage.process("valkey")
        if process is None:
            return False
        seconds = self._chance.uniform(2, 6)
        process.suspend()
        try:
            self._stop.wait(seconds)
        finally:
            process.resume()
        self._note("pause", f"of the ledger for {seconds:.1f} s")
        return True

    # ------------------------------------------------------------ clouds

    def _break_some(self) -> bool:
        region = self._region()
        if region is None:
            return False
        rules = [self._rule() for _ in range(self._chance.randint(1, 3))]
        self._set(region, rules)
        self._note("faults", f"{region} {[it['kind'] for it in rules]}")
        return True

    def _rule(self) -> dict[str, Any]:
        """Return a rule of the next kind: each comes up once before one comes again."""
        if not self._kinds:
            self._kinds = self._chance.sample(sorted(KINDS), len(KINDS))
        kind = self._kinds.pop()
        rule = {"kind": kind, "share": round(self._chance.uniform(0.15, SHARE_MAX), 2)}
        # What nothing would be answered to for long is rare: clients wait for it.
        scope = self._chance.choice(SCOPES) if kind != "hang" else CREATES
        if kind == "broken_body":
            scope = CREATES
        late = {"delay_s": round(self._chance.uniform(0.2, 2), 2)} if kind == "delay" else {}
        if kind in ("html", "hang"):
            late["executed"] = self._chance.random() < 0.5
        return rule | scope | late

    def _outage(self) -> bool:
        region = self._region()
        if region is None:
            return False
        kind = self._chance.choice(WHOLE)
        self._set(region, [{"kind": kind}])
        self._note("outage", f"{region} {kind}")
        return True

    def _set(self, region: str, rules: list[dict[str, Any]]) -> None:
        self._stage.proxy.set_rules(region, *rules)

        def undo() -> None:
            self.met.update(self._stage.proxy.counts(region)["done"])
            self._stage.proxy.set_rules(region)

        self._begin(region, undo)

    def _misbehave(self) -> bool:
        region = self._region()
        if region is None:
            return False
        changes = {
            "spawn_fail": round(self._chance.uniform(0, 0.1), 3),
            "destroy_fail": round(self._chance.uniform(0, 0.2), 3),
            "latency_ms": self._chance.choice((0, 50, 300)),
        }
        self._stage.conduct(region, **changes)
        calm = dict.fromkeys(changes, 0)
        self._begin(region, lambda: self._stage.conduct(region, **calm))
        self._note("conduct", f"{region} {changes}")
        return True

    def _drain(self) -> bool:
        region = self._region()
        if region is None or not self._operate("drain", region):
            return False
        self._begin(region, lambda: self._open(region))
        return True

    def _open(self, region: str) -> None:
        until = time.monotonic() + 60
        while not self._operate("open", region):
            if time.monotonic() > until:
                raise RuntimeError(f"{region} cannot be opened again")
            time.sleep(0.5)

    def _operate(self, what: str, region: str) -> bool:
        status, _ = self._operator.call("POST", f"/regions/{what}", json={"regions": [region]})
        self._note(what, f"{region} answered {status}")
        # Without an answer it may be drained: it is opened then as well.
        return status == 200 or (what == "drain" and status in (0, 502, 503, 504))
