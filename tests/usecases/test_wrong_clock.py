"""Clouds whose clock is off by more than marks allow: nothing is lost, and it is told.

Marks are signed moments before their server is made, which tells copies from it; where clocks
differ by more than an hour they prove nothing until they name the server.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.marks import evidence_of, metadata_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import InDoubt
from openmultistack.domain.models import Resources, Status
from tests.support.house import House

A, B = "alpha/One", "alpha/Two"
OFF_S = 2 * 3600


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Return what gives the new lines of the log about an event."""
    structlog.reset_defaults()

    def written(event: str) -> list[dict[str, Any]]:
        found = [json.loads(it) for it in capsys.readouterr().out.splitlines()]
        return [it for it in found if it["event"] == event]

    yield written
    structlog.reset_defaults()


def show_by_wrong_clock(house: House, region: str, server_id: str) -> None:
    """Have a cloud show a server as made two hours from now, as its clock has it."""
    cloud = house.clouds[region]
    server = cloud.servers[server_id]
    marks = server.marks or server.claim.marks
    made_at = datetime.now(UTC) + timedelta(seconds=OFF_S)
    signing = Signing(KEYRING, house.name, cloud.is_at.id)
    its = evidence_of(
        metadata_of(marks, signing), "", signing, server_id=server_id, made_at=made_at.isoformat()
    )
    assert its.marks is None
    cloud.servers[server_id] = server._replace(
        marks=None, claim=its.claim, named=marks.attempted, created_at=made_at.isoformat()
    )


def test_what_the_ledger_knows_by_its_id_is_signed_anew_and_the_log_tells_by_how_much(
    house: House, lines: Any
) -> None:
    made = house.active(regions=[A])
    show_by_wrong_clock(house, A, made.server_id)
    house.sweep(A)
    (line,) = lines("clock")
    assert (line["region"], line["server"]) == (A, made.server_id)
    assert abs(line["off_s"] - OFF_S) < 60
    assert (house.get(made).status, house.server(made).claim) == (Status.ACTIVE, None)
    assert house.state(A).foreign == Resources()
    house.sweep(A)
    assert not lines("clock")  # its marks name it by now
    house.destroy(made)
    house.come_to_rest()
    house.assert_idle()


def test_a_create_whose_answer_was_lost_is_told_and_nothing_is_deleted(
    house: House, lines: Any
) -> None:
    """Nobody can tell it from a copy; its instance is made elsewhere."""
    cloud = house.clouds[A]
    cloud.answers = "lost"
    cloud.fails(InDoubt("no answer"), "find")
    made = house.one(regions=[A, B], strategy="priority")
    cloud.fails(None)
    (server_id,) = cloud.servers
    show_by_wrong_clock(house, A, server_id)
    house.lapse()
    house.come_to_rest()
    assert house.get(made).region == B
    assert list(cloud.servers) == [server_id]
    assert house.ledger.strangers(A)[server_id].kind == "unverified"
    assert house.state(A).foreign.instances == 1
    told = [it for it in lines("stranger") if it["server"] == server_id]
    assert [it["what"] for it in told] == ["unverified"]
    assert abs(told[0]["off_s"] - OFF_S) < 60


def test_with_the_ledger_lost_an_operator_takes_them_back(house: House) -> None:
    made = house.active(regions=[A])
    show_by_wrong_clock(house, A, made.server_id)
    house.redis.flushdb()
    house.come_to_rest()
    assert house.state(A).foreign.instances == 1
    house.vouching.adopt([A])
    assert house.get(made).server_id == made.server_id
    assert house.state(A).foreign == Resources()
