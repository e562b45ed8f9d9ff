"""The fleet on the screen: how full each region is, and what the reaper did there."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from openmultistack.cli import screen
from openmultistack.cli.screen import coloured, console, text

Json = dict[str, Any]

_COUNTS = ("held", "foreign", "free", "cap")
_SHADES = {"held": ("█", "blue"), "foreign": ("▓", "magenta"), "free": ("░", "dim")}
# For a terminal that knows no Unicode.
_ASCII = {"█": "#", "▓": "x", "░": "."}
_BAR_LEAST, _BAR_MOST = 5, 40
_GAPS = 12
# The server takes a billion for no limit at all; what is free of it is a little less.
_UNLIMITED = 10**9 // 2
_ACTIONS = {
    "adopted": "adopted",
    "activated": "became ACTIVE",
    "deleted": "deleted",
    "released": "freed",
    "retried": "tried elsewhere",
    "failed": "given up",
    "expired": "expired",
}


def regions(found: Sequence[Json]) -> None:
    """Write a bar for each region: what we hold, what others use, what is free."""
    out = console()
    if not found:
        out.print("no regions yet: the first sweep is to come")
        return
    unicode = out.encoding.lower().startswith("utf")
    out.print(_table(found, _bar_columns(found, out.width), unicode=unicode))
    out.print(_legend(unicode=unicode))
    for it in found:
        for line in _remarks(it):
            out.print(line)


def _bar_columns(found: Sequence[Json], width: int) -> int:
    numbers = sum(max(len(what), *(len(_number(it[what])) for it in found)) for what in _COUNTS)
    states = max(len(it["state"]) for it in found)
    taken = max(len(it["region"]) for it in found) + max(len("STATE"), states) + numbers + _GAPS
    return max(_BAR_LEAST, min(_BAR_MOST, width - taken))


def _table(found: Sequence[Json], columns: int, *, unicode: bool) -> Table:
    headers = [what.upper() for what in _COUNTS]
    made = screen.table("REGION", "STATE", "", *headers, right=tuple(headers))
    for column in made.columns[:3]:
        column.no_wrap = True
    for it in found:
        drawn = bar(it, columns, unicode=unicode)
        made.add_row(text(it["region"]), coloured(it["state"]), drawn, *_numbers(it))
    if len(found) > 1:
        total = {what: sum(it[what] for it in found) for what in _COUNTS}
        made.add_row(text("all", "bold"), "", "", *_numbers(total))
    return made


def _numbers(it: Json) -> list[str]:
    return [_number(it[what]) for what in _COUNTS]


def _number(count: int) -> str:
    return str(count) if count < _UNLIMITED else "no limit"


def bar(region: Json, columns: int, *, unicode: bool = True) -> Text:
    """Return a region's cap as a bar; whatever there is at all can be seen."""
    cap = max(region["cap"], region["held"] + region["foreign"], 1)
    drawn = Text()
    for what, (shade, style) in _SHADES.items():
        share = round(columns * region[what] / cap)
        length = min(max(share, int(region[what] > 0)), columns - drawn.cell_len)
        drawn.append((shade if unicode else _ASCII[shade]) * length, style=style)
    return drawn


def _legend(*, unicode: bool) -> Text:
    legend = Text()
    for what, (shade, style) in _SHADES.items():
        legend.append(shade if unicode else _ASCII[shade], style=style)
        legend.append(f" {what}   ", style="dim")
    return legend


def _remarks(it: Json) -> list[Text]:
    """Return what the numbers of a region do not tell."""
    lines = []
    if it["last_error"]:
        since = f" ({screen.ago(it['last_error_at'])})" if it.get("last_error_at") else ""
        style = "dim" if it["state"] == "up" else "red"
        which = "is down" if it["state"] == "down" else "last error"
        lines.append(text(f"{it['region']}: {which}{since}: {it['last_error']}", style))
    if it["free"]:
        used_up = [
            f"{what} ({counts['cap']})"
            for what, counts in it.get("resources", {}).items()
            if what != "instances" and counts["free"] <= 0
        ]
        if used_up:
            lines.append(text(f"{it['region']}: all used up: {', '.join(used_up)}", "yellow"))
    return lines


def reaped(document: Json) -> None:
    """Write what each sweep did."""
    made = screen.table("REGION", "OUTCOME", "TOOK", "DONE", right=("TOOK",))
    for it in document["regions"]:
        done = [f"{count} {_ACTIONS.get(k, k)}" for k, count in it["actions"].items() if count]
        said = text(it["error"], "red") if it["error"] else text(", ".join(done) or "nothing to do")
        took = f"{it['duration_ms'] / 1000:.1f} s"
        made.add_row(text(it["region"]), coloured(it["outcome"]), took, said)
    console().print(made)
    if document.get("expired"):
        console().print(f"{document['expired']} had come to the end of their time")
