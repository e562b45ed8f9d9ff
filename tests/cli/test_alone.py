"""`oms` installed by itself: without what the functions and `oms doctor` need beside it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.support.needs import PRODUCT, ROOT, needed

CLI = ROOT / "shared" / "openmultistack" / "cli"
# Of `oms doctor`, which has its extra; and what makes tokens of the own issuer, as its key is.
WITH_MORE = {f"cli.{it}" for it in ("doctor", "marks", "clouds_entries", "findings")}
WITH_MORE |= {"auth.own_issuer", "auth.principal"}
# Runs the rest of its arguments as `oms` does, where there are no packages of the first one.
WITHOUT = """
import sys

class Absent:
    names = frozenset(sys.argv.pop(1).split(","))

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def absent() -> str:
    """Return the modules of all packages that `oms` by itself does not bring with it."""
    own = needed() | {PRODUCT}
    return ",".join(
        module
        for module, packages in packages_distributions().items()
        if not own & {canonicalize_name(it) for it in packages}
    )


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program where there is no more than `oms` brings."""
    command = [sys.executable, "-c", WITHOUT + program, absent(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def imported(module: Path) -> Iterator[str]:
    """Yield what of the library a module imports, at its top or later."""
    for it in ast.walk(ast.parse(module.read_text())):
        if isinstance(it, ast.ImportFrom) and str(it.module).startswith(PRODUCT):
            yield str(it.module)


def test_oms_by_itself_brings_little() -> None:
    assert {"cyclopts", "httpx", "rich"} <= needed()
    assert not {"openstacksdk", "pydantic", "redis", "flask", "cryptography"} & needed()
    assert {"openstacksdk", "pydantic"} <= needed("doctor")
    assert "redis" not in needed("doctor")
    assert needed("doctor") < needed("functions")


def test_what_commands_import_does_with_what_oms_brings() -> None:
    modules = [it for it in CLI.glob("*.py") if f"cli.{it.stem}" not in WITH_MORE]
    wanted = {f"{PRODUCT}.cli.{it.stem}" for it in modules if it.stem != "__main__"}
    wanted |= {name for it in modules for name in imported(it)}
    wanted -= {f"{PRODUCT}.{it}" for it in WITH_MORE}
    assert len(wanted) > len(modules)
    done = run("import importlib\nfor it in sys.argv[1:]: importlib.import_module(it)", *wanted)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [(["doctor"], "doctor"), (["token", "--owner", "ann", "--key", "k"], "functions")],
)
def test_a_command_that_needs_more_says_what_to_install(command: list[str], extra: str) -> None:
    done = run("from openmultistack.cli.app import main; main()", *command)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("oms: this command needs ")
    assert line.endswith(f", which `oms` alone does not have: install openmultistack[{extra}]")
