"""Files of the operator's that are read again while a process lives.

A look is taken in a call that is made anyway, at most every few seconds, and costs a `stat` of each
file. Files that are *bad* change nothing: what was read last stays in force, and the log says so
once a minute; else a slip of the operator's hand would stop everybody.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from openmultistack.domain.errors import ConfigurationError
from openmultistack.logs import tell

LOOK_EVERY_S = 3.0
TELL_EVERY_S = 60.0

T = TypeVar("T")
# Of a file what tells it from another at its place; None if there is none.
Stamp = tuple[int, ...] | None
Seen = Mapping[Path, Stamp]
_UNREADABLE: Stamp = ()


class Reread(Generic[T]):
    """What files say by now; safe to share between threads."""

    def __init__(
        self,
        event: str,
        read: Callable[[], T],
        paths: Collection[Path],
        told: Callable[[T], Mapping[str, object]] = lambda _: {},
    ) -> None:
        """Read the files; `event` is the log's word for it, `told` what a line shows of it.

        Raises:
            ConfigurationError: a file is missing or wrong.
        """
        self._event = event
        self._read_value = read
        self._paths = paths
        self._told = told
        self._looking = threading.Lock()
        self._look_at = time.monotonic() + LOOK_EVERY_S
        self._tell_at = time.monotonic()
        self._is_bad = False
        self._seen, self._value = self._read()

    def now(self) -> T:
        """Return what they say now: the same object as before, unless a file has changed."""
        if time.monotonic() >= self._look_at and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._look_at = time.monotonic() + LOOK_EVERY_S
                self._looking.release()
        return self._value

    def look(self) -> T:
        """Look at once, as when something is missing that may just have come; return as `now`."""
        with self._looking:
            self._look()
        return self._value

    def certain(self) -> T | None:
        """Look at once, and return what they say; None while they are bad, and nobody knows."""
        with self._looking:
            self._look()
            return None if self._is_bad else self._value

    @property
    def last(self) -> T:
        """What they said when they were read last."""
        return self._value

    def _look(self) -> None:
        if not self._is_bad and self._seen == {it: stamp_of(it) for it in self._seen}:
            self._tell_unchanged()
            return
        try:
            self._seen, self._value = self._read()
        except Exception as error:  # noqa: BLE001  whatever it is, they are not as they must be
            self._is_bad = True
            self._value = self._kept(self._value)
            ours = isinstance(error, ConfigurationError)
            detail = str(error) if ours else "what is written there cannot be read"
            self._tell_now_and_then(outcome="bad: the last good ones stay in force", detail=detail)
        else:
            self._is_bad = False
            tell(self._event, outcome="read anew", **self._told(self._value))
            self._tell_unchanged()

    def _read(self) -> tuple[Seen, T]:
        """Return what the files were before they were read, and what they say."""
        return {it: stamp_of(it) for it in self._paths}, self._read_value()

    def _kept(self, value: T) -> T:
        """Return what of the last good value stays in force while files are bad."""
        return value

    def _tell_unchanged(self) -> None:
        """Tell what there is to tell of files that are not bad."""

    def _tell_now_and_then(self, **fields: object) -> None:
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELL_EVERY_S
            tell(self._event, "warning", **fields)


def stamp_of(path: Path) -> Stamp:
    """Return what tells a file from another at its place; None if there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):  # reading it says what is wrong
        return _UNREADABLE
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
