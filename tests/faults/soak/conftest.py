"""The soak's modules are scripts: what is tested of them is loaded by path."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def history() -> ModuleType:
    """Return the module of the history and its checker."""
    spec = importlib.util.spec_from_file_location("soak_history", HERE / "history.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
