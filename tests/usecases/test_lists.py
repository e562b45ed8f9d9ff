"""A region whose list does not end is down, with a reason, after a few requests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from tests.support.stub import Answer, Stub

STUB = "stub/RegionOne"
A = "alpha/One"
DETAIL, KEYPAIRS = "GET /v2.1/servers/detail", "GET /v2.1/os-keypairs"


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Return a cloud over real sockets, whose answers a test chooses."""
    running = Stub()
    yield running
    running.close()


@pytest.mark.parametrize(("asked", "field"), [(DETAIL, "servers"), (KEYPAIRS, "keypairs")])
@pytest.mark.parametrize(
    ("pages", "requests"),
    [([["a"]], 2), ([["a"], ["b"]], 3), ([["a"], []], 2)],
    ids=["one page", "two pages", "a page without items"],
)
def test_a_list_that_comes_round_takes_its_region_down(
    make_house: Any,
    stub: Stub,
    tmp_path: Path,
    *,
    asked: str,
    field: str,
    pages: Any,
    requests: int,
) -> None:
    house = make_house({A: 1})
    file = tmp_path / "clouds.yaml"
    file.write_text(stub.clouds_yaml())
    clouds = OpenStackClouds(
        file, {STUB: ("stub", "RegionOne")}, fleet=house.name, keys=lambda: KEYRING
    )
    whole = house.changed({**house.clouds, STUB: clouds.region(STUB)})
    made = [Answer(200, json.dumps(page(field, *ids))) for ids in pages]
    stub.answers[asked] = lambda: made[(stub.requests.count(asked) - 1) % len(made)]
    whole.reaping.sweep(STUB)
    whole.reaping.sweep(A)
    state = whole.state(STUB)
    reason = f"its list of {field} does not end: a page brought nothing new"
    assert (state.state, state.last_error) == ("down", reason)
    assert whole.state(A).state == "up"
    assert stub.requests.count(asked) == requests


def page(field: str, *ids: str) -> dict[str, Any]:
    """Return a page that names a next one."""
    items: list[Any] = [{"id": it, "name": it, "status": "ACTIVE"} for it in ids]
    if field == "keypairs":
        items = [{"keypair": it} for it in items]
    link = {"rel": "next", "href": "http://elsewhere/?marker=x"}
    return {field: items, f"{field}_links": [link]}
