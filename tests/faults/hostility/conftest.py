"""The whole product on a simulated OpenStack, and an owner of it who means ill."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.faults import hostile
from tests.support.besieged import Stack


@pytest.fixture(scope="session")
def hostile_module() -> ModuleType:
    """Return the module of the hostile owner."""
    return hostile


@pytest.fixture
def stack(
    start_sim: Any, run_home: Path, tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[Stack]:
    """The stack, up; eight regions with 20 slots each, and no sweeps but those asked for.

    That is more than all who act in the test can occupy at once: nothing is refused for want of
    a slot, which would say nothing of those who act.
    """
    options = ("--providers", "1", "--regions-per-provider", "8", "--boot-s", "0.3")
    with start_sim(tmp_path, *options, "--delete-s", "0.3") as sim:
        stack = Stack(sim.clouds_file, run_home / "besieged", free_port())
        try:
            stack.command("up")
            stack.ask("POST", "/reap", "reaper")
            yield stack
        finally:
            stack.http.close()
            stack.command("down")
