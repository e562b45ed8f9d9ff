"""Marks go into Nova's metadata and come out again as they were."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from openmultistack.clouds import Marks
from openmultistack.clouds.marks import (
    LAST_MS,
    keypair_attempt,
    keypair_name,
    marks_of,
    metadata_of,
    tag_of,
)
from openmultistack.commands import LABELS_MAX

KEY = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
VALUE = st.from_regex(r"[A-Za-z0-9._:/@+ -]{0,63}", fullmatch=True)
MS = st.integers(min_value=0, max_value=LAST_MS)
MARKS = st.builds(
    Marks,
    fleet=KEY,
    instance_id=KEY,
    attempt=st.integers(min_value=1, max_value=99),
    owner=st.text(min_size=1, max_size=200),
    name=KEY,
    labels=st.dictionaries(KEY, VALUE, max_size=LABELS_MAX),
    created_at_ms=MS,
    expires_at_ms=MS,
    keypair=st.none() | KEY,
    idempotency=st.just("") | st.from_regex(r"[0-9a-f]{32}:[0-9a-f]{32}:[1-9]\d?", fullmatch=True),
)
ODD_NUMBERS = [
    "soon", "", "-1", "1e20", "1.0", "nan", "inf", "9" * 400, "٣", " 3", "3\n", "0x3", "1_0",
]  # fmt: skip
# A ULID's alphabet, as our ids have it.
ID = st.from_regex(r"i-[0-9A-HJKMNP-TV-Z]{26}", fullmatch=True)
ATTEMPT = st.integers(min_value=1, max_value=10_000)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine is shared
@given(MARKS)
def test_marks_come_back_as_they_were_and_fit_into_nova(marks: Marks) -> None:
    metadata = metadata_of(marks)
    assert marks_of(metadata, marks.fleet) == marks
    assert len(metadata) <= 128
    assert all(len(key) <= 255 and len(value) <= 255 for key, value in metadata.items())
    assert marks_of(metadata, marks.fleet + "x") is None


ONE = Marks(
    fleet="f",
    instance_id="i-1",
    attempt=1,
    owner="alice",
    name="ci",
    labels={},
    created_at_ms=1,
    expires_at_ms=2,
)


@pytest.mark.parametrize(
    "key",
    [
        "oms_fleet",
        "oms_instance",
        "oms_attempt",
        "oms_owner",
        "oms_name",
        "oms_created_at_ms",
        "oms_expires_at_ms",
    ],
)
def test_marks_that_are_not_whole_are_none(key: str) -> None:
    metadata = metadata_of(ONE)
    del metadata[key]
    assert marks_of(metadata, "f") is None


@pytest.mark.parametrize("key", ["oms_attempt", "oms_created_at_ms", "oms_expires_at_ms"])
@pytest.mark.parametrize(
    "text",
    ["soon", "", "-1", "1e20", "1.0", "nan", "inf", "9" * 400, "٣", " 3", "3\n", "0x3", "1_0"],
)
def test_marks_with_a_number_that_is_none_are_none(key: str, text: str) -> None:
    assert marks_of(metadata_of(ONE) | {key: text}, "f") is None


@pytest.mark.parametrize("text", ["", "..", "../os-keypairs/x", "i-1/2", "i 1", "i-1\n", "i" * 65])
def test_marks_with_an_id_that_is_none_are_none(text: str) -> None:
    assert marks_of(metadata_of(ONE) | {"oms_instance": text}, "f") is None


def test_what_others_write_beside_our_marks_does_not_matter() -> None:
    assert marks_of(metadata_of(ONE) | {"cost-centre": "7"}, "f") == ONE
    assert marks_of({}, "f") is None


def test_a_tag_is_within_novas_sixty_characters() -> None:
    assert tag_of("default") == "oms-default"
    assert len(tag_of("f" * 48)) <= 60


def test_marks_of_a_server_from_before_keys_were_written_are_whole() -> None:
    metadata = metadata_of(ONE)
    del metadata["oms_idempotency"], metadata["oms_keypair"]
    assert marks_of(metadata, "f") == ONE


# ---------------------------------------------------------------- keypairs


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(KEY, ID, ATTEMPT)
def test_a_keypairs_name_tells_whose_attempt_it_is(
    fleet: str, instance_id: str, attempt: int
) -> None:
    name = keypair_name(fleet, instance_id, attempt)
    assert len(name) <= 255
    assert keypair_attempt(name, fleet) == (instance_id, attempt)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(KEY, KEY, ID, ATTEMPT)
def test_no_other_fleets_keypair_is_ours(
    fleet: str, other: str, instance_id: str, attempt: int
) -> None:
    assume(fleet != other)
    assert keypair_attempt(keypair_name(other, instance_id, attempt), fleet) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(KEY, KEY, ID, ATTEMPT)
def test_a_fleet_whose_name_begins_with_ours_is_another(
    fleet: str, more: str, instance_id: str, attempt: int
) -> None:
    for other in (f"{fleet}-{more}", f"{more}-{fleet}"):
        assert keypair_attempt(keypair_name(other, instance_id, attempt), fleet) is None


@pytest.mark.parametrize(
    "name",
    [
        "laptop",
        "",
        "oms-f",
        "oms-f-i-1-1",
        "oms-f-" + "i-" + "0" * 26,
        "oms-f-" + "i-" + "0" * 26 + "-",
        "oms-f-" + "i-" + "0" * 26 + "-x",
        "my-oms-f-" + "i-" + "0" * 26 + "-1",
        "oms-f-" + "i-" + "0" * 26 + "-1 (copy)",
        "oms-f-" + "i-" + "0" * 26 + "-1\n",
        "oms-f-" + "i-" + "U" * 26 + "-1",
        "oms-" + "i-" + "0" * 26 + "-1",
    ],
)
def test_what_a_person_named_is_no_keypair_of_ours(name: str) -> None:
    assert keypair_attempt(name, "f") is None


def test_the_dots_of_a_fleets_name_stand_for_themselves() -> None:
    name = keypair_name("a.b", "i-" + "0" * 26, 1)
    assert keypair_attempt(name, "a.b") is not None
    assert keypair_attempt(name.replace("a.b", "a-b"), "a.b") is None
