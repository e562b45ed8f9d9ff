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
# In the directory: the lab's home, and where that is to be seen. In the home: the directory's name.
HOME, RECORDED = "home", Path("state") / "postgres-dir"
PATH_BYTES = 4096


def new_name(folder: Path) -> Path:
    """Return the path of a directory that is not there yet: to be recorded, then made."""
    return folder / f"{PREFIX}{secrets.token_hex(8)}"


def make(place: Path, home: Path) -> None:
    """Make a lab's directory, or go on to have one that says whose it is."""
    place.mkdir(mode=0o700, exist_ok=True)
    said = f"{home}\n{namespace()}"
    if text_of(place / HOME) != said:
        # The directory is another user's: what stands there under the name may be a link.
        (place / HOME).unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(place / HOME, flags, 0o600), "w") as it:
            it.write(said)


def namespace() -> str:
    """Return which file system is seen here: in another one a home may be under another path."""
    return str(Path("/proc/self/ns/mnt").readlink())


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
    """Whether the lab that it says it is of has none, or another one.

    One of which that cannot be seen from here is not.
    """
    home, _, where = (text_of(place / HOME) or "").partition("\n")
    if where != namespace() or not Path(home).is_absolute():
        return False
    recorded = Path(home) / RECORDED
    try:
        recorded.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return text_of(recorded) != str(place)


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
