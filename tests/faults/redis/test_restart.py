"""Redis is restarted, with and without what it held."""

from typing import Any

from openmultistack.domain.models import Instance, Status
from tests.support.slow_house import House

A, B = "alpha/One", "beta/One"
KEEPING = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
FORGETTING = ("--appendonly", "no", "--save", "")


def fill(house: House) -> list[Instance]:
    """Have some instances up, one of them being built and one on its way out."""
    house.create(5, labels={"run": "one"}, ttl=1800)
    house.sweep_twice()
    house.create(1, name="late")
    house.destroy(next(iter(house.listed().values())))
    return list(house.listed().values())


def test_a_restart_with_persistence_keeps_all_of_it(new_node: Any, new_house: Any) -> None:
    node = new_node(*KEEPING)
    house = new_house(node.url)
    before = fill(house)
    stories = {it.id: house.ledger.events(it.id) for it in before}
    states, calls = house.ledger.regions(), house.calls()
    node.kill()
    node.start()
    assert list(house.listed().values()) == before
    assert {it.id: house.ledger.events(it.id) for it in before} == stories
    assert house.ledger.regions() == states
    assert house.calls() == calls
    house.sweep_twice()
    house.assert_agreement()


def test_no_loss_a_restart_without_anything_is_made_good_by_two_sweeps(
    new_node: Any, new_house: Any
) -> None:
    node = new_node(*FORGETTING)
    house = new_house(node.url)
    house.create(5, labels={"run": "one"}, ttl=1800)
    house.create(1, name="late")
    house.sweep_twice()
    before, servers = house.listed(), house.servers()
    assert {it.status for it in before.values()} == {Status.ACTIVE}
    node.kill()
    node.start()
    assert house.listed() == {}
    house.sweep_twice()

    after = house.listed()
    assert {i: what_lasts(it) for i, it in after.items()} == {
        i: what_lasts(it) for i, it in before.items()
    }
    assert house.servers() == servers
    assert not any("delete" in cloud.calls for cloud in house.clouds.values())
    house.assert_agreement()
    labelled = house.ledger.page("alice", label=("run", "one"), gone=False, after=None, limit=9)
    assert len(labelled) == 5
    destroy_all_twice(house)


def what_lasts(instance: Instance) -> dict[str, Any]:
    """Return what clouds know of an instance: all but its story and how it was ordered."""
    told = instance._asdict()
    for lost in ("order", "tried", "image", "promised", "quota"):
        del told[lost]
    # The cloud names the image by its id.
    assert instance.image in ("debian", f"{instance.region}-d")
    return told


def destroy_all_twice(house: House) -> None:
    """Destroy everything, and again: it is done once, and every slot comes back."""
    instances = list(house.listed().values())
    for _ in range(2):
        told = house.destroy(*instances)
        assert {it.status for it in told} <= {Status.DELETING, Status.DELETED}
        assert sum(cloud.calls.count("delete") for cloud in house.clouds.values()) >= 6
    house.sweep_twice()
    assert house.servers() == {}
    assert {it.status for it in house.destroy(*instances)} == {Status.DELETED}
    assert [it.held.instances for it in house.ledger.regions([A, B])] == [0, 0]
    house.assert_agreement()
