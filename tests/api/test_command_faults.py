"""What is wrong in a command is told in our words: where, what was found, what was expected."""

import json
from typing import Any

import pytest

from openmultistack.api.bodies import parse
from openmultistack.domain.commands import CreateInstances, RenewInstance
from openmultistack.domain.errors import FAULTS_SHOWN, Invalid, Malformed

GOOD = {"image": "debian-12", "size": "small"}
SIZE = "expected the name of a size, or a mapping with vcpus, ram_mb, disk_gb"


@pytest.mark.parametrize(
    ("more", "pointer", "said"),
    [
        ({"image": ""}, "/image", "is an empty text, expected at least 1 character"),
        ({"image": 1}, "/image", "is 1, expected a text"),
        ({"image": "x" * 256}, "/image", "is a text, expected at most 255 characters"),
        ({"size": []}, "/size", f"is a list, {SIZE}"),
        ({"size": None}, "/size", f"is nothing, {SIZE}"),
        (
            {"size": {}},
            "/size",
            "is an empty mapping, expected one of vcpus, ram_mb, disk_gb in it",
        ),
        ({"size": {"vcpus": 0}}, "/size/vcpus", "is 0, expected at least 1"),
        ({"size": {"ram_mb": 1, "vcpus": 5000}}, "/size/vcpus", "is 5000, expected at most 4096"),
        ({"size": {"vcpus": "2"}}, "/size/vcpus", "is a text, expected a whole number"),
        ({"size": {"ram": 2}}, "/size/ram", "is no key here; did you mean ram_mb?"),
        ({"size": {"zz": 2}}, "/size/zz", "is no key here; expected one of vcpus, ram_mb, disk_gb"),
        ({"regions": []}, "/regions", "is a list, expected at least 1 item"),
        ({"regions": ["x"] * 65}, "/regions", "is a list, expected at most 64 items"),
        ({"regions": "x"}, "/regions", "is a text, expected a list"),
        ({"regions": ["x", 1]}, "/regions/1", "is 1, expected a text"),
        ({"count": 0}, "/count", "is 0, expected at least 1"),
        ({"count": 1e99}, "/count", "is 1e+99, expected a whole number"),
        ({"count": 1.5}, "/count", "is 1.5, expected a whole number"),
        ({"count": True}, "/count", "is true, expected a whole number"),
        ({"count": "2"}, "/count", "is a text, expected a whole number"),
        ({"count": None}, "/count", "is nothing, expected a whole number"),
        ({"partial": "yes"}, "/partial", "is a text, expected true or false"),
        ({"on_full": "wait"}, "/on_full", "is a text, expected reject or queue"),
        ({"labels": []}, "/labels", "is a list, expected a mapping"),
        ({"labels": {"a": 1}}, "/labels/a", "is 1, expected a text"),
        ({"labels": {"a b": "c"}}, "/labels/a b", "is a key here, expected what ^[A-Za-z0-9]"),
        ({"name": "-x"}, "/name", "is a text, expected what ^[A-Za-z0-9]"),
        ({"sise": 1}, "/sise", "is no key here; did you mean size?"),
        ({"a/b~": 1}, "/a~1b~0", "is no key here; expected one of image, size, count"),
    ],
)
def test_one_fault_is_told_once_with_what_was_found_and_expected(
    more: dict[str, Any], pointer: str, said: str
) -> None:
    with pytest.raises(Invalid) as caught:
        parse(CreateInstances, json.dumps(GOOD | more).encode())
    ((at, detail),) = caught.value.faults
    assert at == pointer
    assert detail.startswith(said)


def test_all_that_is_missing_is_told() -> None:
    with pytest.raises(Invalid) as caught:
        parse(CreateInstances, b"{}")
    assert caught.value.faults == (("/image", "is missing"), ("/size", "is missing"))


def test_of_many_faults_the_first_are_told_and_the_keys_that_there_are_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse(CreateInstances, json.dumps(GOOD | {f"k{n}": n for n in range(900)}).encode())
    *told, rest = caught.value.faults
    assert len(told) == FAULTS_SHOWN
    assert rest == ("", f"and {900 - FAULTS_SHOWN} more")
    assert [it for it in told if "expected" in it[1]] == [told[0]]


@pytest.mark.parametrize(
    ("pointer", "more"),
    [
        ("/labels", {"labels": {f"-{n}": 1 for n in range(50_000)}}),
        ("/regions", {"regions": [[]] * 50_000}),
        ("", {f"k{n}": 1 for n in range(50_000 - len(GOOD))}),
    ],
)
def test_what_has_far_too_many_members_is_refused_before_each_is_looked_at(
    pointer: str, more: dict[str, Any]
) -> None:
    with pytest.raises(Invalid) as caught:
        parse(CreateInstances, json.dumps(GOOD | more).encode())
    assert caught.value.faults == ((pointer, "has 50000 members, expected at most 1000"),)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"ttl": 1, "ttl": 2}', "a member comes twice"),
        (b'{"ttl": NaN}', "NaN"),
        (b'{"ttl": ' + b"[" * 40 + b"]" * 40 + b"}", "nested too deep"),
        (b'{"ttl": 1', "not JSON"),
        (b"[]", "not a JSON object"),
    ],
)
def test_a_body_that_can_be_read_in_two_ways_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        parse(RenewInstance, body)
