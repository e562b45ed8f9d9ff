"""Instances on the screen: a line for each, or all about one."""

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from openmultistack.cli import screen
from openmultistack.cli.screen import coloured, console, text

Json = dict[str, Any]

# What the server calls instances that nobody gave a name.
_UNNAMED = "oms"
_GAP = 2
# What is cut where a line has no room for it, and by how much at most: less tells nothing.
_CUT, _CUT_LEAST = ("LABELS", "NOTE"), 10


def addresses(instance: Json) -> str:
    """Return an instance's addresses, the one to use first, and which of them are floating."""
    best = instance["address"]
    others = [it for it in instance["addresses"] if it["address"] != best]
    own = [it for it in instance["addresses"] if it["address"] == best]
    floating = {True: " (floating)", False: ""}
    return ", ".join(it["address"] + floating[it["kind"] == "floating"] for it in own + others)


def status(instance: Json) -> Text:
    """Return an instance's status, and its cloud's own word where that says more.

    Of what is out of reach the status is that of before.
    """
    unreachable = (instance["error"] or "").startswith("unreachable")
    word = "unreachable" if unreachable else instance["cloud_status"]
    return coloured(instance["status"], f" ({word})" if word else "")


def instances(found: Sequence[Json], *, more: str | None = None) -> None:
    """Write a line for each instance; `more` is where a cut list goes on."""
    out = console()
    if found:
        out.print(_table(found, out.width))
    if not found or out.is_terminal:
        out.print(counted(len(found)), style="dim")
    if more:
        console(stderr=True).print(f"there are more: --cursor {more}", style="dim", soft_wrap=True)


def counted(count: int) -> str:
    """Return a number of instances in words."""
    return f"{count or 'no'} instance{'' if count == 1 else 's'}"


def _table(found: Sequence[Json], width: int) -> Table:
    columns = _fit(_columns(found), width)
    made = screen.table(*columns)
    for column in made.columns:
        column.no_wrap = column.header != "ADDRESS"
    for cells in zip(*columns.values(), strict=True):
        made.add_row(*cells)
    return made


def _columns(found: Sequence[Json]) -> dict[str, list[Text]]:
    columns = {
        "ID": [text(it["id"]) for it in found],
        "STATUS": [status(it) for it in found],
        "REGION": [text(it["region"]) for it in found],
        "ADDRESS": [text(it["address"]) for it in found],
        "EXPIRES": [text("" if _waits(it) else _left(it)) for it in found],
    }
    if any(_waits(it) for it in found):
        # Nothing expires that is not there yet: this is when one is given up that gets no slot.
        columns["MAY WAIT"] = [text(_left(it) if _waits(it) else "") for it in found]
    if any(it["name"] != _UNNAMED for it in found):
        columns["NAME"] = [text(it["name"]) for it in found]
    if any(it["labels"] for it in found):
        columns["LABELS"] = [text(screen.pairs(it["labels"])) for it in found]
    if any(map(_note, found)):
        columns["NOTE"] = [text(_note(it)) for it in found]
    return columns


def _fit(columns: dict[str, list[Text]], width: int) -> dict[str, list[Text]]:
    """Return the columns that a line has room for; `oms show` has them all."""
    room = width
    kept = {}
    for header, cells in columns.items():
        wanted = max(len(header), *(cell.cell_len for cell in cells))
        least = min(wanted, _CUT_LEAST) if header in _CUT else wanted
        if header in ("EXPIRES", "MAY WAIT", "NAME", *_CUT) and least > room:
            continue
        for cell in cells:
            cell.truncate(max(room, least), overflow="ellipsis")
        kept[header] = cells
        room -= wanted + _GAP
    return kept


def instance(it: Json, events: Sequence[Json]) -> None:
    """Write all about one instance, and its story."""
    waits = _waits(it)
    rows = {
        "id": text(it["id"]),
        "name": text(it["name"]),
        "status": status(it),
        "region": text(it["region"]),
        "address": text(addresses(it)),
        "image": text(it["image"]),
        **({"size": text(_size(it["flavor"]))} if waits else {"flavor": text(it["flavor"])}),
        "server": text(it["server_id"]),
        "attempt": text(it["attempt"]),
        "owner": text(it["owner"]),
        "labels": text(screen.pairs(it["labels"])),
        "note": text(_note(it)),
        "created": text(f"{screen.clock(it['created_at'])} UTC"),
        "waits until" if waits else "expires": text(_expiry(it)),
    }
    if queue(it):
        rows["queue"] = text(queue(it), "yellow")
    if it["error"]:
        rows["error"] = text(it["error"], "red")
    out = console()
    out.print(screen.facts(rows))
    out.print()
    out.print(_story(events))


def _waits(it: Json) -> bool:
    """Return whether an instance waits for a slot; its `expires_at` is the end of that, then."""
    return bool(it["status"] == "QUEUED")


def _note(it: Json) -> str:
    """Return an instance's note; a gateway of before tells of none."""
    return str(it.get("note") or "")


def queue(it: Json) -> str:
    """Return at which place an instance waits, and for what; '' if that was not told of it."""
    told = it.get("queue")
    return f"place {told['place']} of {told['waiting']}, {told['why']}" if told else ""


def _size(wanted: str) -> str:
    """Return what an instance without a flavor waits for, as it is typed."""
    try:
        needs = json.loads(wanted)
    except ValueError:
        return wanted
    return ",".join(f"{k}={v}" for k, v in needs.items()) if isinstance(needs, dict) else wanted


def _expiry(it: Json) -> str:
    at = f"{screen.clock(it['expires_at'])} UTC"
    return f"{at} ({_left(it)})" if _left(it) else at


def _left(it: Json) -> str:
    """Return how long an instance has still to live, or one that waits may do so."""
    return "" if it["status"] == "DELETED" else screen.left_until(it["expires_at"])


def _story(events: Sequence[Json]) -> Table:
    made = screen.table("WHEN (UTC)", "WHAT", "REGION", "WHY")
    for column in made.columns[:3]:
        column.no_wrap = True
    for event in events:
        made.add_row(
            text(screen.clock(event["at"])),
            text(event["what"]),
            text(event.get("region")),
            text(event.get("why")),
        )
    return made
