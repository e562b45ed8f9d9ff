"""What the documents say works: their commands are run, in their order."""

import re
import subprocess
import sys
from pathlib import Path

from openmultistack.fleet.config import load_fleet

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
# One session, in this order; no other document has commands to be run (blocks of `sh`).
SESSION = (ROOT / "README.md", DOCS / "api.md")
ALL = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))


def blocks(language: str, *documents: Path) -> list[str]:
    """Return the blocks in a language that documents have."""
    text = "\n".join(it.read_text() for it in documents)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_commands_run_in_order(product):
    """All shell blocks as one session, each command's failure a failure of the test."""
    session = "\n".join(blocks("sh", *SESSION)).replace(". .oms/env", f". {product.home}/env")
    session = session.replace("$PWD/.venv/bin", str(Path(sys.executable).parent))
    assert session.count("curl") >= 10
    with product.swept_by_the_clock():
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", session],
            cwd=ROOT,
            env=product.environment,
            capture_output=True,
            text=True,
            timeout=900,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ACTIVE" in done.stdout


def test_no_other_document_has_commands_that_nobody_runs():
    """They would be wrong one day."""
    assert {it for it in ALL if blocks("sh", it)} == set(SESSION)


def test_the_make_targets_exist():
    """Every `make TARGET` that is named can be made."""
    text = "\n".join(it.read_text() for it in ALL)
    named = set(re.findall(r"`make ([a-z]+)|^    make ([a-z]+)", text, re.MULTILINE))
    assert len(named) > 5
    for target in {first or second for first, second in named}:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, target


def test_the_fleet_file_shown_is_a_good_one(tmp_path):
    """The fleet.yaml that the documents explain is read without complaint."""
    (fleet,) = blocks("yaml", DOCS / "operating" / "clouds.md")
    (tmp_path / "fleet.yaml").write_text(fleet)
    (tmp_path / "clouds.yaml").write_text(
        "clouds:\n  alpha: {regions: [RegionOne, RegionTwo]}\n  gamma: {region_name: G}\n"
    )
    loaded = load_fleet(tmp_path / "clouds.yaml", tmp_path / "fleet.yaml")
    assert set(loaded.regions) == {"alpha/RegionOne", "alpha/RegionTwo"}
