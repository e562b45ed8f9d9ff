"""A soak: many clients, every fault at once, and in the end everything adds up.

    python -m tests.faults.soak.run --seconds 90 --seed 1 --clients 12 --replicas 3
        [--operations 5000] [--json FILE]

Runs until the time is over, so many operations were done, and every kind of fault was met.
Exit 1 if anything was violated.
"""

import argparse
import contextlib
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from infra.local.ports import claim_base, claim_block
from tests.faults.hostile import Hostile
from tests.faults.soak.chaos import Chaos
from tests.faults.soak.clients import Api, Client, Journal
from tests.faults.soak.closing import Closing
from tests.faults.soak.history import End, violations
from tests.faults.soak.report import answers, text
from tests.faults.soak.stage import FLEET, HOSTILE, LEASE_S, ROOT, Stage
from tests.faults.soak.watch import Watch

OWNERS = ("ada", "bob", "eve")
# However slow the machine: after that many times the time, what was done has to do.
PATIENCE = 4


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command was told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--operations", type=int, default=0, help="at least so many")
    parser.add_argument("--port-base", type=int, help="any that are free, if not given")
    parser.add_argument("--home", type=Path, default=ROOT / ".oms-soak")
    parser.add_argument("--json", type=Path, help="where to write the summary")
    return parser.parse_args(given)


class Soak:
    """One run on a stage."""

    def __init__(self, stage: Stage, told: argparse.Namespace) -> None:
        self._stage = stage
        self._told = told
        self._journal = Journal()
        self._apis = {
            it: Api(stage.url, stage.signing_key, it) for it in (*OWNERS, HOSTILE, "operator")
        }
        self._operator = self._apis["operator"]
        self._chaos = Chaos(stage, self._operator, told.seed)
        self._watch = Watch(stage.stack.redis_url, FLEET, LEASE_S)
        owners = [self._apis[it] for it in OWNERS]
        guest = self._apis[HOSTILE]
        self._hostile = Hostile(stage.url, guest.headers)
        self._closing = Closing(stage, owners, guest, self._operator, self._journal)

    def run(self) -> dict[str, Any]:
        """Load, closing act, judgement; return the summary."""
        began = time.monotonic()
        with contextlib.ExitStack() as ending:
            for api in self._apis.values():
                ending.callback(api.close)
            ending.callback(self._watch.stop)
            self._watch.start()
            self._load()
            loaded_s = time.monotonic() - began
            self._stage.note("faults are over, the closing act begins")
            self._closing.play()
            end = self._closing.take_stock(self._watch.fullest)
        found = violations(self._journal.operations, end)
        found += self._closing.troubles + self._watch.troubles()
        self._keep(end)
        return self._summary(end, found, loaded_s)

    def _load(self) -> None:
        stop = threading.Event()
        with ThreadPoolExecutor(self._told.clients) as pool, self._hostile.attacking():
            runs = [pool.submit(self._client(it, stop).run) for it in range(self._told.clients)]
            try:
                self._chaos.start()
                self._wait()
            finally:
                stop.set()
                self._chaos.stop()
            for it in runs:
                it.result()

    def _client(self, number: int, stop: threading.Event) -> Client:
        api = self._apis[OWNERS[number % len(OWNERS)]]
        return Client(api, self._journal, number, self._told.seed, stop)

    def _wait(self) -> None:
        began, told = time.monotonic(), self._told
        while (spent_s := time.monotonic() - began) < told.seconds * PATIENCE:
            enough = self._journal.count() >= told.operations and not self._chaos.unmet()
            if enough and spent_s > told.seconds:
                return
            time.sleep(1)
            if int(spent_s) % 15 == 0:
                self._stage.note(f"{self._journal.count()} operations, {dict(self._chaos.acts)}")

    def _keep(self, end: End) -> None:
        """Leave what is needed to find out why."""
        lines = "\n".join(repr(it) for it in self._journal.operations)
        (self._stage.home / "operations.log").write_text(lines)
        (self._stage.home / "chaos.log").write_text("\n".join(self._chaos.log))
        (self._stage.home / "end.json").write_text(json.dumps(end._asdict(), indent=1))

    def _summary(self, end: End, found: list[str], loaded_s: float) -> dict[str, Any]:
        stats = end.stats
        return {
            "seed": self._told.seed,
            "clients": self._told.clients,
            "replicas": self._told.replicas,
            "seconds": round(loaded_s),
            "operations": self._journal.count(),
            "answers": answers(self._journal.operations),
            "acts": dict(self._chaos.acts),
            "met": dict(sorted(self._chaos.met.items())),
            "servers_ever": len(end.past),
            "refused_quota": sum(it["refused_quota"] for it in stats.values()),
            "highest": {name: it["highest"] for name, it in stats.items()},
            "filled_in_s": self._closing.filled_in_s,
            "longest_queue": self._watch.longest_queue,
            "longest_idle_s": {k: round(v, 1) for k, v in self._watch.longest_idle_s.items()},
            "hostile": self._hostile.summary(),
            "in_error": sum(it.status == "ERROR" for them in end.listed.values() for it in them),
            "violations": found,
        }


def _end(number: int, _frame: object) -> None:
    """End in order, once: a second signal does not keep us from ending what we started."""
    for it in (signal.SIGINT, signal.SIGTERM):
        signal.signal(it, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    """Run once; returns 1 if anything was violated."""
    told = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    print(f"seed {told.seed}", flush=True)
    shutil.rmtree(told.home, ignore_errors=True)
    # Held until the end: no other run is given these ports.
    claim = claim_base(told.port_base) if told.port_base else claim_block()
    if claim is None:
        raise SystemExit(f"--port-base {told.port_base}: others have some of the ports from there")
    with Stage(told.home, claim.base, told.replicas, told.seed).running() as stage:
        stage.note("all runs, the load begins")
        summary = Soak(stage, told).run()
    print(text(summary), flush=True)
    if told.json:
        told.json.write_text(json.dumps(summary, indent=1))
    return int(bool(summary["violations"]))


if __name__ == "__main__":
    sys.exit(main())
