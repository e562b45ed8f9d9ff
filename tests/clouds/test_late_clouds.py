"""Clouds that are opened when the first one is needed, and anew when their file changes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from openmultistack.clouds import Clouds, LateClouds
from openmultistack.clouds import late as late_module
from openmultistack.clouds.fake import FakeCloud, FakeClouds
from openmultistack.domain.cloud_errors import NotConfigured
from openmultistack.domain.models import Catalogue, Resources
from openmultistack.fleet.files import CloudsFile, Regions

NOTHING = Catalogue(flavors=(), images=(), networks=())
Late = tuple[LateClouds, list["Closed"]]


class Closed(FakeClouds):
    """Clouds that tell how often they were closed."""

    closed = 0

    def close(self) -> None:
        """Count it."""
        self.closed += 1


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Return what writes a clouds.yaml of a provider's regions."""

    def write(*regions: str) -> Path:
        path, draft = tmp_path / "clouds.yaml", tmp_path / "draft"
        draft.write_text(f"clouds: {{a: {{regions: [{', '.join(regions)}]}}}}")
        return draft.replace(path)

    return write


@pytest.fixture
def late(write: Callable[..., Path], let_pass: Callable[..., None]) -> Late:
    """Return clouds of two regions, and what was opened of them."""
    let_pass()  # time stands still from here on
    opened: list[Closed] = []

    def open_(regions: Regions) -> Clouds:
        opened.append(Closed({name: FakeCloud(NOTHING, Resources()) for name in regions}))
        return opened[-1]

    return LateClouds(CloudsFile(write("one", "two")), open_), opened


def test_they_are_opened_once_and_not_before_a_region_is_asked_for(late: Late) -> None:
    clouds, opened = late
    assert (clouds.names(), opened) == (["a/one", "a/two"], [])
    assert clouds.region("a/two") is opened[0].region("a/two")
    assert clouds.region("a/one") is opened[0].region("a/one")
    assert len(opened) == 1


def test_a_region_that_comes_is_there_at_once_and_one_that_goes_stays_for_what_was_planned(
    late: Late, write: Callable[..., Path], let_pass: Callable[..., None]
) -> None:
    clouds, opened = late
    before = clouds.region("a/one")
    write("two", "three")
    assert clouds.region("a/three") is opened[1].region("a/three")
    assert clouds.names() == ["a/two", "a/three"]
    assert clouds.region("a/one") is before, "what was planned goes to its end"
    assert clouds.region("a/two") is opened[1].region("a/two")
    let_pass(late_module.LEFT_FOR_S)
    with pytest.raises(NotConfigured):
        clouds.region("a/one")


def test_connections_are_given_up_when_nobody_may_need_them_any_more(
    late: Late, write: Callable[..., Path], let_pass: Callable[..., None]
) -> None:
    clouds, opened = late
    clouds.region("a/two")
    write("two", "three")
    clouds.region("a/three")
    let_pass()
    assert [it.closed for it in opened] == [0, 0], "what was planned may need them"
    let_pass(late_module.LEFT_FOR_S)
    clouds.region("a/three")
    assert [it.closed for it in opened] == [1, 0]
    for name in ("four", "five"):
        write("two", name)
        clouds.region(f"a/{name}")
    assert [it.closed for it in opened] == [1, 1, 0, 0], "one generation is kept, and no more"
    clouds.close()
    assert [it.closed for it in opened] == [1, 1, 1, 1]


def test_a_file_is_not_looked_at_every_time(
    late: Late, write: Callable[..., Path], let_pass: Callable[..., None]
) -> None:
    clouds, _ = late
    write("two")
    assert clouds.names() == ["a/one", "a/two"]
    let_pass()
    assert clouds.names() == ["a/two"]


def test_other_logins_open_anew_and_a_bad_file_changes_nothing(
    late: Late, tmp_path: Path, let_pass: Callable[..., None]
) -> None:
    clouds, opened = late
    clouds.region("a/one")
    (tmp_path / "secure.yaml").write_text("clouds: {a: {auth: {password: new}}}")
    let_pass()
    clouds.region("a/one")
    assert len(opened) == 2
    (tmp_path / "secure.yaml").write_text("clouds: {")
    let_pass()
    assert clouds.region("a/one") is opened[1].region("a/one"), "nor does a bad secure.yaml"
    (tmp_path / "secure.yaml").unlink()
    let_pass()
    clouds.region("a/one")
    assert len(opened) == 3
    for text in ("clouds: {", "clouds: {}", None):
        path = tmp_path / "clouds.yaml"
        path.write_text(text) if text else path.unlink()
        let_pass()
        assert clouds.region("a/one") is opened[2].region("a/one")
    assert len(opened) == 3
