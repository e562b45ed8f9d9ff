"""The terminal: what is written, how wide, in which colours; never a byte that steers it."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from openmultistack.cli.failures import clean, one_line, printable

Json = dict[str, Any]

_COLOURS = {
    "ACTIVE": "green",
    "up": "green",
    "swept": "green",
    "BUILD": "yellow",
    "QUEUED": "yellow",
    "DELETING": "yellow",
    "unknown": "yellow",
    "resting": "yellow",
    "drained": "yellow",
    "retiring": "yellow",
    "removed": "red",
    "duplicate": "red",
    "refused": "red",
    "busy": "yellow",
    "ERROR": "red",
    "down": "red",
    "failed": "red",
    "DELETED": "dim",
}
# A pipe has no width: nothing may be folded or cut there.
_PIPE_COLUMNS = 10_000
_UNITS_S = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


class _Console(Console):
    """Writes nothing that steers a terminal, whoever said it, but its own colours."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for it in super().render(renderable, options):
            yield it if it.control else Segment(printable(it.text), it.style)


def console(*, stderr: bool = False) -> Console:
    """Return where to write; what servers say is text there, not markup and not emoji."""
    plain = {"highlight": False, "markup": False, "emoji": False}
    found = _Console(stderr=stderr, **plain)  # type: ignore[arg-type]
    if found.is_terminal:
        return found
    return _Console(stderr=stderr, width=_PIPE_COLUMNS, **plain)  # type: ignore[arg-type]


def as_json(document: object) -> None:
    """Write a document for programs."""
    print(json.dumps(document, indent=2))


def text(value: object, style: str = "") -> Text:
    """Return what a server said as plain text in a style; nothing is `-`."""
    said = "-" if value is None or value == "" else str(value)
    return Text(one_line(clean(said)), style=style)


def coloured(word: str, more: str = "") -> Text:
    """Return a status in its colour, with what belongs to it."""
    return text(word + more, _COLOURS.get(word, ""))


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return a table without lines, so that it can be copied from."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        justify: Any = "right" if column in right else "left"
        made.add_column(column, justify=justify, overflow="fold")
    return made


def facts(rows: Mapping[str, Text]) -> Table:
    """Return names and values, one a line."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows.items():
        made.add_row(name, value)
    return made


def pairs(found: Mapping[str, str]) -> str:
    """Return labels as they are typed."""
    return " ".join(f"{key}={value}" for key, value in found.items())


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    left, shown = max(0, int(seconds)), []
    for unit, unit_s in _UNITS_S:
        count, left = divmod(left, unit_s)
        if count:
            shown.append(f"{count}{unit}")
    return " ".join(shown[:2]) or "0s"


def left_until(at: str) -> str:
    """Return how long it is until a time of RFC 3339."""
    seconds = _seconds_until(at)
    return duration(seconds) if seconds >= 1 else "due"


def ago(at: str | None) -> str:
    """Return how long ago a time of RFC 3339 was."""
    return f"{duration(seconds_since(at))} ago" if at else "never"


def seconds_since(at: str) -> float:
    """Return for how many seconds a time of RFC 3339 has been over."""
    return -_seconds_until(at)


def _seconds_until(at: str) -> float:
    return (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()


def clock(at: str) -> str:
    """Return a time of RFC 3339 for a column headed UTC."""
    return at[:19].replace("T", " ")
