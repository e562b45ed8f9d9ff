"""Waiting for instances to become ACTIVE, or to be gone, with a bar that moves."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from openmultistack.cli.client import Client
from openmultistack.cli.show import console

Json = dict[str, Any]
POLL_S = 1.0


def until(
    client: Client,
    instances: Sequence[Json],
    settled: Callable[[Json], bool],
    *,
    what: str,
    timeout_s: float,
    quiet: bool,
) -> list[Json]:
    """Return the instances once all have settled, or as they are when the time is over."""
    until_s = time.monotonic() + timeout_s
    latest = {it["id"]: it for it in instances}
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console(stderr=True), disable=quiet, transient=True
    ) as progress:
        task = progress.add_task(what, total=len(latest))
        while True:
            waiting = [it["id"] for it in latest.values() if not settled(it)]
            progress.update(task, completed=len(latest) - len(waiting))
            if not waiting or time.monotonic() > until_s:
                return list(latest.values())
            time.sleep(POLL_S)
            latest |= _look(client, waiting)


def _look(client: Client, ids: Sequence[str]) -> dict[str, Json]:
    """Return instances as they are now: from the list, and one by one what is not in it."""
    listed = {it["id"]: it for it in client.instances([])} if len(ids) > 1 else {}
    return {
        instance_id: listed.get(instance_id) or client.call("GET", f"/instances/{instance_id}")
        for instance_id in ids
    }
