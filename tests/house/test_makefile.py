"""Which Python `make` uses, and where its environment is."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# What a `make` around this run told its own.
OUTER = ("PYTHON", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what `make` would do; it does nothing."""
    environment = {name: value for name, value in os.environ.items() if name not in OUTER}
    return subprocess.run(
        ["make", "--dry-run", "--always-make", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def another(tmp_path: Path) -> Path:
    """A Python of another version, as far as anybody asks it; its path has a blank in it."""
    python = tmp_path / "another one" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 3.99\n")
    python.chmod(0o755)
    return python


@pytest.mark.parametrize("target", ["check", "test", "long", "soak", "up"])
def test_a_python_that_is_named_has_an_environment_of_its_own(target: str, another: Path) -> None:
    told = make(target, f"PYTHON={another}").stdout
    assert f'"{another}" -m venv .venv-3.99' in told
    assert ".venv-3.99/bin/" in told.splitlines()[-1] or target == "soak"
    assert ".venv/" not in told


@pytest.mark.parametrize("given", [(), ("PYTHON=",)])
def test_the_machines_own_python_has_the_usual_one(given: tuple[str, ...]) -> None:
    told = make("check", *given).stdout
    assert '"python3" -m venv .venv\n' in told
    assert ".venv/bin/mypy\n" in told
    assert ".venv-" not in told


@pytest.mark.parametrize("name", ["python3.99", "/nowhere/python"])
def test_a_python_that_is_not_there_is_told_in_one_sentence(name: str) -> None:
    done = make("check", f"PYTHON={name}")
    assert done.returncode != 0
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert f"PYTHON={name} is no Python that starts: expected its name or path" in line
