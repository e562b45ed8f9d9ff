"""One thread a region looks after it, and a watch that fails leaves the region to the next."""

import threading
from queue import Queue

import pytest

from openmultistack.provision.watchers import Watchers


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_region_whose_watch_failed_is_watched_again() -> None:
    lock, begun = threading.Lock(), Queue[threading.Thread]()

    def keep_watch(region: str) -> None:
        begun.put(threading.current_thread())
        raise RuntimeError(f"something that nobody thought of in {region}")

    watchers = Watchers("watching", keep_watch, lock)
    for _ in range(2):
        with lock:
            watchers.watch(["a/one", "a/one"])
        begun.get(timeout=30).join(30)
    assert begun.empty()
