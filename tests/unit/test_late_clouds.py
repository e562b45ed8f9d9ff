"""Clouds that are opened when the first one is needed."""

from openmultistack.clouds import LateClouds
from openmultistack.clouds.fake import FakeCloud, FakeClouds
from openmultistack.domain.models import Catalogue, Resources


def test_they_are_opened_once_and_not_before_a_region_is_asked_for():
    opened = []
    nothing = Catalogue(flavors=(), images=(), networks=())
    real = FakeClouds({name: FakeCloud(nothing, Resources()) for name in ("a/one", "a/two")})

    def open_() -> FakeClouds:
        opened.append(real)
        return real

    late = LateClouds(real.names(), open_)
    assert (late.names(), opened) == (["a/one", "a/two"], [])
    assert late.region("a/two") is real.region("a/two")
    assert late.region("a/one") is real.region("a/one")
    assert len(opened) == 1
