"""What each error says to the client."""

from collections.abc import Iterator

import pytest

from openmultistack.domain import cloud_errors, errors
from openmultistack.domain.cloud_errors import CloudError, RateLimited
from openmultistack.domain.errors import (
    CapacityExhausted,
    ConfigurationError,
    IdempotencyConflict,
    Invalid,
    LedgerUnavailable,
    NoRegionReady,
    NoRegionWorked,
    NotFound,
    OmsError,
    OwnerQuotaExceeded,
    Problem,
    QueueFull,
    Retriable,
)


def subclasses(parent: type[OmsError]) -> Iterator[type[OmsError]]:
    """Return every class below one."""
    for child in parent.__subclasses__():
        yield child
        yield from subclasses(child)


def test_each_problem_has_a_status_of_its_own_kind_and_a_slug_of_its_own() -> None:
    leaves = [it for it in subclasses(Problem) if it is not errors.RegionsSaid]
    slugs = [it.slug for it in leaves if issubclass(it, Problem)]
    assert len(set(slugs)) == len(leaves)
    assert "internal" not in slugs
    assert all(400 <= it.status < 600 for it in leaves if issubclass(it, Problem))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Malformed, 400),
        (errors.Unauthenticated, 401),
        (errors.InsufficientScope, 403),
        (errors.NotFound, 404),
        (errors.MethodNotAllowed, 405),
        (errors.IdempotencyConflict, 409),
        (errors.InstancesEnded, 410),
        (errors.TooLarge, 413),
        (errors.Invalid, 422),
        (errors.OwnerQuotaExceeded, 429),
        (errors.NoRegionWorked, 502),
        (errors.CapacityExhausted, 503),
        (errors.NoRegionReady, 503),
        (errors.QueueFull, 503),
        (errors.LedgerUnavailable, 503),
    ],
)
def test_the_status_is_the_documented_one(error: type[Problem], status: int) -> None:
    assert error.status == status


def test_what_may_succeed_later_says_when() -> None:
    for error in (
        CapacityExhausted,
        NoRegionReady,
        LedgerUnavailable,
        OwnerQuotaExceeded,
        QueueFull,
    ):
        assert issubclass(error, Retriable)
        assert error.retry_after_s > 0
    assert not issubclass(NoRegionWorked, Retriable)
    assert not issubclass(IdempotencyConflict, Retriable)  # the same again is refused again


def test_a_cloud_error_is_never_an_answer_to_the_client_as_it_is() -> None:
    assert len(list(subclasses(CloudError))) >= 6
    assert not any(issubclass(it, Problem) for it in subclasses(CloudError))


def test_every_class_of_the_tree_is_drawn_and_every_drawn_one_exists() -> None:
    drawing = f"{errors.__doc__}\n{cloud_errors.__doc__}"
    drawn = {
        line.replace("│", " ").strip("├└─ ").split()[0]
        for line in drawing.splitlines()
        if "─" in line
    }
    hidden = {"RegionsSaid"}  # shape shared by three, no error of its own
    assert drawn | hidden == {it.__name__ for it in subclasses(OmsError)}


def test_invalid_tells_each_fault_with_its_pointer() -> None:
    error = Invalid([("/count", "too many"), ("/ttl", "too long")])
    assert str(error) == "/count: too many; /ttl: too long"
    assert error.members() == {
        "errors": [
            {"pointer": "/count", "detail": "too many"},
            {"pointer": "/ttl", "detail": "too long"},
        ]
    }


def test_invalid_tells_near_names_and_regions_only_where_there_are_some() -> None:
    error = Invalid([("/image", "unknown")], nearest=["debian-12"], regions={"a/1": "has none"})
    assert error.members()["nearest"] == ["debian-12"]
    assert error.members()["regions"] == {"a/1": "has none"}


@pytest.mark.parametrize("error", [NoRegionWorked, CapacityExhausted, NoRegionReady])
def test_a_refusal_of_regions_tells_what_each_said(error: type[errors.RegionsSaid]) -> None:
    said = error("nothing free", {"a/1": "full", "b/1": "down"})
    assert str(said) == "nothing free"
    assert said.members() == {"regions": {"a/1": "full", "b/1": "down"}}


def test_a_refusal_for_the_owners_quota_tells_it_and_what_is_used() -> None:
    told = {"quota": {"instances": 2}, "used": {"instances": 2}}
    never = OwnerQuotaExceeded("too much", **told, retry_after_s=None)
    assert never.members() == told
    assert never.retry_after_s is None
    assert OwnerQuotaExceeded("too fast", **told, retry_after_s=41).retry_after_s == 41


def test_a_rate_limit_tells_how_long_to_pause() -> None:
    assert RateLimited("429", retry_after_s=7).retry_after_s == 7


def test_a_plain_problem_has_nothing_more_to_say() -> None:
    assert NotFound("no such instance").members() == {}


def test_a_configuration_error_names_file_key_and_expectation() -> None:
    assert str(ConfigurationError("f.yaml", "a.b", "expected x")) == "f.yaml: a.b: expected x"
    assert str(ConfigurationError("f.yaml", "", "expected x")) == "f.yaml: expected x"


def test_a_fault_of_the_whole_begins_with_no_colon() -> None:
    assert str(errors.Invalid([("", "is wrong"), ("/a", "too")])) == "is wrong; /a: too"
