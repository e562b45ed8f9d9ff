"""Whom a process believes now: the issuers' files, looked at again while it runs.

A look is taken in a request that is made anyway, at most every few seconds, and costs a `stat` of
each file. What the files say by then counts from that request on, for tokens seen before as well.

A file that is *bad* changes nothing: the last good set stays in force, and the log says so once a
minute; else a slip of the operator's hand would lock everybody out. A file that is *gone* lets
nobody in: without the issuers file nobody, without a file of keys nobody of its issuer.
"""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from openmultistack.auth.issuers import Issuer, load_issuers
from openmultistack.domain.errors import ConfigurationError
from openmultistack.logs import tell

LOOK_EVERY_S = 3.0
TELL_EVERY_S = 60.0

# Of a file what tells it from another at its place; None if there is none.
_Identity = tuple[int, ...] | None
_UNREADABLE: _Identity = ()


class Believed:
    """The issuers that an issuers file names, with their keys; safe to share between threads."""

    def __init__(self, path: Path | None, *, may_be_gone: bool = False) -> None:
        """Read the files; without a path nobody is believed.

        `may_be_gone`: a file that is gone lets nobody in from the start, as it does later.

        Raises:
            ConfigurationError: a file is wrong; or missing, unless it may be gone.
        """
        self._path = path
        self._looking = threading.Lock()
        self._look_at = time.monotonic() + LOOK_EVERY_S
        self._tell_at = time.monotonic()
        self._is_bad = False
        self._seen: Mapping[Path, _Identity] = {}
        self._issuers: Mapping[str, Issuer] = {}
        if path:
            self._seen, self._issuers = _read(path, may_be_gone=may_be_gone)

    def now(self) -> Mapping[str, Issuer]:
        """Return those believed now: the same object as before, unless anything has changed."""
        path, due = self._path, time.monotonic() >= self._look_at
        if path and due and self._looking.acquire(blocking=False):
            try:
                self._look(path)
            finally:
                self._look_at = time.monotonic() + LOOK_EVERY_S
                self._looking.release()
        return self._issuers

    def _look(self, path: Path) -> None:
        found = {it: _identity(it) for it in self._seen}
        if found == self._seen and not self._is_bad:
            self._tell_gone()
            return
        try:
            self._seen, self._issuers = _read(path, may_be_gone=True)
        except ConfigurationError as error:
            self._keep(str(error))
        else:
            self._is_bad = False
            tell("issuers", outcome="read anew", issuers=list(self._issuers))
            self._tell_gone()

    def _keep(self, fault: str) -> None:
        """Stay with the last good set, but for those whose keys are gone."""
        kept = {
            name: it for name, it in self._issuers.items() if _identity(it.jwks_file) is not None
        }
        if len(kept) < len(self._issuers):
            self._issuers = kept
        self._is_bad = True
        self._tell_now_and_then(outcome="bad: the last good ones stay in force", detail=fault)

    def _tell_gone(self) -> None:
        gone = [str(it) for it, identity in self._seen.items() if identity is None]
        if gone:
            self._tell_now_and_then(outcome="gone: nobody is let in by these", files=gone)

    def _tell_now_and_then(self, **fields: object) -> None:
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELL_EVERY_S
            tell("issuers", "warning", **fields)


def _read(
    path: Path, *, may_be_gone: bool = False
) -> tuple[Mapping[Path, _Identity], Mapping[str, Issuer]]:
    """Return the files with what they were before they were read, and the issuers, keys read.

    Raises:
        ConfigurationError: a file is wrong; or missing, unless it may be gone.
    """
    seen = {path: _identity(path)}
    if may_be_gone and seen[path] is None:
        return seen, {}
    believed = {}
    for name, issuer in load_issuers(path).items():
        seen[issuer.jwks_file] = _identity(issuer.jwks_file)
        if may_be_gone and seen[issuer.jwks_file] is None:
            continue
        _ = issuer.keys  # read now, not at the first token
        believed[name] = issuer
    return seen, believed


def _identity(path: Path) -> _Identity:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):  # reading it says what is wrong
        return _UNREADABLE
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
