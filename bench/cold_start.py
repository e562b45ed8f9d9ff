"""Cold starts: from a process' start to its first answer, beside functions-framework's hello world.

    python bench/cold_start.py [--rounds 3]

Each function is started as the platforms start it, and asked until it answers; one at a time, all
of them in turn, in several rounds. The fleet is in use: its logins and what its endpoints offer
are shared through the ledger.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import stage
from cold import CASES, CREATE, DESTROY, HELLO, LIST, Case, Ground, answered, ground
from report import Plot, Report, Table, Target, parser, publish

# Of the hello world's time.
BOUNDS = {LIST: 1.5, DESTROY: 1.5, CREATE: 2.5}


def start(case: Case, on: Ground) -> float:
    """Return the seconds from a function's start to its first answer."""
    port = stage.free_port()
    how = stage.framework_command if case is HELLO else stage.function_command
    command = how(case.source, port)
    began = time.perf_counter()
    with stage.running(command, on.environment, on.home / "cold.log"):
        answered(case, f"http://{stage.HOST}:{port}", on.token)
        return time.perf_counter() - began


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    took: dict[Case, list[float]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder, ground(Path(folder)) as on:
        before = on.logins()
        for _ in range(asked.rounds):
            for case, times in took.items():
                times.append(start(case, on) * 1000)
        logins = on.logins() - before
    return _report(asked, took, logins)


def _report(asked: argparse.Namespace, took: Mapping[Case, Sequence[float]], logins: int) -> Report:
    typical = {case: median(times) for case, times in took.items()}
    ratio = {case: round(it / typical[HELLO], 2) for case, it in typical.items()}
    return Report(
        name="cold_start",
        title="Cold starts",
        command=f"python bench/cold_start.py --rounds {asked.rounds}",
        said=f"""
            From the start of a function's process to its first answer, medians of {asked.rounds}
            rounds in which all functions start once each, alone. The fleet has four regions of a
            simulated OpenStack without latency, and was in use before: in all these starts
            Keystone was called {logins} times.
            """,
        tables=[
            Table(
                ["function", "p50 ms", "least ms", "most ms", "/ hello world"],
                [
                    [case.name, round(typical[case]), round(min(it)), round(max(it)), ratio[case]]
                    for case, it in took.items()
                ],
            )
        ],
        targets=[
            *(
                Target(f"{it.name} / hello world", ratio[it], "<=", most)
                for it, most in BOUNDS.items()
            ),
            Target("calls of Keystone", logins, "<=", 0),
        ],
        plots=[
            Plot(
                name="p50",
                title="from start to first answer",
                x="",
                y="ms",
                curves={case.name.split(",")[0]: [(0, it)] for case, it in typical.items()},
                kind="bars",
            )
        ],
    )


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--rounds", type=int, default=3)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
