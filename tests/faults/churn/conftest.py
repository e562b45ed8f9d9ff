"""The whole product on a simulated OpenStack of 60 slots, and no sweeps but those asked for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.churning import Stack


@pytest.fixture(scope="session")
def churn_sim(start_sim: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A simulated OpenStack of three regions with 20 slots each."""
    home = tmp_path_factory.mktemp("churn")
    options = ("--providers", "1", "--regions-per-provider", "3")
    with start_sim(home, *options, "--boot-s", "0.3", "--delete-s", "0.5") as sim:
        yield sim


@pytest.fixture(scope="session")
def running_stack(churn_sim: Any, run_home: Path, free_port: Callable[[], int]) -> Iterator[Stack]:
    """The stack, up; ended after the last test."""
    stack = Stack(churn_sim.clouds_file, run_home / "churn", free_port())
    stack.command("up")
    yield stack
    stack.http.close()
    stack.command("down")


@pytest.fixture
def stack(running_stack: Stack, churn_sim: Any) -> Stack:
    """The stack with nothing in it."""
    httpx.post(f"{churn_sim.url}/sim/reset").raise_for_status()
    for _ in range(2):
        running_stack.ask("POST", "/reap", "reaper")
    return running_stack
