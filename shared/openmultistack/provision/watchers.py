"""Watchers: threads of a process that look after a region, only while there is any need."""

import threading
from collections.abc import Callable, Iterable


class Watchers:
    """One thread a region at the most; the lock is that of what they look after."""

    def __init__(self, name: str, keep_watch: Callable[[str], None], lock: threading.Lock) -> None:
        """`keep_watch` returns when it has let the region go: see `let_go`."""
        self._name = name
        self._keep_watch = keep_watch
        self._lock = lock
        self._watched: set[str] = set()

    def watch(self, regions: Iterable[str]) -> None:
        """Have these regions watched; call it under the lock."""
        for region in set(regions) - self._watched:
            self._watched.add(region)
            threading.Thread(target=self._run, args=(region,), name=self._name, daemon=True).start()

    def let_go(self, region: str) -> None:
        """Have a region watched no more; call it under the lock, in which nothing was left."""
        self._watched.discard(region)

    def _run(self, region: str) -> None:
        try:
            self._keep_watch(region)
        except BaseException:
            with self._lock:
                self.let_go(region)  # whoever comes next may watch it
            raise
