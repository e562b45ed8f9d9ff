"""The contract of a cloud: the fake, a simulated and a real OpenStack keep it alike."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import openstack
import pytest
from ulid import ULID

from openmultistack.clouds import Attempted, Cloud, Marks, Server, ServerOrder
from openmultistack.clouds.fake import FakeCloud
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.domain.cloud_errors import (
    CatalogueStale,
    CloudError,
    RegionFull,
    TooLate,
    Unreachable,
    Unsuitable,
)
from openmultistack.domain.identity import NOTE_CHARS, Identity
from openmultistack.domain.models import Catalogue, Flavor, Image, Network, Offer, Resources, Status

REGIONS = {
    "alpha/RegionOne": ("alpha", "RegionOne"),
    "alpha/RegionTwo": ("alpha", "RegionTwo"),
    "beta/RegionOne": ("beta", "RegionOne"),
}
# Its names differ from the other regions', and it has two networks to choose from.
REGION = "alpha/RegionTwo"
SIM_REGION = "p1/RegionOne"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
NOWHERE = "11111111-2222-3333-4444-555555555555"
WITHIN_S = 120


class Names(NamedTuple):
    """What the smallest server of a region is made of."""

    flavor: str = "c2.xsmall"
    image: str = "Debian Bookworm [2026-10]"
    network: str = "shared-net"


SIM_NAMES = Names("m1.tiny", "debian-12", "ci-net")


class FakeGround:
    """A fake region, and the world around it."""

    def __init__(self) -> None:
        self.fleet = f"f-{ULID()}"
        self.names = Names()
        offered = Catalogue(
            flavors=(
                Flavor(id="f1", name=self.names.flavor, vcpus=1, ram_mb=512, disk_gb=1),
                Flavor(id="f2", name="too.big", vcpus=2000, ram_mb=1024, disk_gb=1),
            ),
            images=(Image(id="i1", name=self.names.image),),
            networks=(Network(id="n1", name=self.names.network, shared=True),),
        )
        quota = Resources(instances=20, vcpus=1000, ram_mb=4_000_000)
        self.fake = FakeCloud(offered, quota, fleet=self.fleet)
        self.cloud: Cloud = self.fake

    def rest(self) -> None:
        """Let time pass."""
        self.fake.settle()

    def keypairs(self) -> set[str]:
        """Return the names of the keypairs there are."""
        return set(self.fake.keypairs)

    def add_foreign(self, offer: Offer) -> str:
        """Make a server of somebody else's."""
        need = Resources(instances=1, vcpus=offer.flavor.vcpus, ram_mb=offer.flavor.ram_mb)
        return self.fake.add_foreign(need)

    def clean(self) -> None:
        """Leave nothing behind."""


class OpenStackGround:
    """A region of an OpenStack, looked at with openstacksdk beside the adapter."""

    def __init__(self, clouds_file: Path, label: str, names: Names) -> None:
        self.fleet = f"f-{ULID()}"
        self.names = names
        provider, region = label.split("/")
        regions = {label: (provider, region)}
        self.cloud = OpenStackClouds(
            clouds_file, regions, fleet=self.fleet, keys=lambda: KEYRING
        ).region(label)
        config = openstack.config.OpenStackConfig(
            config_files=[str(clouds_file)], load_envvars=False
        )
        self.compute = openstack.connection.Connection(
            config=config.get_one(provider, region_name=region)
        ).compute
        self._foreign: list[str] = []

    def rest(self) -> None:
        """Let time pass."""
        time.sleep(0.5)

    def keypairs(self) -> set[str]:
        """Return the names of the keypairs there are."""
        return {it.name for it in self.compute.keypairs()}

    def add_foreign(self, offer: Offer) -> str:
        """Make a server of somebody else's."""
        made = self.compute.create_server(
            name="foreign",
            flavor_id=offer.flavor.id,
            image_id=offer.image.id,
            networks=[{"uuid": offer.network.id}],
        )
        self._foreign.append(str(made.id))
        return self._foreign[-1]

    def clean(self) -> None:
        """Delete what the test made, also if it failed."""
        left = [it.id for it in self.compute.servers() if it.name.startswith(f"oms-{self.fleet}-")]
        for server_id in [*left, *self._foreign]:
            self.compute.delete_server(server_id, ignore_missing=True)
        for name in self.keypairs():
            if name.startswith(f"oms-{self.fleet}-"):
                self.compute.delete_keypair(name, ignore_missing=True)


Ground = FakeGround | OpenStackGround


@pytest.fixture(params=["fake", "sim", "openstack"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A region under the contract."""
    made = _ground(request)
    yield made
    with contextlib.suppress(CloudError):
        made.clean()


def _ground(request: pytest.FixtureRequest) -> Ground:
    if request.param == "fake":
        return FakeGround()
    if request.param == "sim":
        sim = request.getfixturevalue("sim")
        return OpenStackGround(sim.clouds_file, SIM_REGION, SIM_NAMES)
    return OpenStackGround(request.getfixturevalue("lab"), REGION, Names())


@pytest.fixture
def offer(ground: Ground) -> Offer:
    """Return the smallest that the region offers."""
    return offer_of(ground, ground.names.flavor)


def offer_of(ground: Ground, flavor: str) -> Offer:
    """Return what the region offers with a flavor."""
    offered = ground.cloud.catalogue()
    return Offer(
        region=REGION,
        flavor=next(it for it in offered.flavors if it.name == flavor),
        image=next(it for it in offered.images if it.name == ground.names.image),
        network=next(it for it in offered.networks if it.name == ground.names.network),
    )


def order_of(ground: Ground, offer: Offer, **more: Any) -> ServerOrder:
    """Return an order for a server of an instance of its own."""
    labels, made_ms, until_ms = {"job": "7", "stage": "a b"}, 1_700_000_000_123, 4_000_000_000_456
    identity = Identity("repo:müller/x, y", "ci", labels, made_ms, until_ms)
    of = {"fleet": ground.fleet, "instance_id": f"i-{ULID()}", "attempt": 3}
    said = {name: more.pop(name) for name in Identity._fields if name in more}
    marks = Marks(**{**of, "identity": identity._replace(**said), **more})
    return ServerOrder(marks=marks, offer=offer)


def with_keypair(marks: Marks) -> Marks:
    """Return marks that say that there is a keypair."""
    return marks._replace(identity=marks.identity._replace(has_keypair=True))


def found(ground: Ground, server_id: str) -> Server | None:
    """Return a server as the survey has it."""
    return next((it for it in ground.cloud.survey().servers if it.id == server_id), None)


def until(ground: Ground, holds: Callable[[], Any]) -> Any:
    """Return what becomes true when time passes, or fail."""
    end = time.monotonic() + WITHIN_S
    while not (value := holds()):
        assert time.monotonic() < end
        ground.rest()
    return value


def test_a_region_tells_its_security_groups_by_their_ids(ground: Ground) -> None:
    groups = ground.cloud.security_groups()
    assert "default" in groups.values()
    assert all(groups)


# ---------------------------------------------------------------- a life


def test_a_server_is_born_seen_marked_anew_and_gone(ground: Ground, offer: Offer) -> None:
    """One server for the whole life, as each costs the laboratory seconds."""
    order = order_of(ground, offer, note=("ñ€“ " * NOTE_CHARS)[: NOTE_CHARS - 1] + "!")
    marks = with_keypair(order.marks)
    order = order._replace(marks=marks, ssh_public_key=SSH_KEY, user_data="#!/bin/sh\n")
    server_id = ground.cloud.create(order)
    name = f"oms-{ground.fleet}-{marks.instance_id}-{marks.attempt}-"
    assert any(it.startswith(name) for it in ground.keypairs())

    seen = until(ground, lambda: found(ground, server_id))
    assert seen.marks == marks
    assert seen.status in (Status.BUILD, Status.ACTIVE)
    assert seen.need == Resources(instances=1, vcpus=1, ram_mb=512)
    assert seen.image == offer.image.id
    assert seen.flavor == offer.flavor.name

    active = until(ground, lambda: (it := ground.cloud.show(server_id)) and it.addresses and it)
    assert (active.status, active.fault) == (Status.ACTIVE, None)
    assert {it.version for it in active.addresses} <= {4, 6}
    assert found(ground, server_id) == active
    assert active in ground.cloud.active()

    until_ms = marks.identity.expires_at_ms + 60000
    later = marks._replace(identity=marks.identity._replace(expires_at_ms=until_ms))
    ground.cloud.mark(server_id, later)
    assert until(ground, lambda: found(ground, server_id)).marks == later

    ground.cloud.delete(server_id, marks.attempted)
    until(ground, lambda: ground.cloud.show(server_id) is None)
    assert found(ground, server_id) is None
    assert not any(it.startswith(name) for it in ground.keypairs())
    ground.cloud.delete(server_id, marks.attempted)  # gone is no error
    with pytest.raises(CloudError) as refusal:
        ground.cloud.mark(server_id, later)
    assert not isinstance(refusal.value, Unreachable)  # nor is it an outage


def test_a_server_can_be_deleted_while_it_is_built(ground: Ground, offer: Offer) -> None:
    server_id = ground.cloud.create(order_of(ground, offer))
    ground.cloud.delete(server_id)
    until(ground, lambda: ground.cloud.show(server_id) is None)
    assert found(ground, server_id) is None


def test_what_never_was_is_not_shown_and_may_be_deleted(ground: Ground) -> None:
    assert ground.cloud.show(NOWHERE) is None
    ground.cloud.delete(NOWHERE, Attempted("i-none", 1))


# ---------------------------------------------------------------- others


def test_servers_of_others_and_of_another_fleet_are_foreign_and_counted(
    ground: Ground, offer: Offer
) -> None:
    foreign = ground.add_foreign(offer)
    others = ground.cloud.create(order_of(ground, offer, fleet="another"))
    for server_id in (foreign, others):
        seen = until(ground, lambda it=server_id: found(ground, it))
        assert seen.marks is None
        assert seen.need == Resources(instances=1, vcpus=1, ram_mb=512)
    ground.cloud.delete(others)
    until(ground, lambda: ground.cloud.show(others) is None)
    assert found(ground, foreign)


# ---------------------------------------------------------------- refusals


def test_the_quota_is_known_and_who_is_over_it_is_refused(ground: Ground) -> None:
    quota = ground.cloud.survey().quota
    assert quota == Resources(instances=20, vcpus=1000, ram_mb=4_000_000)
    order = order_of(ground, offer_of(ground, "too.big"))  # 2000 vCPUs
    with pytest.raises(RegionFull):
        ground.cloud.create(order)
    assert not _made(ground, order)


@pytest.mark.parametrize("what", ["flavor", "image", "network"])
def test_what_is_offered_no_more_is_refused_as_stale(
    ground: Ground, offer: Offer, what: str
) -> None:
    gone = getattr(offer, what)._replace(id=NOWHERE)
    order = order_of(ground, offer._replace(**{what: gone}))
    marks = with_keypair(order.marks)
    order = order._replace(marks=marks, ssh_public_key=SSH_KEY)
    with pytest.raises(CatalogueStale):
        ground.cloud.create(order)
    assert not _made(ground, order)
    assert not any(marks.instance_id in it for it in ground.keypairs())


@pytest.fixture(params=["fake", "sim"])
def narrow(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A region that allows no keypair, and no label beside our own marks."""
    if request.param == "fake":
        made = FakeGround()
        made.fake.keypair_quota, made.fake.metadata_items = 0, 3
        yield made
        return
    with request.getfixturevalue("start_sim")(
        request.getfixturevalue("tmp_path"), "--keypairs", "0", "--metadata-items", "3"
    ) as sim:
        yield OpenStackGround(sim.clouds_file, SIM_REGION, SIM_NAMES)


def test_an_order_of_a_kind_that_is_not_served_is_unsuitable_and_others_are_served(
    narrow: Ground,
) -> None:
    offer = offer_of(narrow, narrow.names.flavor)
    plain = order_of(narrow, offer, labels={})
    marks = with_keypair(plain.marks)
    keyed = plain._replace(marks=marks, ssh_public_key=SSH_KEY)
    labelled = order_of(narrow, offer, labels={"a": "b"})
    for order, about in ((keyed, ("keyed",)), (labelled, ("metadata",))):
        with pytest.raises(Unsuitable) as refusal:
            narrow.cloud.create(order)
        assert refusal.value.about == about
        assert not _made(narrow, order)
    assert narrow.cloud.create(plain)


def test_an_order_whose_time_is_over_is_not_sent(ground: Ground, offer: Offer) -> None:
    order = order_of(ground, offer)
    with pytest.raises(TooLate):
        ground.cloud.create(order, not_after=time.monotonic() - 0.001)
    assert not _made(ground, order)


def _made(ground: Ground, order: ServerOrder) -> Sequence[Server]:
    return [it for it in ground.cloud.survey().servers if it.marks == order.marks]


# ---------------------------------------------------------------- what is offered


def test_a_catalogue_names_what_servers_are_made_of(ground: Ground) -> None:
    offered = ground.cloud.catalogue()
    assert offered.flavors
    assert offered.images
    assert offered.networks
    for kind in (offered.flavors, offered.images, offered.networks):
        assert len({it.id for it in kind}) == len(kind)
    assert all(it.vcpus > 0 and it.ram_mb > 0 for it in offered.flavors)
    outer = {it.name for it in offered.networks if it.external and not it.shared}
    assert "public" not in {it.name for it in offered.networks} - outer  # no server can be on it


@pytest.mark.parametrize(
    ("region", "flavors", "images", "networks"),
    [
        ("alpha/RegionOne", {"m1.tiny", "m1.small"}, {"debian-12", "ubuntu-24.04"}, {"ci-net"}),
        (
            "alpha/RegionTwo",
            {"c2.xsmall", "c2.small"},
            {"Debian Bookworm [2026-10]", "Ubuntu Noble 24.04 LTS [2026-10]"},
            {"shared-net", "storage-net"},
        ),
    ],
)
def test_each_region_of_one_login_has_a_catalogue_of_its_own(
    lab: Path, region: str, flavors: set[str], images: set[str], networks: set[str]
) -> None:
    offered = OpenStackClouds(lab, REGIONS, fleet="f").region(region).catalogue()
    assert flavors <= {it.name for it in offered.flavors}
    assert images == {it.name for it in offered.images}
    assert networks == {it.name for it in offered.networks if not it.external}
    sizes = {it.name: (it.vcpus, it.ram_mb) for it in offered.flavors}
    assert all(vcpus >= 1 and ram_mb >= 512 for vcpus, ram_mb in sizes.values())


def test_clouds_know_their_regions_and_open_nothing_before_they_are_used(tmp_path: Path) -> None:
    clouds = OpenStackClouds(tmp_path / "is-not-there.yaml", REGIONS, fleet="f")
    assert list(clouds.names()) == list(REGIONS)
    cloud = clouds.region(REGION)
    assert clouds.region(REGION) is cloud
    with pytest.raises(CloudError):
        cloud.survey()
