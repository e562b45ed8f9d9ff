"""Take every measurement, one after the other, and write bench/README.md and its plots.

    python bench/run.py [--only NAME ...]

Each measurement is a command of its own, which this runs as its README section shows it. With
--only the others' sections stay as they were.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import report as reports
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report import Plot, Report, machine

HERE = Path(__file__).parent
README = HERE / "README.md"
PLOTS = HERE / "plots"
# In the order of the page.
MEASUREMENTS = (
    "overhead",
    "burst",
    "lab",
    "dead_provider",
    "cold_start",
    "listing",
    "sweeping",
    "throughput",
    "ledger",
    "decisions",
    "memory",
    "ledger_memory",
)
ABOUT = """# Measurements

Ratios taken side by side in one run; a machine's own figures mean little, and none is compared
between runs. `make bench` takes all of them and writes this page and its plots; each section names
its own command.

"""
BEGIN, END = "<!-- {} -->\n", "<!-- end of {} -->\n"


def take(name: str, folder: Path) -> Report:
    """Run a measurement and return what it found.

    Raises:
        RuntimeError: it failed.
    """
    found = folder / f"{name}.json"
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(found)]
    done = subprocess.run(command, text=True, stderr=subprocess.PIPE, check=False)
    if done.returncode or not found.exists():
        raise RuntimeError(f"{name} failed: {done.stderr[-4000:]}")
    return reports.read(found)


def draw(name: str, plot: Plot) -> None:
    """Draw a plot into its file."""
    mpl.rcParams.update({"svg.hashsalt": "openmultistack", "font.size": 10})
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    if plot.kind == "bars":
        _bars(axes, plot)
    else:
        for curve, points in plot.curves.items():
            style = "steps-post" if plot.kind == "steps" else "default"
            marker = "o" if plot.kind == "line" else ""
            axes.plot(*zip(*points, strict=True), label=curve, drawstyle=style, marker=marker)
        axes.set_xscale("log" if plot.log_x else "linear")
        if not plot.log_y:  # a limit of any kind would end its own choice
            axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    axes.set_yscale("log" if plot.log_y else "linear")
    axes.set_title(plot.title)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    PLOTS.mkdir(exist_ok=True)
    figure.savefig(PLOTS / f"{name}-{plot.name}.svg", metadata={"Date": None})


def _bars(axes: Axes, plot: Plot) -> None:
    names = list(plot.curves)
    heights = [points[0][1] for points in plot.curves.values()]
    drawn = axes.bar(names, heights, width=0.6)
    axes.bar_label(drawn, fmt="%.3g", padding=3)


def section(report: Report, page: str) -> str:
    """Return the page with a report's section replaced, or put at its end."""
    begin, end = BEGIN.format(report.name), END.format(report.name)
    text = f"{begin}\n{report.markdown()}\n*Took {report.took_s:g} s.*\n\n{end}"
    if begin in page:
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        return before + text + after
    return page + text


def main() -> None:
    """Take what was asked for; exit 1 if a measurement failed, having taken the others."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=MEASUREMENTS)
    asked = asking.parse_args()
    whole = tuple(asked.only) == MEASUREMENTS
    page = ABOUT if whole else README.read_text()
    if whole:
        page += f"Last run: {time.strftime('%Y-%m-%d')}, {machine()}.\n\n"
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only:
            try:
                report = take(name, Path(folder))
            except RuntimeError as error:
                failed.append(name)
                print(error, file=sys.stderr)
                continue
            page = section(report, page)
            for plot in report.plots:
                draw(report.name, plot)
    README.write_text(page)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
