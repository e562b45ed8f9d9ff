"""Functions whose clock is an hour off, on the simulated OpenStack and a real Valkey."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clocks import Shifted


@pytest.fixture(scope="session")
def shifted(
    sim: Any, valkey_port: int, free_port: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shifted]:
    """The functions with clocks an hour ahead and an hour behind."""
    functions = Shifted(tmp_path_factory.mktemp("clocks"), sim, valkey_port, free_port)
    try:
        functions.wait()
        functions.ask("reap+", "POST", "/reap")
        yield functions
    finally:
        functions.close()
