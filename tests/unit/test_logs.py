"""Which request is served is known in every thread that serves it, and to the clouds."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from openmultistack.logs import ASKING, HEARD_MAX, Asking, in_context

UUID = "0b2d4a3c-1111-4222-8333-123456789abc"
FORM = r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def test_an_id_that_is_a_uuid_is_told_to_clouds_as_it_is() -> None:
    assert Asking(UUID).global_id == f"req-{UUID}"


@pytest.mark.parametrize("given", ["job-4711", "01JD", UUID.upper()])
def test_any_other_id_becomes_one_that_services_take_always_the_same(given: str) -> None:
    told = Asking(given).global_id
    assert re.fullmatch(FORM, told)
    assert told == Asking(given).global_id != Asking(given + "x").global_id


def test_bounded_what_clouds_call_our_calls_is_kept_for_so_many_and_only_if_it_is_an_id() -> None:
    asking = Asking(UUID)
    for text in ["", "a b", "x" * 65, *["req-1"] * (HEARD_MAX + 5)]:
        asking.hear(text)
    assert asking.heard == ["req-1"] * HEARD_MAX


def test_other_threads_know_the_request() -> None:
    asking = Asking(UUID)
    token = ASKING.set(asking)
    try:
        acts = in_context([ASKING.get] * 3)
    finally:
        ASKING.reset(token)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda act: act(), acts)) == [asking] * 3
    assert ASKING.get() is None
