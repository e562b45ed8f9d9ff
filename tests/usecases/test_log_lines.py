"""What the log has of attempts that failed and of servers that were deleted, wherever that was."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from openmultistack.domain.cloud_errors import (
    AccountBroken,
    CloudError,
    InDoubt,
    RegionFull,
    Unreachable,
)
from openmultistack.domain.errors import NoRegionWorked
from openmultistack.logs import ASKING, Asking
from tests.support.house import House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
REQUEST = "0b2d4a3c-1111-4222-8333-123456789abc"
Lines = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Return what gives the new lines about an event; all of them are of one request."""
    structlog.reset_defaults()
    token = ASKING.set(Asking(REQUEST))

    def written(event: str) -> list[dict[str, Any]]:
        found = [json.loads(it) for it in capsys.readouterr().out.splitlines()]
        assert {it["request_id"] for it in found} <= {REQUEST}
        return [it for it in found if it["event"] == event]

    yield written
    ASKING.reset(token)
    structlog.reset_defaults()


def of(line: dict[str, Any], *names: str) -> tuple[Any, ...]:
    """Return some of a line's fields."""
    return tuple(line.get(name) for name in names)


def error(kind: type[CloudError], text: str) -> CloudError:
    """Return an error whose cloud told what it calls the request."""
    failed = kind(text)
    failed.cloud_request_id = f"req-of-{text}"
    return failed


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(RegionFull, "full"), (AccountBroken, "account broken"), (Unreachable, "unreachable"),
     (InDoubt, "in doubt")],
)  # fmt: skip
def test_each_attempt_that_fails_has_a_line(
    house: House, lines: Lines, kind: type[CloudError], outcome: str
) -> None:
    for region in (A, B, C):
        house.clouds[region].fails(error(kind, f"no-{region[-3:]}"), "create")
    with pytest.raises(Exception, match="every region") as refused:
        house.one()
    told = lines("attempt")
    assert sorted(it["region"] for it in told) == [A, B, C]
    assert [it["attempt"] for it in told] == [1, 2, 3]
    for it in told:
        own = f"no-{it['region'][-3:]}"
        assert of(it, "outcome", "said", "cloud_request_id") == (outcome, own, f"req-of-{own}")
        assert refused.value.cloud_request_ids[it["region"]] == f"req-of-{own}"
    (named,) = refused.value.told["instances"]
    assert of(named, "id", "attempt") == (told[0]["instance"], 3)


def test_what_was_asked_of_a_region_once_has_one_line(house: House, lines: Lines) -> None:
    for region in (A, B, C):
        house.clouds[region].fails(error(AccountBroken, "no"), "create")
    with pytest.raises(NoRegionWorked) as refused:
        house.create(6)
    assert len(lines("attempt")) == 3
    assert len({it["id"] for it in refused.value.told["instances"]}) == 6


def test_a_lost_answer_whose_server_was_found_has_a_line_that_names_it(
    house: House, lines: Lines
) -> None:
    for region in (A, B, C):
        house.clouds[region].answers = "lost"
    made = house.one()
    (told,) = lines("attempt")
    assert of(told, "outcome", "server", "instance") == ("in doubt", made.server_id, made.id)


def test_a_destroy_of_several_has_a_line_for_each_under_the_requests_id(
    house: House, lines: Lines
) -> None:
    made = house.create(5)
    house.destroying.destroy_ids("alice", [it.id for it in made])
    told = lines("deleted")
    seen = {of(it, "instance", "region", "attempt", "server", "cloud_request_id") for it in told}
    assert seen == {
        (it.id, it.region, 1, it.server_id, f"req-delete-{it.server_id}") for it in made
    }
    assert {it["why"] for it in told} == {"its owner destroyed it"}


def test_a_delete_that_fails_has_a_line_with_what_the_cloud_said(
    house: House, lines: Lines
) -> None:
    made = house.one()
    house.clouds[made.region].fails(error(InDoubt, "locked"), "delete")
    house.destroy(made)
    (told,) = lines("not deleted")
    assert of(told, "instance", "said", "cloud_request_id") == (made.id, "locked", "req-of-locked")
    house.sweep(made.region)
    (told,) = lines("not deleted")
    assert of(told, "why", "said") == ("its owner destroyed it", "locked")


def test_a_server_made_for_an_instance_destroyed_meanwhile_has_a_line(
    make_house: Callable[..., House], lines: Lines
) -> None:
    house = make_house({A: 4})

    def destroyed(order: Any) -> None:
        house.destroy(house.get(order.marks.instance_id))

    house.clouds[A].meanwhile = destroyed
    made = house.one()
    (told,) = lines("deleted")
    assert of(told, "instance", "region", "attempt") == (made.id, A, 1)
    assert of(told, "server", "cloud_request_id") == (
        made.server_id,
        f"req-delete-{made.server_id}",
    )
    assert "wanted no more" in told["why"]


def test_a_command_that_is_given_up_tells_why_its_servers_go(house: House, lines: Lines) -> None:
    house.clouds[B].fails(InDoubt("no"), "create")
    house.clouds[C].fails(InDoubt("no"), "create")
    with pytest.raises(NoRegionWorked):
        house.create(12)
    told = lines("deleted")
    assert told
    assert {it["why"] for it in told} == {"the command as a whole could not be served"}


@pytest.mark.parametrize("how", ["destroyed", "expired"])
def test_the_reaper_tells_why_it_deletes(house: House, lines: Lines, how: str) -> None:
    made = house.active(ttl=60)
    house.clouds[made.region].fails(InDoubt("not now"), "delete")
    if how == "destroyed":
        house.destroy(made)
    else:
        house.destroying.mark(made, why="its time is up", ended="expired")
    house.clouds[made.region].fails(None)
    lines("")
    house.sweep(made.region)
    (told,) = lines("deleted")
    why = {"destroyed": "its owner destroyed it", "expired": "its time is up"}[how]
    assert of(told, "instance", "server", "why") == (made.id, made.server_id, why)
    assert told["cloud_request_id"] == f"req-delete-{made.server_id}"


def test_a_keypair_that_is_left_over_is_told_when_it_goes(house: House, lines: Lines) -> None:
    name = house.keypair("i-01JD0000000000000000000001")
    house.clouds[A].keypairs.add(name)
    house.sweep(A)
    (told,) = lines("deleted")
    assert of(told, "keypair", "why") == (name, "its server is gone")
