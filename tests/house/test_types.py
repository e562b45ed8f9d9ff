"""mypy looks at all that is no test, and at what tests share."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("bench", "functions", "infra", "shared", "tests")
# What this file is about, in the words of a test that would go round it.
AS_ANYTHING = re.compile(r"^(?:[A-Z]\w+ = )+Any\b", re.MULTILINE)


def sources() -> list[Path]:
    """Return all Python of the repository."""
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return [it.relative_to(ROOT) for it in found]


def looked_at() -> list[Path]:
    """Return the folders that `make check` has mypy look at: at once, and one by one."""
    together = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    (scripts,) = re.findall(r"^SCRIPTS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [Path(it) for it in (*together, *scripts.split())]


def test_each_module_that_is_no_test_is_looked_at() -> None:
    ours = [it for it in sources() if it.parts[0] != "tests" or it.parts[1] == "support"]
    assert len(ours) > 200
    folders = looked_at()
    assert [it for it in ours if not any(it.is_relative_to(folder) for folder in folders)] == []


def test_mypy_is_strict_everywhere() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert told["strict"]
    loose = [it for it in told["overrides"] if it.keys() - {"module", "ignore_missing_imports"}]
    assert [it["module"] for it in loose] == [["lab_virt", "nova_region"]]


def test_no_test_calls_a_class_that_it_could_import_anything() -> None:
    tests = [it for it in sources() if it.parts[0] == "tests"]
    assert tests
    assert [it for it in tests if AS_ANYTHING.search((ROOT / it).read_text())] == []
