"""Memory of each function, warm, beside functions-framework's hello world.

    python bench/memory.py [--requests 20]

Each function is started as the platforms start it, answers so many requests, and is then looked at:
what its processes hold in memory, pages that they share counted once (proportional set size).
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import stage
from cold import CASES, HELLO, Case, Ground, answered, ground
from report import Plot, Report, Table, parser, publish

KIB_A_MIB = 1024


def warm(case: Case, on: Ground, requests: int) -> float:
    """Return the MiB that a function holds after so many requests."""
    port = stage.free_port()
    how = stage.framework_command if case is HELLO else stage.function_command
    command = how(case.source, port)
    with stage.running(command, on.environment, on.home / "warm.log") as process:
        for _ in range(requests):
            answered(case, f"http://{stage.HOST}:{port}", on.token)
        return sum(map(resident_kib, family(process.pid))) / KIB_A_MIB


def family(pid: int) -> Iterator[int]:
    """Give a process and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def resident_kib(pid: int) -> int:
    """Return a process' proportional set size, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    with tempfile.TemporaryDirectory() as folder, ground(Path(folder)) as on:
        held = {case: warm(case, on, asked.requests) for case in CASES}
    return _report(asked, held)


def _report(asked: argparse.Namespace, held: Mapping[Case, float]) -> Report:
    return Report(
        name="memory",
        title="Memory of each function, warm",
        command=f"python bench/memory.py --requests {asked.requests}",
        said=f"""
            What a function's processes hold (server and one worker; proportional set size, which
            counts shared pages once) after {asked.requests} requests. The fleet has four regions
            of a simulated OpenStack.
            """,
        tables=[
            Table(
                ["function", "MiB", "/ hello world"],
                [
                    [case.name, round(mib), round(mib / held[HELLO], 2)]
                    for case, mib in held.items()
                ],
            )
        ],
        plots=[
            Plot(
                name="held",
                title="held in memory, warm",
                x="",
                y="MiB",
                curves={case.name.split(",")[0]: [(0, mib)] for case, mib in held.items()},
                kind="bars",
            )
        ],
    )


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--requests", type=int, default=20)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
