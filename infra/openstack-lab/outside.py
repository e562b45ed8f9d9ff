"""Directories of labs that are not below their homes: each says whose it is, and none stays behind.

A lab keeps the name of its own in its state. Where the home went without `reset`, or has another
directory by now, nobody would ever remove the one it had: the next lab that makes one does.
"""

import os
import secrets
import shutil
import stat
from pathlib import Path

PREFIX = "openstack-lab-"
FOLDER = Path("/var/tmp")  # noqa: S108  names that nobody knows before, and mode 0700
# In the directory: the lab's home. In the home: the directory's name.
HOME, RECORDED = "home", Path("state") / "postgres-dir"
PATH_BYTES = 4096


def new_name(folder: Path) -> Path:
    """Return the path of a directory that is not there yet: to be recorded, then made."""
    return folder / f"{PREFIX}{secrets.token_hex(8)}"


def make(place: Path, home: Path) -> None:
    """Make a lab's directory, or go on to have one that says whose it is."""
    place.mkdir(mode=0o700, exist_ok=True)
    if text_of(place / HOME) != str(home):
        (place / HOME).write_text(str(home))


def remove_abandoned(folder: Path) -> list[Path]:
    """Remove what no lab has any more and no PostgreSQL runs in; return what was removed.

    One that does not say whose it is is let alone. Safe to repeat.
    """
    found = [it for it in folder.glob(f"{PREFIX}*") if it.is_dir() and not it.is_symlink()]
    abandoned = [it for it in found if is_abandoned(it) and not runs(it)]
    for place in abandoned:
        shutil.rmtree(place, ignore_errors=True)
    return abandoned


def is_abandoned(place: Path) -> bool:
    """Whether the lab that it says it is of has none, or another one."""
    home = text_of(place / HOME)
    if home is None or not Path(home).is_absolute():
        return False
    return text_of(Path(home) / RECORDED) != str(place)


def runs(place: Path) -> bool:
    """Whether a PostgreSQL has its data there, as of a lab whose home was deleted as it ran."""
    pid = (text_of(place / "data" / "postmaster.pid") or "").partition("\n")[0]
    if not pid.isdecimal():
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(place / "data") in command


def text_of(path: Path) -> str | None:
    """Return what a small file says, whosever it is; None if there is none, or it is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.fsdecode(os.read(descriptor, PATH_BYTES)) if is_file else None
    finally:
        os.close(descriptor)
