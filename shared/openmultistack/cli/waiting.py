"""Waiting for instances to become ACTIVE, or to be gone, with a bar that moves."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from openmultistack.cli.client import Client
from openmultistack.cli.failures import CommandError, Exit
from openmultistack.cli.screen import console, duration

Json = dict[str, Any]

POLL_S = 1.0
# So few are asked for one by one; more are looked up in the list.
SINGLY = 4


class Goal(NamedTuple):
    """What is waited for: those in a pending status are not there yet."""

    name: str
    pending: frozenset[str]


ACTIVE = Goal("ACTIVE", frozenset({"QUEUED", "BUILD"}))
GONE = Goal("gone", frozenset({"QUEUED", "BUILD", "ACTIVE", "DELETING", "ERROR"}))


class Waited(NamedTuple):
    """The instances as last seen, and what ended the waiting too early."""

    instances: list[Json]
    trouble: CommandError | None = None


def wait(
    client: Client, instances: Sequence[Json], goal: Goal, *, timeout_s: float, quiet: bool
) -> Waited:
    """Return the instances once none is pending, or the time is over; raises no CommandError."""
    until = time.monotonic() + timeout_s
    latest = {it["id"]: it for it in instances}
    trouble: CommandError | None = None
    # At which place one waits is told by a look alone.
    pause_s = 0.0 if any(it["status"] == "QUEUED" for it in instances) else POLL_S
    with _progress(goal, len(latest), quiet=quiet) as show:
        while True:
            show(latest)
            waiting = [it for it, seen in latest.items() if seen["status"] in goal.pending]
            if not waiting:
                return Waited(list(latest.values()))
            if time.monotonic() > until:
                over = CommandError(f"{len(waiting)} not {goal.name} after {duration(timeout_s)}")
                return Waited(list(latest.values()), trouble or over)
            time.sleep(pause_s)
            pause_s = POLL_S
            try:
                latest.update(_look(client, waiting, latest))
                trouble = None
            except CommandError as error:
                trouble = error
                if not error.passing:
                    return Waited(list(latest.values()), trouble)


def _look(client: Client, ids: Sequence[str], latest: Mapping[str, Json]) -> dict[str, Json]:
    """Return instances as they are now: from the list, and singly those that are not in it."""
    listed = _in_list(client, set(ids)) if len(ids) > SINGLY else {}
    queued = [it for it in ids if it in listed and listed[it]["status"] == "QUEUED"]
    # A list does not tell the place in the queue; that of the first one is enough.
    singly = [it for it in ids if it not in listed] + queued[:1]
    return listed | {it: _single(client, latest[it]) for it in singly}


def _in_list(client: Client, wanted: set[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for page in client.pages([]):
        found |= {it["id"]: it for it in page["instances"] if it["id"] in wanted}
        if len(found) == len(wanted):
            break
    return found


def _single(client: Client, known: Json) -> Json:
    try:
        return client.instance(known["id"])
    except CommandError as error:
        if error.exit_code == Exit.NOT_FOUND:  # gone for so long that it was forgotten
            return known | {"status": "DELETED"}
        raise


Show = Callable[[Mapping[str, Json]], None]


@contextmanager
def _progress(goal: Goal, total: int, *, quiet: bool) -> Iterator[Show]:
    out = console(stderr=True)
    if not out.is_terminal:
        yield _silent if quiet else _lines(goal, total)
        return
    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn(goal.name),
        TextColumn("{task.fields[rest]}", style="yellow"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task("", total=total, rest="")

        def show(latest: Mapping[str, Json]) -> None:
            done, rest = _tally(goal, latest)
            progress.update(task, completed=done, rest=rest)

        yield show


def _silent(_: Mapping[str, Json]) -> None:
    """Show nothing."""


def _lines(goal: Goal, total: int) -> Show:
    """Return what writes a line whenever something changes: for logs."""
    before = ""

    def show(latest: Mapping[str, Json]) -> None:
        nonlocal before
        done, rest = _tally(goal, latest)
        said = f"{done}/{total} {goal.name}" + (f" ({rest})" if rest else "")
        if said != before:
            console(stderr=True).print(said)
            before = said

    return show


def _tally(goal: Goal, latest: Mapping[str, Json]) -> tuple[int, str]:
    """Return how many are there, and the others by status."""
    reached = "ACTIVE" if goal is ACTIVE else "DELETED"
    counts = Counter(str(it["status"]) for it in latest.values())
    rest = [f"{n} {status}" for status, n in sorted(counts.items()) if status != reached]
    return counts[reached], ", ".join(rest) + (_place(latest) if goal is ACTIVE else "")


def _place(latest: Mapping[str, Json]) -> str:
    """Return how far to the front of the queue the first of those is that wait in it."""
    queues = [it["queue"] for it in latest.values() if it["status"] == "QUEUED" and "queue" in it]
    if not queues:
        return ""
    first = min(queues, key=lambda it: it["place"])
    return f"; place {first['place']} of {first['waiting']} in the queue"
