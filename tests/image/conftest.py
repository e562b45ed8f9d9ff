"""The image, built once for a run on a base of Debian's packages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.images import Builder, Image, install_programs


@pytest.fixture(scope="session")
def image(run_home: Path) -> Iterator[Image]:
    """Return the image; only what its base is made of stays at the end of the run."""
    install_programs()
    home = run_home / "image"
    home.mkdir(parents=True, exist_ok=True)
    builder = Builder(home)
    try:
        yield builder.build()
    finally:
        builder.close()
