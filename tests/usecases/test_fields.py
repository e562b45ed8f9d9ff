"""Every field of a command, and of who an instance is, on each of the ways that an instance takes.

A new field is named in ORDER (and in TYPED, if people can type it), with a value that is not the
usual one; what forgets it on one of these ways is told of here.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openmultistack.cli import show
from openmultistack.cli.create import Order
from openmultistack.clouds import ServerOrder
from openmultistack.clouds.marks import evidence_of, metadata_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import RegionFull
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Instance
from openmultistack.ledger.records import SAID_ONCE
from openmultistack.provision.planning import wanted_again
from openmultistack.usecases.read import list_instances, owned
from tests.support.house import House

A, B = "alpha/One", "alpha/Two"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
ORDER = {
    "image": "debian",
    "size": "small",
    "count": 1,
    "ttl": 5000,
    "name": "ci",
    "labels": {"job": "7", "os": "linux"},
    "note": "for Zoë: “do not touch” ☺",
    "ssh_public_key": KEY,
    "user_data": "#!/bin/sh\n",
    "regions": (A, B),
    "strategy": "priority",
    "on_full": "queue",
    "partial": True,
}
# As it is typed: the options of `oms create`, in which every field can be said.
TYPED: dict[str, Any] = {
    "image": "debian",
    "size": "small",
    "count": 2,
    "ttl": "2h",
    "name": "ci",
    "label": ["job=7"],
    "note": "mine",
    "region": [A],
    "strategy": "priority",
    "ssh_key": "key.pub",
    "user_data": "user-data",
    "partial": True,
    "on_full": "queue",
}
USUAL = CreateInstances(image="debian", size="small")
# Of an identity what the API shows under another name, and what it does not show.
TIMES = {"created_at_ms": "created_at", "expires_at_ms": "expires_at"}
HIDDEN = {"has_keypair", "idempotency"}

Seen = list[ServerOrder]


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """Return two regions with one place in each."""
    return make_house({A: 1, B: 1})


def ordered(house: House) -> Instance:
    """Have the order carried out, as far as it goes by itself."""
    made: Instance
    (made,) = house.create(owner="ada", key="a key", **ORDER)
    return made


def at_first(house: House) -> Instance:
    """Make it at once."""
    return ordered(house)


def elsewhere_at_once(house: House) -> Instance:
    """Make it where there is room, after a region that turns out to be full."""
    house.clouds[A].fails(RegionFull("it is full"), "create")
    made = ordered(house)
    assert (made.region, made.attempt) == (B, 2)
    return made


def elsewhere_by_a_sweep(house: House) -> Instance:
    """Make it elsewhere, after it failed to build."""
    made = ordered(house)
    house.clouds[A].build_fault = "No valid host was found. "
    house.settle()
    assert house.sweep(A)["retried"] == 1
    return made


def out_of_the_queue(house: House) -> Instance:
    """Make it when room comes free."""
    (first, _) = house.create(2, owner="bob")
    made = ordered(house)
    assert made.status == "QUEUED"
    house.destroy(first)
    house.come_to_rest()
    return made


def lose_ledger(house: House) -> None:
    """Have it made again by two sweeps, of what a real cloud keeps of marks: their metadata."""
    house.redis.flushdb()
    for cloud in house.clouds.values():
        signing = Signing(cloud.keyring, house.name, cloud.is_at.id)
        for it in list(cloud.servers.values()):
            found = evidence_of(metadata_of(it.marks, signing), "", signing)
            cloud.servers[it.id] = it._replace(marks=found.marks, claim=found.claim)
    house.sweep()
    house.sweep()


def adopted(house: House) -> Instance:
    """Lose the ledger, and let two sweeps find it again."""
    made = ordered(house)
    house.settle()
    lose_ledger(house)
    return made


def adopted_elsewhere(house: House) -> Instance:
    """Lose the ledger after it was tried elsewhere."""
    made = elsewhere_by_a_sweep(house)
    house.come_to_rest()
    lose_ledger(house)
    return made


def test_every_field_of_a_command_is_ordered_here_as_it_is_not_usual() -> None:
    assert ORDER.keys() == CreateInstances.model_fields.keys()
    command = CreateInstances.model_validate(ORDER)
    said = {name for name in ORDER if getattr(command, name) != getattr(USUAL, name)}
    assert ORDER.keys() - said == {"image", "size", "count"}  # these have no usual value, and one


@pytest.mark.parametrize(
    "way",
    [at_first, elsewhere_at_once, elsewhere_by_a_sweep, out_of_the_queue, adopted,
     adopted_elsewhere],
)  # fmt: skip
def test_no_field_is_lost_on_the_way(
    house: House, way: Callable[[House], Instance], capsys: pytest.CaptureFixture[str]
) -> None:
    sent: Seen = []
    for cloud in house.clouds.values():
        cloud.meanwhile = sent.append
    answered = way(house)
    kept = house.get(answered)
    of_it = [it for it in sent if it.marks.instance_id == kept.id]
    its = kept.identity
    lost = [it for it in its._fields if getattr(its, it) == getattr(USUAL.identity(""), it)]
    assert lost == []
    waited = its.expires_at_ms - its.created_at_ms - ORDER["ttl"] * 1000
    assert waited >= 0 if way is out_of_the_queue else waited == 0
    assert answered.identity == its._replace(expires_at_ms=answered.identity.expires_at_ms)
    assert of_it[-1].marks.identity == house.server(kept).marks.identity == its
    for it in of_it:
        assert it.marks.identity._replace(expires_at_ms=0) == its._replace(expires_at_ms=0)
        assert (it.ssh_public_key, it.user_data) == (KEY, ORDER["user_data"])
    _check_shown(house, kept, capsys)


def _check_shown(house: House, kept: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    """Look for each field in what show and list answer, and in what `oms` writes of that."""
    (shown,) = owned(house.ledger, "ada", [kept.id])
    page = list_instances(house.ledger, "ada", labels={})
    (listed,) = [it for it in page.instances if it.id == kept.id]
    document = shown.document()
    assert listed.document() == document
    for field in set(Identity._fields) - HIDDEN - TIMES.keys():
        assert document[field] == getattr(kept.identity, field)
    assert document.keys() >= set(TIMES.values())
    texts = {it for it in Identity._fields if isinstance(document.get(it), str)}
    show.instance(document, [])
    told = capsys.readouterr().out
    assert [it for it in texts if str(document[it]) not in told] == []
    show.instances([document])
    told += (line := capsys.readouterr().out)
    # Who lists asks for their own.
    assert [it for it in texts - {"owner"} if str(document[it]) not in line] == []
    assert told.count("job=7 os=linux") == 2


def test_what_is_tried_again_is_the_same_order(house: House) -> None:
    made = ordered(house)
    again = wanted_again(house.ledger, house.fleet, house.name, house.get(made), {})
    assert again
    assert again.identity_of(made.id) == again.identity == made.identity
    rest = ORDER.keys() - SAID_ONCE - set(Identity._fields)
    assert {it: getattr(again.command, it) for it in rest} == {it: ORDER[it] for it in rest}


def test_every_field_of_a_command_can_be_typed(tmp_path: Path) -> None:
    assert TYPED.keys() == {it.name for it in dataclasses.fields(Order)}
    texts = {"ssh_key": KEY, "user_data": "#!/bin/sh\n"}
    for option, text in texts.items():
        (tmp_path / TYPED[option]).write_text(text)
    files = {option: tmp_path / TYPED[option] for option in texts}
    body = Order(**TYPED | files).document()
    assert body.keys() == CreateInstances.model_fields.keys()
    CreateInstances.model_validate(body)
