"""What is tested of the soak by itself."""

from types import ModuleType

import pytest

from tests.faults.soak import history as history_of_soak


@pytest.fixture(scope="session")
def history() -> ModuleType:
    """Return the module of the history and its checker."""
    return history_of_soak
