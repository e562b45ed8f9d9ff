"""What people see: tables, bars and stories; colours only on a terminal."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]

_COLOURS = {
    "ACTIVE": "green",
    "up": "green",
    "BUILD": "yellow",
    "QUEUED": "yellow",
    "DELETING": "yellow",
    "unknown": "yellow",
    "ERROR": "red",
    "down": "red",
    "DELETED": "dim",
}
_ACTIONS = {
    "adopted": "adopted",
    "activated": "became ACTIVE",
    "deleted": "deleted",
    "released": "slots freed",
    "retried": "retried elsewhere",
    "failed": "failed",
}
_BAR_CHARS = 30
# A pipe has no width; ids and regions must not be folded there.
_PIPE_COLUMNS = 200


def console(*, stderr: bool = False) -> Console:
    """Return where to write."""
    found = Console(stderr=stderr, highlight=False)
    if found.is_terminal:
        return found
    return Console(stderr=stderr, highlight=False, width=_PIPE_COLUMNS)


def as_json(document: object) -> None:
    """Write a document for programs."""
    print(json.dumps(document, indent=2))


def coloured(word: str) -> Text:
    """Return a status in its colour."""
    return Text(word, style=_COLOURS.get(word, ""))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("ID", "STATUS"))
    return table


def addresses(instance: Json) -> str:
    """Return an instance's addresses."""
    return ", ".join(it["address"] for it in instance["addresses"]) or "-"


def instances(found: Sequence[Json]) -> None:
    """Write a line for each instance."""
    if not found:
        console().print("no instances")
        return
    table = _table("ID", "STATUS", "REGION", "ADDRESS", "EXPIRES", "LABELS")
    for it in found:
        marked = " ".join(f"{key}={value}" for key, value in it["labels"].items())
        table.add_row(
            it["id"],
            coloured(it["status"]),
            it["region"],
            addresses(it),
            left(it["expires_at"]),
            marked,
        )
    console().print(table)
    count = len(found)
    console().print(f"[dim]{count} instance{'s' if count > 1 else ''}[/dim]")


def left(expires_at: str) -> str:
    """Return how long it is until a time, in the two largest units."""
    seconds = int((datetime.fromisoformat(expires_at) - datetime.now(UTC)).total_seconds())
    if seconds <= 0:
        return "now"
    units = (
        ("d", seconds // 86400),
        ("h", seconds // 3600 % 24),
        ("m", seconds // 60 % 60),
        ("s", seconds % 60),
    )
    shown = [f"{count}{unit}" for unit, count in units if count]
    return "in " + " ".join(shown[:2])


def instance(it: Json, events: Sequence[Json]) -> None:
    """Write all about one instance, and its story."""
    out = console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "id": it["id"],
        "name": it["name"],
        "status": coloured(it["status"]),
        "region": it["region"] + (f" (attempt {it['attempt']})" if it["attempt"] > 1 else ""),
        "address": addresses(it),
        "image": it["image"],
        "flavor": it["flavor"],
        "server": it["server_id"] or "-",
        "owner": it["owner"],
        "labels": " ".join(f"{k}={v}" for k, v in it["labels"].items()) or "-",
        "created": it["created_at"],
        "expires": f"{it['expires_at']} ({left(it['expires_at'])})",
    }
    if it["error"]:
        rows["error"] = Text(it["error"], style="red")
    for name, value in rows.items():
        table.add_row(name, value)
    out.print(table)
    out.print()
    story = _table("WHEN", "WHAT", "REGION", "WHY")
    for event in events:
        story.add_row(event["at"][11:19], event["what"], event["region"], event["why"])
    out.print(story)


def regions(found: Sequence[Json]) -> None:
    """Write a bar for each region: what we hold, what others use, what is free."""
    out = console()
    if not found:
        out.print("no regions yet: the first sweep is to come")
        return
    table = _table("REGION", "STATE", "", "HELD", "FOREIGN", "FREE", "CAP")
    for column in table.columns[3:]:
        column.justify = "right"
    table.columns[2].no_wrap = True
    for it in found:
        counts = [str(it[name]) for name in ("held", "foreign", "free", "cap")]
        table.add_row(it["region"], coloured(it["state"]), bar(it), *counts)
    out.print(table)
    out.print("[blue]█[/blue] held  [magenta]▓[/magenta] foreign  [dim]░[/dim] free", style="dim")
    for it in found:
        if it["state"] != "up" and it["last_error"]:
            out.print(f"{it['region']}: {it['last_error']}", style="red", markup=False)


def bar(region: Json) -> Text:
    """Return a region's cap as a bar."""
    cap = max(region["cap"], 1)
    held = min(_BAR_CHARS, round(_BAR_CHARS * region["held"] / cap))
    foreign = min(_BAR_CHARS - held, round(_BAR_CHARS * region["foreign"] / cap))
    drawn = Text("█" * held, style="blue")
    drawn.append("▓" * foreign, style="magenta")
    drawn.append("░" * (_BAR_CHARS - held - foreign), style="dim")
    return drawn


def reaped(document: Json) -> None:
    """Write what each sweep did."""
    table = _table("REGION", "OUTCOME", "TOOK", "DONE")
    for it in document["regions"]:
        done = [
            f"{count} {_ACTIONS.get(name, name)}" for name, count in it["actions"].items() if count
        ]
        said = it["error"] or ", ".join(done) or "nothing to do"
        table.add_row(it["region"], it["outcome"], f"{it['duration_ms']} ms", said)
    console().print(table)
    if document["expired"]:
        console().print(f"{document['expired']} instances were due")
