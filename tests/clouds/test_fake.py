"""The fake's own ways, where the contract leaves a choice: what tests of use cases lean on."""

from typing import Any

import pytest

from openmultistack.clouds import Attempted, ServerOrder
from openmultistack.clouds.fake import FakeCloud
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.names import name_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import Unreachable
from openmultistack.domain.models import Catalogue, Resources

FLEET = "f"
UNSIGNED = "oms-f-i-" + "0" * 26 + "-1"


@pytest.fixture
def cloud(order: ServerOrder) -> FakeCloud:
    """Return a fake that offers what the order asks for."""
    offer = order.offer
    offered = Catalogue(flavors=(offer.flavor,), images=(offer.image,), networks=(offer.network,))
    quota = Resources(instances=3, vcpus=10, ram_mb=10_000)
    return FakeCloud(offered, quota, fleet=FLEET)


def of(order: ServerOrder, **more: Any) -> ServerOrder:
    """Return the order with other marks."""
    return order._replace(marks=order.marks._replace(**more))


def test_a_server_is_found_by_fleet_instance_and_attempt(
    cloud: FakeCloud, order: ServerOrder
) -> None:
    wanted = of(order, fleet=FLEET)
    cloud.create(of(order, fleet="another"))
    assert cloud.find(wanted.marks) is None
    cloud.create(of(order, fleet=FLEET, attempt=2))
    assert cloud.find(wanted.marks) is None
    server_id = cloud.create(wanted)
    found = cloud.find(wanted.marks)
    assert found
    assert found.id == server_id


def test_what_leaves_is_present_and_found_until_it_is_gone(
    cloud: FakeCloud, order: ServerOrder
) -> None:
    wanted = of(order, fleet=FLEET)
    foreign = cloud.add_foreign(Resources(instances=1))
    server_id = cloud.create(wanted)
    cloud.delete(server_id)
    assert cloud.present() == {server_id, foreign}
    assert cloud.find(wanted.marks)
    cloud.settle()
    assert cloud.present() == {foreign}
    assert cloud.find(wanted.marks) is None


def test_what_is_built_is_active_and_nothing_else_is(cloud: FakeCloud, order: ServerOrder) -> None:
    server_id = cloud.create(of(order, fleet=FLEET))
    assert cloud.active() == []
    cloud.settle()
    assert [it.id for it in cloud.active()] == [server_id]
    cloud.build_fault = "no valid host"
    cloud.create(of(order, fleet=FLEET, attempt=2))
    cloud.settle()
    assert [it.id for it in cloud.active()] == [server_id]


def test_keypairs_of_this_fleet_are_surveyed_and_any_can_be_forgotten(cloud: FakeCloud) -> None:
    signing = Signing(KEYRING, FLEET, cloud.place().id)
    ours = name_of(signing, Attempted("i-" + "0" * 26, 1))
    forged = ours[:-12] + "A" * 12
    cloud.keypairs |= {ours, "laptop", forged, UNSIGNED, UNSIGNED.replace("oms-f", "oms-g")}
    found = {it.name: it.verified for it in cloud.survey().keypairs}
    assert found == {ours: True, UNSIGNED: False}
    for name in found:
        cloud.forget_keypair(name)
        cloud.forget_keypair(name)
    assert cloud.survey().keypairs == ()
    assert len(cloud.keypairs) == 3


@pytest.mark.parametrize("call", ["find", "active", "present", "forget_keypair"])
def test_each_call_is_noted_and_can_fail(cloud: FakeCloud, order: ServerOrder, call: str) -> None:
    cloud.fault = lambda name: Unreachable("away") if name == call else None
    more = {"find": [order.marks], "forget_keypair": [UNSIGNED]}
    with pytest.raises(Unreachable):
        getattr(cloud, call)(*more.get(call, []))
    assert cloud.calls == [call]
