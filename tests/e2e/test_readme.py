"""What the README says works: its commands are run, in their order."""

import re
import subprocess
import sys
from pathlib import Path

from openmultistack.fleet.config import load_fleet

ROOT = Path(__file__).parent.parent.parent


def blocks(language: str) -> list[str]:
    """Return the README's blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_commands_run_in_order(product):
    """All shell blocks as one session, each command's failure a failure of the test."""
    session = "\n".join(blocks("sh")).replace(". .oms/env", f". {product.home}/env")
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


def test_the_make_targets_exist():
    """Every `make TARGET` that is named can be made."""
    named = set(
        re.findall(
            r"`make ([a-z]+)|^    make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE
        )
    )
    for target in {first or second for first, second in named}:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, target


def test_the_fleet_file_shown_is_a_good_one(tmp_path):
    """The fleet.yaml in the README is read without complaint."""
    (fleet,) = blocks("yaml")
    (tmp_path / "fleet.yaml").write_text(fleet)
    (tmp_path / "clouds.yaml").write_text(
        "clouds:\n  alpha: {regions: [RegionOne, RegionTwo]}\n  gamma: {region_name: G}\n"
    )
    loaded = load_fleet(tmp_path / "clouds.yaml", tmp_path / "fleet.yaml")
    assert set(loaded.regions) == {"alpha/RegionOne", "alpha/RegionTwo"}
