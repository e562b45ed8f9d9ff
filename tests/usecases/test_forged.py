"""What anybody with a server in a project can write: it takes over, adds, ends and counts nothing.

Metadata and names are written as Nova has them, and read as the adapter reads them.
"""

import itertools
import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ulid import ULID

from openmultistack.clouds import Attempted, Marks, Server
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.keyring import Keyring, MarksKey
from openmultistack.clouds.marks import evidence_of, metadata_of
from openmultistack.clouds.names import name_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import InDoubt
from openmultistack.domain.errors import Invalid, NotFound
from openmultistack.domain.models import Address, Instance, Resources, Status
from openmultistack.fleet.config import FleetFile
from openmultistack.usecases.read import list_instances
from tests.support.house import House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
NEED = Resources(instances=1, vcpus=2, ram_mb=2048)
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
THEIRS = MarksKey("theirs", bytes(range(32)))
NUMBERS = itertools.count(1)
FAR_MS = 4_000_000_000_000
ADDRESSES = (Address(address="192.0.2.9", version=4, network="net"),)
ODD_NUMBERS = [
    "1e20", "-1", "", "nan", "inf", "1.5", "٣", "9" * 400, " 1", "1_0", "0x1", "true", "1" * 16,
    "+1", "1e", "é", "\x00", "²", "253402300800000", "null",
]  # fmt: skip


def signing(house: House, region: str, *keys: MarksKey) -> Signing:
    """Return what marks of a region's servers are signed with."""
    return Signing(Keyring(keys) if keys else KEYRING, house.name, house.clouds[region].is_at.id)


def plant(
    house: House, region: str, metadata: Mapping[str, str], name: str = "x", **more: Any
) -> str:
    """Have somebody make a server in a region, with such metadata and such a name."""
    cloud, number = house.clouds[region], next(NUMBERS)
    signed = Signing(cloud.keyring, house.name, cloud.is_at.id)
    its = evidence_of(metadata, name, signed, made_at=more.get("created_at", ""))
    server = Server(
        id=f"planted-{number}", status=Status.ACTIVE, flavor="small", image="i", need=NEED,
        marks=its.marks, claim=its.claim, named=its.named, marks_off_ms=its.off_ms,
        created_at=f"9{number:011}",
    )  # fmt: skip
    cloud.servers[server.id] = server._replace(**more)
    return server.id


def rewrite(house: House, region: str, server_id: str, metadata: Mapping[str, str]) -> None:
    """Have somebody write over a server's metadata; its name stays."""
    cloud = house.clouds[region]
    its = evidence_of(metadata, "", Signing(cloud.keyring, house.name, cloud.is_at.id))
    cloud.servers[server_id] = cloud.servers[server_id]._replace(marks=its.marks, claim=its.claim)


def metadata(house: House, made: Instance, region: str = "", **more: Any) -> dict[str, str]:
    """Return the metadata that an instance's server has, or would have in another region."""
    marks = house.server(made).marks._replace(**more)
    return metadata_of(marks, signing(house, region or made.region))


def unsigned(house: House, instance_id: str, attempt: int = 1, **more: str) -> dict[str, str]:
    """Return metadata as it was before marks were signed."""
    return {
        "oms_fleet": house.name, "oms_instance": instance_id, "oms_attempt": str(attempt),
        "oms_owner": "alice", "oms_name": "oms", "oms_created_at_ms": "1",
        "oms_expires_at_ms": str(FAR_MS),
    } | more  # fmt: skip


def forged(house: House, region: str, marks: Marks) -> dict[str, str]:
    """Return metadata that somebody signs with a key of their own, under our key's id."""
    posing = MarksKey(KEYRING.signer.id, bytes(range(32)))
    return metadata_of(marks, signing(house, region, posing))


def strangers(house: House, region: str) -> dict[str, str]:
    """Return the kinds of a region's strangers by server."""
    return {it: told.kind for it, told in house.ledger.strangers(region).items()}


def listed(house: House) -> list[str]:
    """Return the ids that alice's list shows."""
    return [it.id for it in list_instances(house.ledger, "alice", labels={}).instances]


@pytest.fixture
def made(house: House) -> Instance:
    """Return an instance that lives."""
    made = house.active(regions=[A], ssh_public_key=SSH_KEY, key="k", labels={"job": "7"})
    assert house.state(A).foreign == Resources()
    return made  # type: ignore[no-any-return]


def assert_untouched(house: House, made: Instance) -> None:
    """The instance is its owner's, with its own server; nothing was added to them."""
    assert made.server_id in house.clouds[made.region].servers
    assert "delete" not in [it for cloud in house.clouds.values() for it in cloud.calls]
    assert house.get(made) == made
    assert listed(house) == [made.id]
    assert house.ledger.usage(["alice"])["alice"].instances == 1
    assert house.held() == {A: 1, B: 0, C: 0}


# ---------------------------------------------------------------- forged


WRITTEN: Mapping[str, Callable[..., Mapping[str, str]]] = {
    "unsigned": lambda house, _, marks: unsigned(house, marks.instance_id, marks.attempt),
    "forged": forged,
    "of another place": lambda house, _, marks: metadata_of(
        marks, signing(house, A)._replace(place="p-elsewhere")
    ),
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("region", [A, B])
@pytest.mark.parametrize("attempt", [1, 2, 9])
def test_marks_of_any_attempt_here_or_elsewhere_take_nothing_over(
    house: House, made: Instance, how: str, region: str, attempt: int
) -> None:
    marks = house.server(made).marks
    later = marks.identity._replace(expires_at_ms=FAR_MS)
    marks = marks._replace(attempt=attempt, identity=later)
    planted = plant(house, region, WRITTEN[how](house, region, marks))
    for _ in range(3):
        house.come_to_rest()
    assert_untouched(house, made)
    assert house.state(region).foreign == NEED
    assert list(strangers(house, region)) == [planted]
    assert house.create(1, regions=[A], ssh_public_key=SSH_KEY, key="k", labels={"job": "7"}) == [
        made
    ]


@pytest.mark.parametrize("how", WRITTEN)
def test_nobody_gets_an_instance_of_anothers_into_list_quota_or_key(
    house: House, made: Instance, how: str
) -> None:
    """Of an instance that never was: its owner, and the place under an idempotency key."""
    marks = house.server(made).marks
    assert marks.identity.idempotency
    later = marks.identity._replace(expires_at_ms=FAR_MS)
    marks = marks._replace(instance_id=f"i-{ULID()}", identity=later)
    planted = plant(house, B, WRITTEN[how](house, B, marks))
    house.come_to_rest()
    assert_untouched(house, made)
    assert house.state(B).foreign == NEED
    assert list(strangers(house, B)) == [planted]


def test_what_is_told_of_a_stranger_is_told_once(
    house: House, made: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = plant(house, A, metadata(house, made))
    capsys.readouterr()
    house.sweep()
    house.sweep()
    told = [json.loads(it) for it in capsys.readouterr().out.splitlines()]
    (line,) = [it for it in told if it["event"] == "stranger"]
    assert (line["what"], line["server"], line["instance"]) == ("copy", planted, made.id)
    assert house.state(A).strangers == {"copy": 1}
    del house.clouds[A].servers[planted]
    house.sweep()
    assert house.state(A).strangers == strangers(house, A) == {}


@pytest.mark.parametrize("text", ODD_NUMBERS)
@pytest.mark.parametrize("field", ["oms_attempt", "oms_created_at_ms", "oms_expires_at_ms"])
def test_odd_numbers_stop_neither_a_sweep_nor_a_list(
    make_house: Callable[..., House], text: str, field: str
) -> None:
    house = make_house({A: 4}, file=FleetFile(unsigned_marks="adopt"))
    plant(house, A, unsigned(house, f"i-{ULID()}", **{field: text}))
    house.come_to_rest()
    assert house.reaping.reap()["regions"][0]["outcome"] == "swept"
    assert house.state(A).foreign == NEED
    assert listed(house) == []


# ---------------------------------------------------------------- copied


def test_a_copy_is_counted_as_foreign_and_a_region_that_is_full_is_full(
    house: House, made: Instance
) -> None:
    for _ in range(3):
        plant(house, A, metadata(house, made))
    house.sweep()
    assert_untouched(house, made)
    assert house.state(A).foreign.instances == 3
    assert house.state(A).free().instances == 0
    assert set(strangers(house, A).values()) == {"copy"}


def test_a_copy_in_another_region_proves_nothing_there(house: House, made: Instance) -> None:
    planted = plant(house, C, metadata(house, made), house.keypair(made))
    house.come_to_rest()
    assert_untouched(house, made)
    assert strangers(house, C) == {planted: "unverified"}


def test_a_copy_does_not_take_the_place_of_a_server_that_is_gone(
    house: House, made: Instance
) -> None:
    planted = plant(house, A, metadata(house, made))
    house.sweep()
    del house.clouds[A].servers[made.server_id]
    for _ in range(3):
        house.come_to_rest()
    assert (house.get(made).status, house.get(made).ended) == (Status.DELETED, "vanished")
    assert house.held()[A] == 0
    assert house.state(A).foreign == NEED
    assert strangers(house, A) == {planted: "copy"}
    assert "delete" not in house.clouds[A].calls


@pytest.mark.parametrize("remembered", [True, False])
def test_a_copy_is_no_more_deleted_than_adopted_when_its_instance_has_ended(
    house: House, made: Instance, *, remembered: bool
) -> None:
    planted = plant(house, A, metadata(house, made))
    house.sweep()
    house.destroy(made)
    house.come_to_rest()
    if not remembered:
        house.ledger.forget(house.ledger.get([made.id]))
    house.come_to_rest()
    assert list(house.clouds[A].servers) == [planted]
    assert strangers(house, A) == {planted: "copy"}
    assert listed(house) == []


def lose(house: House, made: Instance) -> None:
    """Have somebody delete the server with their own login."""
    del house.clouds[A].servers[made.server_id]


def fail(house: House, made: Instance) -> None:
    """Have its cloud show it in ERROR, and then no more."""
    servers = house.clouds[A].servers
    servers[made.server_id] = servers[made.server_id]._replace(status=Status.ERROR)
    house.come_to_rest()
    del servers[made.server_id]


@pytest.mark.parametrize("end", [lose, fail])
def test_saved_marks_prove_nothing_once_their_server_is_gone(
    house: House, made: Instance, end: Callable[[House, Instance], None]
) -> None:
    """Nobody met the copy before the end, and it is there when nothing else is."""
    saved = metadata(house, made)
    end(house, made)
    house.come_to_rest()
    before = house.get(made)
    assert before.server_id is None
    planted = plant(house, A, saved, house.keypair(made))
    for _ in range(3):
        house.come_to_rest()
    assert house.get(made) == before
    assert strangers(house, A) == {planted: "copy"}
    assert house.held()[A] == 0
    assert house.state(A).foreign == NEED
    assert planted in house.clouds[A].servers


@pytest.mark.parametrize("hours", [-2, 2])
@pytest.mark.parametrize("lost", ["instance", "ledger"])
def test_saved_marks_prove_nothing_when_the_ledger_has_forgotten_their_instance(
    house: House, made: Instance, lost: str, hours: int
) -> None:
    """The cloud says that their server was made before they were signed, or long after."""
    saved = metadata(house, made)
    house.destroy(made)
    house.come_to_rest()
    if lost == "ledger":
        house.redis.flushall()
    else:
        house.ledger.forget(house.ledger.get([made.id]))
    then = datetime.now(UTC) + timedelta(hours=hours)
    planted = plant(house, A, saved, house.keypair(made), created_at=then.isoformat())
    for _ in range(3):
        house.come_to_rest()
    assert strangers(house, A) == {planted: "unverified"}
    assert listed(house) == []
    assert house.state(A).foreign == NEED
    assert list(house.clouds[A].servers) == [planted]


@pytest.mark.parametrize("minutes", [-50, 50])
@pytest.mark.parametrize("names_it", [True, False])
def test_with_the_ledger_lost_the_original_is_the_one_that_was_made_as_its_marks_were_signed(
    house: House, made: Instance, minutes: int, *, names_it: bool
) -> None:
    """Not the oldest: somebody may have had a server before."""
    cloud, now = house.clouds[A], datetime.now(UTC)
    own = cloud.servers[made.server_id]
    off_ms = 0 if names_it else 2000
    cloud.servers[own.id] = own._replace(created_at=now.isoformat(), marks_off_ms=off_ms)
    other = now + timedelta(minutes=minutes)
    planted = plant(house, A, metadata(house, made), "x", created_at=other.isoformat())
    house.redis.flushall()
    for _ in range(3):
        house.come_to_rest()
    assert house.get(made).server_id == made.server_id
    assert strangers(house, A) == {planted: "copy"}
    assert house.held()[A] == 1


def test_saved_marks_of_an_earlier_attempt_prove_nothing(house: House) -> None:
    """It failed here and lives elsewhere, or waits: what it had here it has no more."""
    made = house.create(1, regions=[A, B])[0]
    here = made.region
    saved = metadata(house, made)
    servers = house.clouds[here].servers
    servers[made.server_id] = servers[made.server_id]._replace(status=Status.ERROR)
    house.come_to_rest()
    moved = house.get(made)
    assert (moved.attempt, moved.status) == (2, Status.ACTIVE)
    assert moved.region != here
    planted = plant(house, here, saved)
    for _ in range(3):
        house.come_to_rest()
    assert house.get(made) == moved
    assert strangers(house, here) == {planted: "copy"}
    assert house.held()[here] == 0
    assert planted in servers


def test_a_server_that_was_only_out_of_sight_is_its_instances_again(
    house: House, made: Instance
) -> None:
    its = house.clouds[A].servers.pop(made.server_id)
    house.come_to_rest()
    assert house.get(made).ended == "vanished"
    house.clouds[A].servers[its.id] = its
    house.come_to_rest()
    again = house.get(made)
    assert (again.status, again.server_id) == (Status.ACTIVE, made.server_id)
    assert strangers(house, A) == {}


class Died(BaseException):
    """A function is killed."""


def die_while_creating(house: House) -> Instance:
    """Have a server made, and the function killed before it hears of it."""
    cloud, create = house.clouds[A], house.clouds[A].create

    def create_and_die(order: Any, **more: Any) -> None:
        create(order, **more)
        raise Died

    cloud.create = create_and_die
    with pytest.raises(Died):
        house.one(regions=[A])
    cloud.create = create
    (made,) = house.ledger.view(A, []).instances.values()
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize("known_by", ["observing", "adopting"])
def test_marks_saved_of_a_server_that_a_sweep_found_prove_nothing_either(
    house: House, known_by: str
) -> None:
    made = die_while_creating(house)
    if known_by == "adopting":
        house.redis.flushall()
    house.come_to_rest()
    its = house.get(made)
    saved = metadata(house, its)
    lose(house, its)
    house.come_to_rest()
    planted = plant(house, A, saved)
    house.come_to_rest()
    assert house.get(made).ended == "vanished"
    assert strangers(house, A) == {planted: "copy"}


def test_of_a_doubtful_create_the_oldest_is_its_server(house: House) -> None:
    made = die_while_creating(house)
    own = house.server(made).id
    assert house.get(made).server_id is None
    planted = plant(house, A, metadata(house, made))
    house.come_to_rest()
    assert house.get(made).server_id == own
    assert strangers(house, A) == {planted: "copy"}


@pytest.mark.parametrize("finder", ["sweep", "create"])
def test_of_a_doubtful_create_what_is_signed_comes_before_what_is_not(
    house: House, finder: str
) -> None:
    """A server that was there for long, and is given marks as they were before: no signature."""
    made = die_while_creating(house)
    own = house.server(made).id
    plant(house, A, unsigned(house, made.id), created_at="0")
    if finder == "create":
        assert house.clouds[A].find(house.server(made).marks).id == own
    house.come_to_rest()
    assert house.get(made).server_id == own
    assert house.state(A).foreign == NEED


def test_unsigned_ones_are_not_awaited_where_they_are_foreign(
    make_house: Callable[..., House],
) -> None:
    house = make_house({A: 4}, file=FleetFile(unsigned_marks="foreign"))
    made = die_while_creating(house)
    del house.clouds[A].servers[house.server(made).id]
    planted = plant(house, A, unsigned(house, made.id))
    house.come_to_rest()
    assert strangers(house, A) == {planted: "unsigned"}
    assert house.get(made).server_id != planted


def test_with_the_ledger_lost_the_oldest_of_several_is_adopted(
    house: House, made: Instance
) -> None:
    planted = plant(house, A, metadata(house, made))
    house.redis.flushdb()
    house.come_to_rest()
    assert house.get(made).server_id == made.server_id
    assert strangers(house, A) == {planted: "copy"}
    assert house.state(A).foreign == NEED


# ---------------------------------------------------------------- written over


@pytest.mark.parametrize("written", ["nothing", "forged", "another's", "a label more"])
def test_a_server_that_the_ledger_has_is_its_instances_whatever_its_marks_say(
    house: House, made: Instance, written: str
) -> None:
    other = house.active(regions=[A], owner="bob")
    own = house.server(made).marks
    expired = own._replace(identity=own.identity._replace(expires_at_ms=1))
    texts = {
        "nothing": {},
        "forged": forged(house, A, expired),
        "another's": metadata(house, other),
        "a label more": metadata(house, made) | {"oms_label:more": "1"},
    }
    marks = house.server(made).marks
    rewrite(house, A, made.server_id, texts[written])
    house.sweep(A)
    assert [house.get(it) for it in (made, other)] == [made, other]
    assert house.server(made).marks == marks
    assert house.state(A).foreign == Resources()
    house.destroy(made)
    house.come_to_rest()
    assert list(house.clouds[A].servers) == [other.server_id]


def test_what_is_written_over_keeps_nobody_from_being_deleted_in_time(
    house: House, made: Instance
) -> None:
    rewrite(house, A, made.server_id, {})
    house.ledger.destroy(made, why="enough")
    house.come_to_rest()
    house.assert_idle()


def test_a_server_without_name_and_marks_of_its_attempt_is_not_deleted_by_a_sweep(
    house: House, made: Instance
) -> None:
    """A record that was tampered with ends nobody's server."""
    rewrite(house, A, made.server_id, {})
    cloud = house.clouds[A]
    cloud.servers[made.server_id] = cloud.servers[made.server_id]._replace(named=None)
    house.ledger.destroy(made, why="enough")
    house.come_to_rest()
    assert made.server_id in cloud.servers
    assert "lacks the marks" in str(house.state(A).last_error)
    assert strangers(house, A) == {made.server_id: "spoilt"}
    assert house.state(A).strangers == {"spoilt": 1}
    with pytest.raises(Invalid, match="spoilt, not a copy"):
        house.vouching.end([made.server_id])
    house.vouching.adopt([A])
    house.come_to_rest()
    house.assert_idle()
    assert strangers(house, A) == {}


def test_a_server_whose_marks_and_name_were_spoilt_is_signed_anew_when_its_operator_says_so(
    house: House, made: Instance
) -> None:
    cloud = house.clouds[A]
    marks = house.server(made).marks
    rewrite(house, A, made.server_id, metadata(house, house.active(regions=[A], owner="bob")))
    cloud.servers[made.server_id] = cloud.servers[made.server_id]._replace(named=None)
    house.come_to_rest()
    assert house.get(made) == made
    assert strangers(house, A) == {made.server_id: "spoilt"}
    assert house.state(A).foreign == Resources()
    house.vouching.adopt([A])
    assert (house.server(made).marks, house.get(made)) == (marks, made)
    house.destroy(made)
    house.come_to_rest()
    assert made.server_id not in cloud.servers


# ---------------------------------------------------------------- key pairs


def test_somebody_elses_key_pair_is_not_deleted_by_its_name(house: House, made: Instance) -> None:
    attempted = Attempted(made.id, 1)
    theirs = {
        "laptop",
        name_of(signing(house, A, THEIRS), attempted),
        name_of(signing(house, B), attempted),
        f"oms-{house.name}-i-{ULID()}-1",
        # As before names were signed, of an attempt that never was.
        f"oms-{house.name}-{made.id}-2",
    }
    house.clouds[A].keypairs |= theirs
    plant(house, A, unsigned(house, f"i-{ULID()}", oms_keypair="laptop"))
    house.come_to_rest()
    house.destroy(made)
    house.come_to_rest()
    assert house.clouds[A].keypairs == theirs


# ---------------------------------------------------------------- of before the upgrade


def as_before(house: House, made: Instance) -> None:
    """Have an instance's server as it was made before marks were signed."""
    marks = house.server(made).marks
    server_id = house.server(made).id
    more = {f"oms_label:{key}": value for key, value in marks.identity.labels.items()}
    if marks.identity.has_keypair:
        name = f"oms-{house.name}-{made.id}-{marks.attempt}"
        more["oms_keypair"] = name
        house.clouds[made.region].keypairs = {name}
    told = {
        "oms_owner": marks.identity.owner,
        "oms_idempotency": marks.identity.idempotency,
        "oms_created_at_ms": str(marks.identity.created_at_ms),
        "oms_expires_at_ms": str(marks.identity.expires_at_ms),
    }
    rewrite(house, made.region, server_id, unsigned(house, made.id, marks.attempt, **more | told))
    cloud = house.clouds[made.region]
    cloud.servers[server_id] = cloud.servers[server_id]._replace(named=None)


def test_servers_of_before_are_known_and_signed_by_the_next_sweep(
    house: House, made: Instance
) -> None:
    marks = house.server(made).marks
    as_before(house, made)
    house.sweep(A)
    assert (house.server(made).marks, house.server(made).claim) == (marks, None)
    assert_untouched(house, made)
    house.destroy(made)
    house.come_to_rest()
    house.assert_idle()
    assert house.clouds[A].keypairs == set()


@pytest.mark.parametrize("rule", [None, "adopt", "foreign"])
def test_with_the_ledger_lost_servers_of_before_are_adopted_as_the_operator_says(
    make_house: Callable[..., House], rule: Any
) -> None:
    house = make_house({A: 4}, file=FleetFile(unsigned_marks=rule))
    made = house.active()
    as_before(house, made)
    house.redis.flushdb()
    house.come_to_rest()
    adopted = rule != "foreign"
    assert [it.id for it in house.ledger.get([made.id])] == [made.id] * adopted
    assert house.state(A).foreign.instances == (not adopted)
    assert house.state(A).strangers == ({} if adopted else {"unsigned": 1})


def test_once_a_sweep_has_found_none_unsigned_ones_are_foreign(house: House) -> None:
    planted = plant(house, A, unsigned(house, f"i-{ULID()}"))
    house.come_to_rest()
    assert strangers(house, A) == {planted: "unsigned"}
    assert house.state(A).foreign == NEED
    assert listed(house) == []


LOCKED = InDoubt("409: Cannot 'update metadata' instance while it is locked")


def lock(house: House, ids: Collection[str]) -> None:
    """Have servers whose marks Nova refuses to write."""
    cloud, mark = house.clouds[A], house.clouds[A].mark

    def refuse(server_id: str, *args: Any, **more: Any) -> None:
        if server_id in ids:
            cloud.calls.append("mark")
            raise LOCKED
        mark(server_id, *args, **more)

    cloud.mark = refuse


@pytest.mark.parametrize("how", ["in ERROR", "locked"])
def test_a_server_that_cannot_be_signed_does_not_keep_unsigned_ones_adopted(
    house: House, made: Instance, how: str
) -> None:
    """As soon as the ledger knows it by its id nobody else's are believed any more."""
    as_before(house, made)
    cloud = house.clouds[A]
    lock(house, [made.server_id])
    house.redis.flushdb()
    house.sweep(A)
    assert not house.ledger.view(A, []).all_signed
    if how == "in ERROR":
        broken = cloud.servers[made.server_id]._replace(status=Status.ERROR, fault="broken")
        cloud.servers[made.server_id] = broken
        house.sweep(A)
    house.come_to_rest()
    assert house.get(made).server_id == made.server_id
    assert cloud.servers[made.server_id].claim.how == "unsigned"
    planted = plant(house, A, unsigned(house, f"i-{ULID()}"))
    house.come_to_rest()
    assert strangers(house, A) == {planted: "unsigned"}
    assert house.state(A).foreign == NEED
    assert listed(house) == [made.id]


@pytest.mark.parametrize("rule", [None, "foreign"])
def test_an_operator_adopts_unsigned_ones_that_a_sweep_does_not(
    make_house: Callable[..., House], rule: Any
) -> None:
    """As when an old copy of the ledger came back, that knows of no unsigned one by its id."""
    house = make_house({A: 4}, file=FleetFile(unsigned_marks=rule))
    house.come_to_rest()
    instance_id = f"i-{ULID()}"
    planted = plant(house, A, unsigned(house, instance_id), addresses=ADDRESSES)
    house.come_to_rest()
    with pytest.raises(Invalid, match="oms adopt --unverified"):
        house.vouching.end([planted])
    assert strangers(house, A) == {planted: "unsigned"}
    (swept,) = house.vouching.adopt([A])
    assert (swept["outcome"], swept["actions"]["adopted"]) == ("swept", 1)
    house.come_to_rest()
    assert (strangers(house, A), listed(house)) == ({}, [instance_id])
    assert house.clouds[A].servers[planted].claim is None


def test_what_cannot_be_signed_keeps_nothing_else_from_being_signed(
    make_house: Callable[..., House],
) -> None:
    house = make_house({A: 30})
    made = house.create(25, regions=[A])
    house.come_to_rest()
    many = [house.get(it) for it in made]
    for it in many:
        as_before(house, it)
    oldest = sorted(house.clouds[A].servers.values(), key=lambda it: it.created_at)[:20]
    lock(house, {it.id for it in oldest})
    for _ in range(60):
        house.clouds[A].calls.clear()
        house.sweep(A)
        assert house.clouds[A].calls.count("mark") <= 20
        left = {it.id for it in house.clouds[A].servers.values() if it.claim}
        if left == {it.id for it in oldest}:
            return
    pytest.fail(f"not signed after 60 sweeps: {len(left) - 20}")


def test_a_server_that_an_old_function_is_making_is_known(
    make_house: Callable[..., House],
) -> None:
    """Old and new functions side by side: the create is under way, its answer lost."""
    house = make_house({A: 4}, file=FleetFile(unsigned_marks="adopt"))
    made = die_while_creating(house)
    as_before(house, made)
    own = next(iter(house.clouds[A].servers))
    plant(house, A, unsigned(house, made.id))  # a copy of it, which is younger
    house.come_to_rest()
    assert (house.get(made).status, house.get(made).server_id) == (Status.ACTIVE, own)
    assert house.state(A).foreign == NEED
    assert house.server(made).claim is None


def test_unsigned_marks_take_no_attempt_over_once_all_are_signed(
    house: House, made: Instance
) -> None:
    """An attempt's name is known before its server: somebody waits there for a create."""
    cloud, create = house.clouds[A], house.clouds[A].create
    planted = []

    def plant_and_die(order: Any, **_: Any) -> None:
        planted.append(plant(house, A, unsigned(house, order.marks.instance_id)))
        raise Died

    cloud.create = plant_and_die
    with pytest.raises(Died):
        house.one(regions=[A])
    cloud.create = create
    house.sweep(A)
    house.lapse()
    house.come_to_rest()
    assert_untouched(house, made)
    assert strangers(house, A) == {planted[0]: "unsigned"}


def test_no_more_are_signed_by_one_sweep_than_it_has_time_for(
    make_house: Callable[..., House],
) -> None:
    house = make_house({A: 30})
    many = house.create(25, regions=[A])
    house.come_to_rest()
    for it in many:
        as_before(house, house.get(it))
    left = []
    for _ in range(2):
        house.clouds[A].calls.clear()
        house.sweep(A)
        left.append(sum(it.claim is not None for it in house.clouds[A].servers.values()))
        assert house.clouds[A].calls.count("mark") <= 20
    assert left == [5, 0]


# ---------------------------------------------------------------- keys


def test_with_the_key_lost_servers_that_the_ledger_has_are_signed_anew(
    house: House, made: Instance
) -> None:
    marks = house.server(made).marks
    lose_key(house, made)
    house.sweep(A)
    assert (house.server(made).marks, house.server(made).claim) == (marks, None)
    assert_untouched(house, made)


def lose_key(house: House, made: Instance) -> None:
    """Have a server as it is seen with a key that did not sign its marks."""
    old = metadata_of(house.server(made).marks, signing(house, made.region, THEIRS))
    rewrite(house, made.region, house.server(made).id, old)
    cloud = house.clouds[made.region]
    cloud.servers[made.server_id] = cloud.servers[made.server_id]._replace(named=None)


def test_with_key_and_ledger_lost_nothing_is_adopted_until_the_operator_says_so(
    house: House, made: Instance
) -> None:
    marks = house.server(made).marks
    lose_key(house, made)
    house.redis.flushdb()
    house.come_to_rest()
    assert strangers(house, A) == {made.server_id: "unverified"}
    assert house.ledger.get([made.id]) == []
    (swept,) = house.vouching.adopt([A])
    assert (swept["outcome"], swept["actions"]["adopted"]) == ("swept", 1)
    house.come_to_rest()
    assert (house.get(made).status, house.get(made).identity.owner) == (Status.ACTIVE, "alice")
    assert house.server(made).marks == marks
    assert strangers(house, A) == {}
    house.assert_agreement()


def test_of_several_that_nothing_proves_the_operator_adopts_the_oldest(
    house: House, made: Instance
) -> None:
    lose_key(house, made)
    claim = house.clouds[A].servers[made.server_id].claim
    planted = plant(house, A, {}, claim=claim)
    house.redis.flushdb()
    house.reaping.adopt([A])
    assert house.get(made).server_id == made.server_id
    assert strangers(house, A) == {planted: "copy"} or planted in strangers(house, A)
    assert house.state(A).foreign == NEED


# ---------------------------------------------------------------- operators


def test_an_operator_ends_a_copy_and_nothing_else(house: House, made: Instance) -> None:
    copy = plant(house, A, metadata(house, made))
    unproven = plant(house, B, metadata(house, made))
    house.sweep()
    for server_id, error in ((made.server_id, NotFound), ("s-none", NotFound), (unproven, Invalid)):
        with pytest.raises(error):
            house.vouching.end([copy, server_id])
    assert "delete" not in house.clouds[A].calls + house.clouds[B].calls
    (ended,) = house.vouching.end([copy])
    assert ended == {"server": copy, "region": A, "instance": made.id}
    house.come_to_rest()
    assert (copy in house.clouds[A].servers, made.server_id in house.clouds[A].servers) == (
        False,
        True,
    )
    assert (house.get(made), house.state(A).foreign) == (made, Resources())
    with pytest.raises(NotFound):
        house.vouching.end([copy])


def test_a_copy_that_became_an_instances_own_is_not_ended(house: House, made: Instance) -> None:
    """As when the ledger was lost since: what a sweep told is checked anew."""
    copy = plant(house, A, metadata(house, made))
    house.sweep()
    kept = house.ledger.strangers(A)
    house.redis.flushdb()
    del house.clouds[A].servers[made.server_id]
    house.come_to_rest()
    assert house.get(made).server_id == copy
    house.ledger.note_strangers(A, kept)
    with pytest.raises(NotFound, match="own by now"):
        house.vouching.end([copy])
    assert "delete" not in house.clouds[A].calls


def test_where_a_regions_endpoint_moves_its_servers_stay_known_and_are_signed_for_it(
    house: House, made: Instance
) -> None:
    cloud = house.clouds[A]
    cloud.is_at = cloud.is_at._replace(endpoint="moved")
    copy = plant(house, A, {}, claim=cloud.show(made.server_id).claim)
    house.come_to_rest()
    assert (house.get(made).status, house.get(made).server_id) == (Status.ACTIVE, made.server_id)
    assert cloud.show(made.server_id).claim is None
    assert strangers(house, A) == {copy: "unverified"}
    assert house.state(A).foreign == NEED
    assert "delete" not in cloud.calls
