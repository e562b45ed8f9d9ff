"""A ledger that went back in time learns from the clouds, and nothing that lives is deleted."""

from typing import Any

import pytest

from openmultistack.models import Status

House = Any  # conftest's own; test modules do not import one another
A, B, C = "alpha/One", "alpha/Two", "beta/One"
NO_HOST = "No valid host was found. "


@pytest.mark.parametrize("first", [A, B])
def test_what_moved_since_is_kept_where_it_lives(house: House, first: str) -> None:
    made = house.one(regions=[A, B], strategy="priority")
    past = house.past()
    house.clouds[A].build_fault = NO_HOST
    house.settle()
    house.sweep(A)
    house.come_to_rest()
    server = house.server(house.get(made))
    past.come_back()
    for region in (first, A, B, C) * 2:
        house.sweep(region)
    house.come_to_rest()
    kept = house.get(made)
    assert (kept.status, kept.region, kept.attempt) == (Status.ACTIVE, B, 2)
    assert house.server(kept).id == kept.server_id == server.id
    house.assert_agreement()
