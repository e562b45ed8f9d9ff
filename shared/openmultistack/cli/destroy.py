"""`oms destroy`: by id, by label, or everything of the owner's, after asking."""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from openmultistack.cli import values
from openmultistack.cli.failures import CommandError, Exit, say
from openmultistack.cli.options import DEFAULT, Flag, Gateway, Labels, Timeout, Wait

if TYPE_CHECKING:
    from openmultistack.cli.client import Client

Json = dict[str, Any]

AT_ONCE = 8


class Destroyed(NamedTuple):
    """What came of it: the instances as they are then, and each refusal."""

    instances: list[Json]
    refused: Sequence[CommandError] = ()


def destroy(
    *ids: str,
    label: Labels = None,
    all_: Annotated[Flag, Parameter(name="--all", help="All instances of yours.")] = False,
    yes: Annotated[Flag, Parameter(name=("--yes", "-y"), help="Do not ask.")] = False,
    copy: Annotated[
        str | None, Parameter(name="--copy", help="A server that copies an instance's (operators).")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = "10m",
    gateway: Gateway = DEFAULT,
) -> int:
    """Destroy instances: by id, by label, or all of yours. Repeating it is harmless."""
    if copy is not None:
        return _end_copy(copy, gateway, alone=not (ids or label or all_))
    if bool(ids) + bool(label) + all_ != 1:
        raise CommandError("give ids, or --label, or --all, and only one of them", Exit.USAGE)
    if not (ids or yes or sys.stdin.isatty()):
        raise CommandError("nobody to ask here: --yes destroys without asking", Exit.USAGE)
    query, timeout_s = values.label_query(label or []), values.seconds(timeout)
    client = gateway.client()
    if label and yes:
        done = Destroyed(client.call("DELETE", "/instances", query=query)["instances"])
    else:
        done = _by_id(client, ids or _agreed(client, query, yes=yes), named=bool(ids))
    verdict = _verdict(done.refused)
    if wait:
        waited, late = _until_gone(client, done.instances, timeout_s, quiet=gateway.as_json)
        done, verdict = Destroyed(waited), verdict or late
    if done.instances or not done.refused or gateway.as_json:
        _show(done.instances, as_json=gateway.as_json)
    return verdict


def _end_copy(server_id: str, gateway: Gateway, *, alone: bool) -> Exit:
    """Have a server deleted that says it is an instance's, and is not."""
    from openmultistack.cli import screen  # noqa: PLC0415  starts faster without

    if not alone:
        raise CommandError("give --copy alone: it ends a server, not an instance", Exit.USAGE)
    body = {"servers": [server_id]}
    document = gateway.client().call("POST", "/copies/destroy", body=body)
    if gateway.as_json:
        screen.as_json(document)
    for it in () if gateway.as_json else document["copies"]:
        told = f"{it['server']} in {it['region']} goes; it was a copy of {it['instance']}'s server"
        print(screen.text(told))
    return Exit.OK


def _agreed(client: "Client", query: list[tuple[str, str]], *, yes: bool) -> Sequence[str]:
    """Return which instances there are, once somebody agreed to their end."""
    found = [it["id"] for it in client.listing(query)["instances"]]
    if found and not yes:
        which = "the one instance" if len(found) == 1 else f"{len(found)} instances"
        print(f"Destroy {which}{' with this label' if query else ''}? [y/N] ", end="",
              file=sys.stderr, flush=True)  # fmt: skip
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was destroyed")
    return found


def _by_id(client: "Client", ids: Sequence[str], *, named: bool) -> Destroyed:
    """Destroy side by side; one that is refused does not save the others."""
    from openmultistack.cli.client import path_of  # noqa: PLC0415  starts faster without

    def one(path: str) -> Destroyed:
        try:
            return Destroyed(client.call("DELETE", path)["instances"])
        except CommandError as error:
            # One that was found in the list and is gone by now is what was wanted.
            vanished = not named and error.exit_code == Exit.NOT_FOUND
            return Destroyed([], () if vanished else (error,))

    paths = [path_of(it) for it in dict.fromkeys(ids)]
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        done = list(pool.map(one, paths))
    finally:
        pool.shutdown(cancel_futures=True)
    return Destroyed(
        [it for part in done for it in part.instances], [it for part in done for it in part.refused]
    )


def _verdict(refused: Sequence[CommandError]) -> Exit:
    for message in dict.fromkeys(str(it) for it in refused):
        say(message)
    return refused[0].exit_code if refused else Exit.OK


def _until_gone(
    client: "Client", instances: list[Json], timeout_s: int, *, quiet: bool
) -> tuple[list[Json], Exit]:
    from openmultistack.cli import waiting  # noqa: PLC0415  starts faster without

    try:
        waited = waiting.wait(client, instances, waiting.GONE, timeout_s=timeout_s, quiet=quiet)
    except KeyboardInterrupt:
        said = "not waiting any longer; what was destroyed goes away all the same: see `oms list`"
        raise CommandError(said, Exit.INTERRUPTED) from None
    if waited.trouble:
        say(waited.trouble)
    return waited.instances, waited.trouble.exit_code if waited.trouble else Exit.OK


def _show(found: list[Json], *, as_json: bool) -> None:
    from openmultistack.cli import screen, show  # noqa: PLC0415  starts faster without

    if as_json:
        screen.as_json({"instances": found})
    else:
        show.instances(found)
