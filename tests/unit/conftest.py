"""What unit tests share."""

import time
from collections.abc import Callable

import pytest

from openmultistack import rereading


@pytest.fixture
def let_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what lets the time pass after which files are looked at again."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def let_pass(seconds: float = rereading.LOOK_EVERY_S) -> None:
        now[0] += seconds

    return let_pass
