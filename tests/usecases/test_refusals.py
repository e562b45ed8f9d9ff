"""What a simulated cloud refuses: the order goes elsewhere, and no other order feels it."""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml
from ulid import ULID

from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.domain.errors import Invalid, NoRegionReady
from openmultistack.domain.models import Resources
from openmultistack.fleet.config import FleetFile
from tests.support.house import House

ONE, TWO = "p1/RegionOne", "p1/RegionTwo"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
RSA = "ssh-rsa " + base64.b64encode(b"\x00\x00\x00\x07ssh-rsa" + bytes(64)).decode()
SMALL = {"image": "debian-12", "size": "m1.tiny"}


class Simulated:
    """Two regions of the simulation with a fleet over them; `change`s are of the first."""

    def __init__(self, make_house: Callable[..., House], http: httpx.Client, sim: Any) -> None:
        self._make_house = make_house
        self._http = http
        self._sim = sim

    def change(self, **conduct: int) -> None:
        """Have the first region behave otherwise."""
        self._http.patch(f"{self._sim.url}/sim/regions/{ONE}", json=conduct).raise_for_status()

    def offer(self, **changes: Any) -> None:
        """Have the first region offer something else."""
        place = f"{self._sim.url}/sim/regions/{ONE}/offered"
        self._http.patch(place, json=changes).raise_for_status()

    def add_foreign(self, flavor: str) -> None:
        """Make a server of somebody else's."""
        place = f"{self._sim.url}/sim/regions/{ONE}/servers"
        self._http.post(place, json={"flavor": flavor}).raise_for_status()

    def posts(self) -> int:
        """Return how many POSTs of servers the first region had."""
        stats = self._http.get(f"{self._sim.url}/sim/stats").json()
        return int(stats["regions"][ONE]["posts"])

    def house(self, *, clouds_file: Path | None = None, swept: bool = True, **rule: Any) -> House:
        """Return a fleet over both; `rule` is what fleet.yaml says of the first."""
        names = {name: tuple(name.split("/")) for name in (ONE, TWO)}
        fleet = f"t-{ULID()}"
        opened = OpenStackClouds(
            clouds_file or self._sim.clouds_file, names, fleet=fleet, keys=lambda: KEYRING
        )
        return self._make_house(
            {ONE: 0, TWO: 0},
            swept=swept,
            fleet_name=fleet,
            clouds={name: opened.region(name) for name in names},
            file=FleetFile.model_validate({"regions": {ONE: rule}} if rule else {}),
        )

    def clouds_file(self, to: Path, **more: Any) -> Path:
        """Write the simulation's clouds.yaml with more said of the provider."""
        document = yaml.safe_load(self._sim.clouds_file.read_text())
        document["clouds"]["p1"] |= more
        to.write_text(yaml.safe_dump(document))
        return to


@pytest.fixture
def simulated(make_house: Any, sim: Any) -> Iterator[Simulated]:
    """Return a simulation in which nothing has happened."""
    with httpx.Client(timeout=30) as http:
        http.post(f"{sim.url}/sim/reset").raise_for_status()
        yield Simulated(make_house, http, sim)
        http.post(f"{sim.url}/sim/reset").raise_for_status()


def create(house: House, *regions: str, **more: Any) -> Any:
    """Create an instance, by preference in the first region."""
    wanted = SMALL | {"regions": regions or (ONE, TWO), "strategy": "priority"} | more
    return house.one(**wanted)


def read_again(house: House) -> None:
    """Have the first region's catalogue be read by its next sweep, and sweep it."""
    house.redis.hdel(house.keys.region(ONE), "catalogue_at_ms")
    house.sweep(ONE)


class Refusal(NamedTuple):
    """What the first region refuses: how it comes to that, which order, and what it says."""

    change: Mapping[str, int] = {}
    offer: Mapping[str, Any] = {}
    rule: Mapping[str, Any] = {}
    order: Mapping[str, Any] = {}
    # Another order, which is taken there; None: there is none.
    other: Mapping[str, Any] | None = None
    said: str = ""


REFUSALS = {
    "metadata items, 4 allowed": Refusal(
        change={"metadata_items": 4},
        order={"labels": {"a": "1", "b": "2"}},
        other={"labels": {"a": "1"}},
        said="403: Maximum number of metadata items exceeds 4 (fewer labels, or no note, may do",
    ),
    "metadata items, 2 allowed": Refusal(
        change={"metadata_items": 2}, said="403: Maximum number of metadata items exceeds 2"
    ),
    "key pair quota": Refusal(
        change={"keypairs": 0},
        order={"ssh_public_key": ED25519},
        other={},
        said="403: Quota exceeded, too many key pairs. (without a key it goes there)",
    ),
    "key type": Refusal(
        change={"ed25519": 0},
        order={"ssh_public_key": ED25519},
        other={"ssh_public_key": RSA},
        said="400: Keypair data is invalid: failed to generate fingerprint (it takes no key",
    ),
    "zero disk": Refusal(
        offer={"flavors": {"m1.tiny": {"disk_gb": 0}}},
        other={"size": "m1.small"},
        said="403: Only volume-backed servers are allowed for flavors with zero disk. (a size",
    ),
    "min disk": Refusal(
        offer={"images": {"debian-12": {"min_disk_gb": 30}}},
        other={"size": "m1.medium"},
        said="400: Flavor's disk is smaller than the minimum size specified in image metadata.",
    ),
    "local disks": Refusal(
        offer={"images": {"debian-12": {"local_disks": 1}}},
        other={"image": "ubuntu-24.04"},
        said="400: Block Device Mapping is Invalid: You specified more local devices than",
    ),
    "external network": Refusal(
        rule={"network": "public"},
        said="403: It is not allowed to create an interface on external network",
    ),
    "security group": Refusal(
        rule={"security_groups": ("nope",)},
        said="400: Unable to find security_group with name or id 'nope' (fleet.yaml names",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_an_order_that_does_not_suit_a_region_goes_elsewhere_and_no_other_order_feels_it(
    simulated: Simulated, name: str
) -> None:
    refusal = REFUSALS[name]
    house = simulated.house(**refusal.rule)
    simulated.change(**refusal.change)
    simulated.offer(**refusal.offer)

    made = create(house, **refusal.order)
    assert (made.region, made.attempt) == (TWO, 2)
    assert refusal.said in house.ledger.events(made.id)[1]["why"]
    state = house.state(ONE)
    assert (state.state, state.full, state.held) == ("up", False, Resources())

    asked = simulated.posts()
    again = create(house.another(), **refusal.order)  # in any process
    assert (again.region, again.attempt, simulated.posts()) == (TWO, 1, asked)
    with pytest.raises(Invalid) as told:
        create(house, ONE, **refusal.order)
    assert refusal.said in told.value.members()["regions"][ONE]
    if refusal.other is not None:
        other = create(house, owner="bob", **refusal.other)
        assert (other.region, other.attempt) == (ONE, 1)


@pytest.mark.parametrize("name", REFUSALS)
def test_when_all_refuse_the_answer_says_what_each_said(simulated: Simulated, name: str) -> None:
    refusal = REFUSALS[name]
    house = simulated.house(**refusal.rule)
    simulated.change(**refusal.change)
    simulated.offer(**refusal.offer)
    for more in ({}, {"partial": True, "count": 3}, {"on_full": "queue", "count": 2}):
        house.redis.delete(house.keys.refused(ONE), house.keys.unsuited)  # nothing is known yet
        wanted = {"image": "debian-12", "size": "m1.tiny", "regions": [ONE]}
        with pytest.raises(Invalid, match="no region takes this order") as told:
            house.create(**wanted | dict(refusal.order) | {"count": 1} | more)
        assert refusal.said in told.value.members()["regions"][ONE]
    assert house.ledger.queue() == []
    assert house.held() == {ONE: 0, TWO: 0}


def test_what_a_region_refused_is_asked_anew_when_its_catalogue_is_read(
    simulated: Simulated,
) -> None:
    house = simulated.house()
    simulated.change(keypairs=0)
    assert create(house, ssh_public_key=ED25519).region == TWO
    simulated.change(keypairs=10)
    assert create(house, ssh_public_key=ED25519).region == TWO
    read_again(house)
    assert create(house, ssh_public_key=ED25519).region == ONE


@pytest.mark.parametrize(
    "changes",
    [
        {"images": {"debian-12": {"replaced": True}}},
        {"networks": {"ci-net": {"replaced": True}}},
        {"flavors": {"m1.tiny": {"replaced": True}}},
    ],
    ids=lambda it: next(iter(it)),
)
def test_what_was_replaced_under_its_name_is_found_in_the_same_request(
    simulated: Simulated, changes: Mapping[str, Any]
) -> None:
    house = simulated.house()
    simulated.offer(**changes)
    made = create(house, ONE, ssh_public_key=ED25519)
    assert (made.region, made.attempt) == (ONE, 1)
    assert create(house.another(), ONE).attempt == 1
    assert simulated.posts() == 3


def test_a_flavor_that_is_disabled_is_no_longer_offered(simulated: Simulated) -> None:
    house = simulated.house()
    simulated.offer(flavors={"m1.tiny": {"disabled": True}})
    assert create(house).region == TWO
    asked = simulated.posts()
    assert create(house).attempt == 1
    assert simulated.posts() == asked
    assert create(house, size="m1.small").region == ONE


# ---------------------------------------------------------------- networks


def test_an_external_network_that_is_shared_takes_servers_by_name(simulated: Simulated) -> None:
    simulated.offer(networks={"public": {"shared": True}})
    house = simulated.house(network="public")
    assert create(house).region == ONE


def test_an_external_network_that_is_shared_is_taken_where_there_is_no_other(
    simulated: Simulated,
) -> None:
    simulated.offer(networks={"public": {"shared": True}, "ci-net": {"external": True}})
    house = simulated.house()
    assert create(house).region == ONE


# ---------------------------------------------------------------- old clouds, missing services


def test_a_nova_of_2_1_takes_keys_and_tells_the_size_of_servers(simulated: Simulated) -> None:
    simulated.change(newest_minor=1)
    simulated.add_foreign("m1.medium")
    house = simulated.house()
    assert house.state(ONE).foreign == Resources(instances=1, vcpus=2, ram_mb=4096)
    made = create(house, ONE, ssh_public_key=ED25519)
    house.sweep(ONE)
    assert house.state(ONE).held == Resources(instances=1, vcpus=1, ram_mb=512)
    found = house.clouds[ONE].show(house.get(made).server_id)
    assert (found.flavor, found.need.ram_mb) == ("m1.tiny", 512)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"absent": ["network"]}, "the service catalog has no network service for this"),
        ({"absent": ["image"]}, "the service catalog has no image service for this"),
        ({"broken": ["network"]}, "the network service: 503"),
        ({"broken": ["image"]}, "the image service: "),
        ({"absent": ["compute"]}, "the service catalog has no compute service"),
    ],
)
def test_a_service_that_is_missing_is_named(
    simulated: Simulated, changes: Mapping[str, Any], said: str
) -> None:
    simulated.offer(**changes)
    house = simulated.house(swept=False)
    swept = house.reaping.sweep(ONE)
    assert swept["outcome"] == "failed"
    assert said in swept["error"]
    with pytest.raises(NoRegionReady) as told:
        create(house, ONE)
    assert said in told.value.regions[ONE]


def test_without_the_network_service_what_does_not_need_it_goes_on(simulated: Simulated) -> None:
    house = simulated.house()
    made = create(house, ONE)
    house.sweep(ONE)
    simulated.offer(broken=["network"])
    house.destroy(made)
    house.redis.hdel(house.keys.region(ONE), "catalogue_at_ms")
    until = time.monotonic() + 20
    while house.held()[ONE]:
        assert time.monotonic() < until
        swept = house.reaping.sweep(ONE)
        assert "the network service: 503" in swept["error"]
        time.sleep(0.1)
    assert house.state(ONE).state == "down"
    simulated.offer(broken=[])
    house.sweep(ONE)
    assert house.state(ONE).state == "up"


def test_where_clouds_yaml_says_that_there_is_no_neutron_no_network_is_said(
    simulated: Simulated, tmp_path: Path
) -> None:
    simulated.offer(absent=["network"])
    file = simulated.clouds_file(tmp_path / "clouds.yaml", has_network=False)
    house = simulated.house(clouds_file=file)
    made = create(house, ONE)
    assert (made.region, made.attempt) == (ONE, 1)
