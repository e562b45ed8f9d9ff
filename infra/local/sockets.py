"""Where a stack's Unix sockets are: a folder that its user alone may enter, with a short path.

The kernel takes 107 bytes of a socket's path. A home with a longer one has its sockets in a folder
of the user's runtime directory (or of /tmp), of which it keeps the name.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path

PATH_MAX_BYTES = 107
# As long as any name of a socket, such as destroy-20.
LONGEST = "n" * 24
PREFIX = "oms-"


def folder_of(home: Path) -> Path:
    """Return where the sockets of the stack in a home are; it need not be there."""
    inside = home / "run" / "sockets"
    return inside if _fits(inside) else _kept(home) or inside


def make_folder(home: Path) -> Path:
    """Return that folder once it is there; nobody else can have made it, or may enter it."""
    inside = home / "run" / "sockets"
    if _fits(inside):
        inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        inside.chmod(0o700)
        return inside
    kept = _kept(home)
    if kept:
        return kept
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_outside()))
    _name_of(home).write_text(str(made))
    return made


def remove_folder(home: Path) -> None:
    """Remove it when nothing listens there any more; may be repeated."""
    shutil.rmtree(folder_of(home), ignore_errors=True)
    _name_of(home).unlink(missing_ok=True)


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / LONGEST)) <= PATH_MAX_BYTES


def _name_of(home: Path) -> Path:
    return home / "run" / "sockets-folder"


def _kept(home: Path) -> Path | None:
    """Return the folder whose name the home keeps, if it is there and still the user's own."""
    try:
        folder = Path(_name_of(home).read_text())
    except OSError:
        return None
    return folder if folder.name.startswith(PREFIX) and _is_private(folder) else None


def _is_private(folder: Path) -> bool:
    try:
        it = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(it.st_mode) and it.st_uid == os.geteuid() and not it.st_mode & 0o077


def _outside() -> Path:
    """Return where a short folder may be made."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nowhere")
    if _is_private(runtime) and _fits(runtime / f"{PREFIX}12345678"):
        return runtime
    return Path("/tmp")  # noqa: S108  mkdtemp's: a name that nobody knows before, and mode 0700
