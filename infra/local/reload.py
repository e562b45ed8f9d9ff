"""The reload seam: what of a running stack has read files that say something else by now.

Each process' start leaves digests of what it read. What is stale starts anew, one replica after the
other, so that with two of them somebody always answers; a new content that is no good is refused
before anything is ended.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from infra.local import processes
from infra.local.layout import ROOT, Stack, StackError
from infra.local.watchers import Watched, watched

# Of code: what processes are made of. The command line and its tests are no part of them.
SUFFIXES, NOT_READ = (".py", ".lua", ".lock"), "cli"
TRIED_WITHIN_S = 60
TRY = [sys.executable, "-c", "import runpy, sys; runpy.run_path(sys.argv[1])"]
REFUSED = "refused to start: "

Digests = dict[str, dict[str, str]]


def digests(stack: Stack) -> Digests:
    """Return of each process a digest of everything that it would read now."""
    made: dict[tuple[Path, ...], str] = {}
    found: Digests = {}
    for it in watched(stack):
        found[it.name] = {}
        for name, paths in it.reads.items():
            made[paths] = made.get(paths) or _digest(paths)
            found[it.name][name] = made[paths]
    return found


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in (file for it in paths for file in _files(it)):
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path}\0{path.is_file()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """Give the files behind what a process reads: of a folder its code, of issuers their keys."""
    if path.is_dir():
        found = (it for it in path.rglob("*") if it.suffix in SUFFIXES)
        yield from sorted(it for it in found if NOT_READ not in it.relative_to(path).parts)
        return
    yield path
    if path.name == "issuers.yaml":
        yield from (path.parent / name for name in _keys_of(path))


def _keys_of(issuers_file: Path) -> list[str]:
    """Return the files of keys that the issuers name, as far as the file can be read."""
    try:
        issuers = yaml.safe_load(issuers_file.read_text())["issuers"]
        return [str(it["jwks_file"]) for it in issuers]
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return []


def record(stack: Stack, found: Digests) -> None:
    """Leave what processes have read that start now."""
    _stamps(stack).touch(mode=0o600)
    _stamps(stack).write_text(json.dumps(recorded(stack) | found, indent=1))


def recorded(stack: Stack) -> Digests:
    """Return what the processes read that run."""
    try:
        return dict(json.loads(_stamps(stack).read_text()))
    except (OSError, ValueError):
        return {}


def _stamps(stack: Stack) -> Path:
    return stack.home / "run" / "digests.json"


def stale(before: Mapping[str, Mapping[str, str]], now: Digests) -> dict[str, list[str]]:
    """Return by process what it read that is other now."""
    changed = {
        name: [it for it, digest in reads.items() if before.get(name, {}).get(it) != digest]
        for name, reads in now.items()
    }
    return {name: reads for name, reads in changed.items() if reads}


def sentences(changed: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a sentence for each thing that changed: what starts anew for it."""
    concerned: dict[str, dict[str, None]] = {}
    for process, reads in changed.items():
        for name in reads:
            concerned.setdefault(name, {})[_function(process)] = None
    return [
        f"{name} changed: {', '.join(them)} start{'s' if len(them) == 1 else ''} anew"
        for name, them in concerned.items()
    ]


def _function(process: str) -> str:
    """Return the name that all replicas of a process share."""
    name, _, replica = process.rpartition("-")
    return name if replica.isdecimal() else process


def try_out(stack: Stack, names: Iterable[str]) -> None:
    """Start each function once beside the running ones, with what it would read, and end it.

    Raises:
        StackError: one does not start; in its own words, if it says why.
    """
    wanted = {_function(it) for it in names}
    firsts = {_function(it.name): it for it in watched(stack) if _function(it.name) in wanted}
    trials = {
        name: subprocess.Popen(
            [*TRY, it.command[it.command.index("--source") + 1]],
            env={"PATH": "/usr/bin:/bin", **it.environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, it in firsts.items()
        if "--source" in it.command
    }
    faults = {name: _fault(stack, name, trial) for name, trial in trials.items()}
    for name, fault in faults.items():
        if fault:
            raise StackError(fault if fault.startswith("/") else f"{name}: {fault}")


def _fault(stack: Stack, name: str, trial: "subprocess.Popen[str]") -> str | None:
    """Return why a function does not start; None if it does."""
    try:
        _, said = trial.communicate(timeout=TRIED_WITHIN_S)
    except subprocess.TimeoutExpired:
        trial.kill()
        trial.communicate()
        return f"did not start within {TRIED_WITHIN_S} s"
    if trial.returncode == 0:
        return None
    last = (said.strip().splitlines() or [""])[-1]
    if last.startswith(REFUSED):
        return last.removeprefix(REFUSED)
    log = stack.home / "log" / f"{name}.tried"
    log.write_text(said)
    return f"its code does not start; {log} has what it said"


def start_anew(stack: Stack, names: Iterable[str]) -> list[str]:
    """End processes in turn, to be started anew; return those that do not come back.

    One replica of each function at a time: with more of them the others answer meanwhile.
    """
    wanted = [it for it in watched(stack) if it.name in set(names)]
    missing: list[str] = []
    for turn in _turns(wanted):
        # What they read is taken note of before: a change in between is seen by the next `up`.
        reads = digests(stack)
        processes.end_gently(stack, [it.name for it in turn])
        listening = {it.name: it.at for it in turn if it.at}
        missing += processes.wait_for(listening, timeout_s=processes.STARTED_WITHIN_S)
        record(stack, {it.name: reads[it.name] for it in turn if it.name not in missing})
    return missing


def _turns(wanted: Iterable[Watched]) -> list[list[Watched]]:
    turns: dict[str, list[Watched]] = {}
    for it in wanted:
        turns.setdefault(it.name.rpartition("-")[2], []).append(it)
    return list(turns.values())
