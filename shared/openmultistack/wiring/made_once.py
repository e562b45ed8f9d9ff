"""What a process has one of: made at its first need, whoever needs it, and kept."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Owner = TypeVar("Owner", bound="Kept")
Made = TypeVar("Made")


class Kept:
    """An object that keeps what its methods made."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        # Of one thread: making something makes what that is made of.
        self.making = threading.RLock()


def made_of(
    basis: Callable[[Owner], object],
) -> Callable[[Callable[[Owner], Made]], Callable[[Owner], Made]]:
    """Have a method make what it returns anew whenever its basis is another object by then."""

    def decorate(make: Callable[[Owner], Made]) -> Callable[[Owner], Made]:
        name = make.__name__

        @wraps(make)
        def kept(self: Owner) -> Made:
            now = basis(self)
            with self.making:
                on, made = self.kept.get(name, (None, None))
                if on is not now:
                    made = make(self)
                    self.kept[name] = now, made
            found: Made = made
            return found

        return kept

    return decorate


def made_once(make: Callable[[Owner], Made]) -> Callable[[Owner], Made]:
    """Have a method make what it returns at its first call; what fails is tried again."""
    name = make.__name__

    @wraps(make)
    def kept(self: Owner) -> Made:
        if name not in self.kept:
            with self.making:
                if name not in self.kept:
                    self.kept[name] = make(self)
        made: Made = self.kept[name]
        return made

    return kept
