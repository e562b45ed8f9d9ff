"""What a measurement found: tables, targets, and how both are shown."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

from rich.console import Console
from rich.markdown import Markdown

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows under heads; numbers are rounded already."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Target:
    """A bound that the issue or the design sets, and what was measured."""

    what: str
    measured: float
    sense: Literal["<=", ">="]
    bound: float

    @property
    def met(self) -> bool:
        """Return whether it holds."""
        return self.measured <= self.bound if self.sense == "<=" else self.measured >= self.bound

    def line(self) -> str:
        """Return it as a line of text."""
        word = "met" if self.met else "**missed**"
        sense = "at most" if self.sense == "<=" else "at least"
        return f"- {word}: {self.what}: {self.measured:g} ({sense} {self.bound:g})"


@dataclass(frozen=True)
class Plot:
    """Curves to draw; the report's name and this one's make the file's."""

    name: str
    title: str
    x: str
    y: str
    # Of each curve its name, and its points (x, y).
    curves: dict[str, list[tuple[float, float]]]
    kind: Literal["line", "steps", "bars"] = "line"
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Report:
    """One measurement, as it is shown and kept."""

    name: str
    title: str
    command: str
    # What was compared with what, and what has to be known to read the tables; indented at will.
    said: str
    tables: Sequence[Table]
    targets: Sequence[Target] = ()
    plots: Sequence[Plot] = field(default_factory=tuple)
    took_s: float = 0.0

    def markdown(self) -> str:
        """Return it as a section of bench/README.md."""
        parts = [f"## {self.title}", f"    {self.command}", dedent(self.said).strip()]
        parts += [_table(it) for it in self.tables]
        if self.targets:
            parts.append("\n".join(it.line() for it in self.targets))
        parts += [f"![{it.title}](plots/{self.name}-{it.name}.svg)" for it in self.plots]
        return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    lines = [list(map(str, table.heads)), ["---"] * len(table.heads)]
    lines += [["" if cell is None else str(cell) for cell in row] for row in table.rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a command line with what every measurement has."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, help="write the report there as well, for run.py")
    return made


def publish(asked: argparse.Namespace, measure: Callable[[argparse.Namespace], Report]) -> None:
    """Measure, print, and write down."""
    began = time.monotonic()
    report = measure(asked)
    took_s = round(time.monotonic() - began, 1)
    Console().print(Markdown(report.markdown()))
    if asked.json:
        asked.json.write_text(json.dumps(asdict(report) | {"took_s": took_s}, indent=1))


def read(path: Path) -> Report:
    """Return a report that was written down."""
    found: dict[str, Any] = json.loads(path.read_text())
    return Report(
        **found
        | {
            "tables": [Table(**it) for it in found["tables"]],
            "targets": [Target(**it) for it in found["targets"]],
            "plots": [Plot(**it) for it in found["plots"]],
        }
    )


def machine() -> str:
    """Return what the figures were measured on."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory_gib:.0f} GiB, Python"
        f" {platform.python_version()}, load average {load:.1f} at the start"
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of them does not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
