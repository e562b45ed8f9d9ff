"""List, show, destroy and renew: what owners do with what they have."""

from typing import Any

import pytest

from openmultistack.domain.cloud_errors import Unreachable
from openmultistack.domain.errors import Invalid, NotFound
from openmultistack.domain.models import Status
from openmultistack.fleet.config import FleetFile
from openmultistack.usecases import read
from openmultistack.usecases.read import list_instances, owned, story
from openmultistack.usecases.renew import renew
from tests.support.house import House

A, B, C = "alpha/One", "alpha/Two", "beta/One"


def page(house: House, owner: str = "alice", **filters: Any) -> Any:
    """Return a page of an owner's instances."""
    return list_instances(house.ledger, owner, labels=filters.pop("labels", {}), **filters)


def ids(listed: Any) -> list[str]:
    """Return the instances' ids."""
    return [it.id for it in listed]


# ---------------------------------------------------------------- list


def test_a_list_is_newest_first_and_pages_meet_without_gap_or_repeat(make_house: Any) -> None:
    house = make_house({A: 20})
    made = [house.one() for _ in range(7)]
    seen, after, pages = [], None, 0
    while True:
        found = page(house, limit=3, after=after)
        assert len(found.instances) <= 3
        seen += ids(found.instances)
        pages += 1
        after = found.next
        if after is None:
            break
    assert seen == sorted(ids(made), reverse=True)
    assert pages == 3


def test_pages_meet_under_filters_as_well(make_house: Any) -> None:
    house = make_house({A: 10, B: 10})
    made = [house.one(labels={"kind": "odd" if n % 2 else "even"}) for n in range(12)]
    odd_in_a = [it.id for it in made if it.identity.labels["kind"] == "odd" and it.region == A]
    seen, after = [], None
    while True:
        found = page(house, labels={"kind": "odd"}, region=A, limit=2, after=after)
        seen += ids(found.instances)
        after = found.next
        if after is None:
            break
    assert seen == sorted(odd_in_a, reverse=True)


def test_a_list_by_two_labels_goes_through_those_with_the_rarer_one(
    make_house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "SCAN_MAX", 2)
    house = make_house({A: 20})
    rare = house.one(labels={"os": "x", "run": "1"})
    for _ in range(6):
        house.one(labels={"os": "x"})
    found = page(house, labels={"os": "x", "run": "1"}, limit=2)
    assert (ids(found.instances), found.next) == ([rare.id], None)


def test_a_full_page_reads_one_instance_more_to_know_of_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, read = house.create(5), []
    get = house.ledger.get
    monkeypatch.setattr(house.ledger, "get", lambda ids: read.extend(ids) or get(ids))
    found = page(house, limit=2)
    assert (len(found.instances), found.next) == (2, found.instances[-1].id)
    assert len(read) == 3
    assert page(house, limit=5).next is None
    assert len(page(house, limit=5).instances) == len(made)


def test_filters_narrow_a_list(house: House) -> None:
    one = house.active(labels={"job": "1", "stage": "a"}, regions=[A])
    two = house.one(labels={"job": "1"}, regions=[B])
    gone = house.one(regions=[C])
    house.destroy(gone)
    assert set(ids(page(house).instances)) == {one.id, two.id, gone.id}
    assert ids(page(house, status=Status.ACTIVE).instances) == [one.id]
    assert ids(page(house, status=Status.DELETING).instances) == [gone.id]
    assert ids(page(house, region=B).instances) == [two.id]
    assert set(ids(page(house, labels={"job": "1"}).instances)) == {one.id, two.id}
    assert ids(page(house, labels={"job": "1", "stage": "a"}).instances) == [one.id]
    assert page(house, labels={"job": "2"}).instances == []


def test_the_deleted_are_listed_only_when_asked_for(house: House) -> None:
    gone, here = house.one(), house.one()
    house.destroy(gone)
    house.come_to_rest()
    assert ids(page(house).instances) == [here.id]
    (shown,) = page(house, status=Status.DELETED).instances
    assert (shown.id, shown.status) == (gone.id, Status.DELETED)


def test_isolation_owners_see_only_their_own(house: House) -> None:
    mine, theirs = house.one(labels={"a": "1"}), house.one(owner="bob", labels={"a": "1"})
    assert ids(page(house).instances) == [mine.id]
    assert ids(page(house, labels={"a": "1"}).instances) == [mine.id]
    assert ids(page(house, "bob").instances) == [theirs.id]
    assert page(house, "carol").instances == []


@pytest.mark.parametrize("known", [True, False])
def test_anothers_instance_and_an_unknown_one_look_alike(house: House, *, known: bool) -> None:
    wanted = house.one(owner="bob").id if known else "i-unknown"
    said = f"there is no instance {wanted!r}"
    for act in (
        lambda: owned(house.ledger, "alice", [wanted]),
        lambda: story(house.ledger, "alice", wanted),
        lambda: renew(house.ledger, FleetFile(), "alice", wanted, 60),
        lambda: house.destroying.destroy_ids("alice", [wanted]),
    ):
        with pytest.raises(NotFound, match=said):
            act()
    if known:
        assert house.get(wanted).status == Status.BUILD
        assert house.servers() == 1


# ---------------------------------------------------------------- destroy


def test_destroying_asks_the_cloud_at_once_and_the_slot_waits_for_the_server(
    house: House,
) -> None:
    made = house.active()
    assert house.destroy(made).status == Status.DELETING
    assert house.clouds[made.region].calls[-1] == "delete"
    house.sweep()
    assert sum(house.held().values()) == 1
    assert house.get(made).status == Status.DELETING
    house.settle()
    assert house.sweep()["released"] == 1
    assert house.get(made).status == Status.DELETED
    assert [what for what, _, _ in house.story(made)][-2:] == ["deleting", "deleted"]
    house.assert_idle()


def test_destroying_is_safe_to_repeat(house: House) -> None:
    made = house.active()
    assert house.destroy(made).status == Status.DELETING
    assert house.destroy(made).status == Status.DELETING
    house.come_to_rest()
    assert house.destroy(made).status == Status.DELETED
    assert [what for what, _, _ in house.story(made)].count("deleting") == 1


def test_a_delete_that_fails_is_repeated_by_the_sweep(house: House) -> None:
    made = house.active()
    house.clouds[made.region].fails(Unreachable("connection refused"), "delete")
    assert house.destroy(made).status == Status.DELETING
    assert house.state(made.region).state == "up"  # a delete says nothing about creates
    house.clouds[made.region].fails(None)
    house.come_to_rest()
    assert house.get(made).status == Status.DELETED
    house.assert_idle()


def test_isolation_destroying_by_labels_ends_only_the_owners(house: House) -> None:
    ours = [house.one(labels={"job": "1"}), house.one(labels={"job": "1", "x": "y"})]
    other_job = house.one(labels={"job": "2"})
    theirs = house.one(owner="bob", labels={"job": "1"})
    destroyed = house.destroying.destroy_labelled("alice", {"job": "1"})
    assert sorted(ids(destroyed)) == sorted(ids(ours))
    house.come_to_rest()
    assert [house.get(it).status for it in ours] == [Status.DELETED] * 2
    assert [house.get(it).status for it in (other_job, theirs)] == [Status.ACTIVE] * 2
    assert house.destroying.destroy_labelled("alice", {"job": "1"}) == []


def test_an_instance_destroyed_while_it_is_being_created_loses_its_server(house: House) -> None:
    cloud = house.clouds[A]
    cloud.meanwhile = lambda order: house.destroy(house.get(order.marks.instance_id))
    made = house.one(regions=[A])
    assert made.status == Status.DELETING
    assert cloud.calls[-1] == "delete"
    house.come_to_rest()
    assert house.get(made).status == Status.DELETED
    house.assert_idle()


def test_a_doubtful_create_of_a_destroyed_instance_goes_nowhere_else(house: House) -> None:
    cloud = house.clouds[A]
    cloud.answers = "lost"
    cloud.meanwhile = lambda order: house.destroy(house.get(order.marks.instance_id))
    made = house.one(regions=[A, B], strategy="priority")
    assert (made.status, made.region, made.attempt) == (Status.DELETING, A, 1)
    assert "create" not in house.clouds[B].calls
    house.come_to_rest()
    assert house.get(made).status == Status.DELETED
    house.assert_idle()


def test_a_keypair_goes_with_its_server(house: House) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
    made = house.active(ssh_public_key=key)
    assert house.clouds[made.region].keypairs == {house.keypair(made, region=made.region)}
    house.destroy(made)
    assert house.clouds[made.region].keypairs == set()


# ---------------------------------------------------------------- renew


def test_renewing_moves_the_expiry_in_ledger_and_cloud(house: House) -> None:
    made = house.active(ttl=60)
    renewed = renew(house.ledger, FleetFile(), "alice", made.id, 5000)
    assert 4_990_000 < renewed.identity.expires_at_ms - made.identity.created_at_ms < 5_060_000
    house.sweep()
    assert house.server(made).marks.identity.expires_at_ms == renewed.identity.expires_at_ms
    assert house.story(made)[-1][0] == "renewed"


def test_renewing_can_shorten_a_life(house: House) -> None:
    made = house.active(ttl=3600)
    renewed = renew(house.ledger, FleetFile(), "alice", made.id, 10)
    assert renewed.identity.expires_at_ms < made.identity.expires_at_ms


def test_renewing_beyond_the_owners_maximum_is_refused(house: House) -> None:
    made = house.one()
    file = FleetFile.model_validate({"owners": {"default": {"default_ttl": 60, "max_ttl": 100}}})
    with pytest.raises(Invalid):
        renew(house.ledger, file, "alice", made.id, 101)
    assert house.get(made).identity.expires_at_ms == made.identity.expires_at_ms


@pytest.mark.parametrize("rest", [False, True])
def test_what_was_destroyed_cannot_be_renewed(house: House, *, rest: bool) -> None:
    made = house.active()
    house.destroy(made)
    if rest:
        house.come_to_rest()
    with pytest.raises(NotFound, match="lives no more"):
        renew(house.ledger, FleetFile(), "alice", made.id, 60)
