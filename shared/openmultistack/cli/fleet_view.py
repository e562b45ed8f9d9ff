"""The fleet on the screen: how full each region is, and what the reaper did there."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from openmultistack.cli import screen
from openmultistack.cli.screen import coloured, console, text
from openmultistack.domain.bounds import UNLIMITED

Json = dict[str, Any]

_COUNTS = ("held", "foreign", "free", "cap")
_SHADES = {"held": ("█", "blue"), "foreign": ("▓", "magenta"), "free": ("░", "dim")}
# For a terminal that knows no Unicode.
_ASCII = {"█": "#", "▓": "x", "░": "."}
_BAR_LEAST, _BAR_MOST = 5, 40
_COLUMNS_MOST = 100
_GAP = 2
_TROUBLE = {
    "down": ("is down", "red"),
    "resting": ("is resting", "yellow"),
    "removed": ("is out of reach", "red"),
    "duplicate": ("takes no part", "red"),
    "unknown": ("last error", "red"),
}
_PUT_BACK = (
    "its provider was taken out of clouds.yaml: put it back, under any name,"
    " or `oms regions forget {} --yes`"
)
# A schedule has a minute; so many of them without a sweep of any region are no chance.
_SCHEDULE_MISSED_S = 300
# What is free of no limit is a little less than that.
_NEARLY_UNLIMITED = UNLIMITED // 2
_ACTIONS = {
    "adopted": "adopted",
    "activated": "became ACTIVE",
    "deleted": "deleted",
    "released": "freed",
    "retried": "tried elsewhere",
    "failed": "given up",
    "served": "taken from the queue",
    "expired": "expired",
}


def regions(found: Sequence[Json]) -> None:
    """Write a bar for each region: what we hold, what others use, what is free."""
    out = console()
    if not found:
        out.print("no regions yet: the first sweep is to come")
        return
    unicode = out.encoding.lower().startswith("utf")
    out.print(_table(found, min(out.width, _COLUMNS_MOST), unicode=unicode))
    out.print(_legend(unicode=unicode))
    for it in found:
        for line in _remarks(it):
            out.print(line)
    swept = [it["swept_at"] for it in found if it["swept_at"]]
    if swept and screen.seconds_since(max(swept)) > _SCHEDULE_MISSED_S:
        said = f"the last sweep was {screen.ago(max(swept))}: does the schedule of `reap` come?"
        out.print(text(said, "yellow"))


def _table(found: Sequence[Json], width: int, *, unicode: bool) -> Table:
    named = {"REGION": [text(it["region"]) for it in found], "STATE": [_state(it) for it in found]}
    counts = _counts(found)
    made = screen.table(*named, "", *counts, right=tuple(counts))
    for column in made.columns[:3]:
        column.no_wrap = True
    columns = _bar_columns(named | counts, width)
    bars = [bar(it, columns, unicode=unicode) for it in found]
    for cells in zip(*named.values(), bars, *counts.values(), strict=False):
        made.add_row(*cells)
    if len(found) > 1:
        made.add_row(text("all", "bold"), "", "", *(cells[-1] for cells in counts.values()))
    return made


def _bar_columns(others: Mapping[str, Sequence[Text]], width: int) -> int:
    """Return how much of a line the other columns leave to the bar."""
    cells = [[len(header), *(it.cell_len for it in found)] for header, found in others.items()]
    taken = sum(_GAP + max(lengths) for lengths in cells)
    return max(_BAR_LEAST, min(_BAR_MOST, width - taken))


def _state(it: Json) -> Text:
    resting_s = it.get("resting_s") or 0
    return coloured(it["state"], f" {resting_s} s" if it["state"] == "resting" else "")


def _counts(found: Sequence[Json]) -> dict[str, list[Text]]:
    """Return the numbers of each column, their sum last."""
    counts = {}
    for what in _COUNTS:
        each = [it[what] for it in found]
        counts[what.upper()] = [text(_number(it)) for it in (*each, sum(each))]
    building = [it["building"] for it in found]
    if any(building):
        counts["BUILDING"] = [text(it) for it in (*map(_building, found), sum(building))]
    return counts


def _building(it: Json) -> str:
    most = it["max_building"]
    return str(it["building"]) if most is None else f"{it['building']} of {most}"


def _number(count: int) -> str:
    return str(count) if count < _NEARLY_UNLIMITED else "no limit"


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
    if it["state"] == "drained":
        lines.append(
            text(f"{it['region']}: drained: {it['drained'] or 'no reason given'}", "yellow")
        )
    if it["last_error"]:
        since = f" ({screen.ago(it['last_error_at'])})" if it.get("last_error_at") else ""
        which, style = _TROUBLE.get(it["state"], ("last error", "dim"))
        why = _PUT_BACK.format(it["region"]) if it["state"] == "removed" else it["last_error"]
        lines.append(text(f"{it['region']}: {which}{since}: {why}", style))
    if it.get("strangers"):
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(it["strangers"].items()))
        lines.append(
            text(
                f"{it['region']}: foreign, and say they are ours: {told}; see `oms doctor`",
                "yellow",
            )
        )
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
