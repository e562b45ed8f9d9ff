"""Regions that come and go in files: what is certain, what is bad, and what is let go."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from openmultistack.domain.errors import ConfigurationError
from openmultistack.fleet.files import CloudsFile, load_regions
from openmultistack.fleet.source import FleetFiles

GOOD = "clouds: {a: {regions: [one, two]}, b: {regions: [one]}}"
# What YAML's own reader answers with something other than its own kind of error.
ODD = ["x: 2024-13-45", "x: 2024-01-01T99:00:00Z", "x: 0b_", "x: " + "9" * 5000, "x: " + "[" * 1200]


class Files:
    """clouds.yaml and fleet.yaml, and a clock."""

    def __init__(self, home: Path) -> None:
        self.clouds, self.fleet, self.secure = (
            home / f"{it}.yaml" for it in ("clouds", "fleet", "secure")
        )
        self.clouds.write_text(GOOD)
        self.fleet.write_text("regions: {'b/*': {priority: 1}}")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return the files, which are good."""
    return Files(tmp_path)


@pytest.mark.parametrize("odd", ODD)
def test_a_value_that_is_none_is_a_fault_of_the_file(files: Files, odd: str) -> None:
    files.clouds.write_text(f"{GOOD}\n{odd}")
    with pytest.raises(ConfigurationError, match=r"clouds\.yaml"):
        load_regions(files.clouds)


@pytest.mark.parametrize("odd", ODD)
def test_files_that_became_bad_in_any_way_change_nothing_and_are_told(
    files: Files, let_pass: Callable[[], None], odd: str
) -> None:
    source, regions = FleetFiles(files.clouds, files.fleet), CloudsFile(files.clouds)
    before: Any = source.now(), regions.now()
    files.clouds.write_text(f"{GOOD}\n{odd}")
    let_pass()
    with capture_logs() as lines:
        assert (source.now(), regions.now()) == before
    assert {(it["event"], it["log_level"]) for it in lines} == {
        ("fleet", "warning"), ("clouds", "warning"),
    }  # fmt: skip


def test_the_fleet_is_certain_at_once_and_not_while_files_are_bad(files: Files) -> None:
    source = FleetFiles(files.clouds, files.fleet)
    files.clouds.write_text(GOOD.replace("[one, two]", "[one, two, three]"))
    assert "a/three" not in source.now().regions, "files are looked at now and then"
    certain = source.certain()
    assert certain
    assert "a/three" in certain.regions
    # A provider is taken out, and a rule for it is left behind: nobody knows what is meant.
    files.clouds.write_text("clouds: {a: {regions: [one]}}")
    assert source.certain() is None
    assert "b/one" in source.now().regions
    files.fleet.write_text("{}")
    certain = source.certain()
    assert certain
    assert list(certain.regions) == ["a/one"]
