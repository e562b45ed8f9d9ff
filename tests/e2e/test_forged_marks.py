"""Somebody in the same project writes or copies our servers' marks, on the real OpenStack."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.product import Product

HERE, THERE = "alpha/RegionOne", "beta/RegionOne"
ODD = ("1e20", "-1", "0x10", "1_000", "\uff11\uff12", "inf", "nan", "1.5", "", "1" * 200, "9" * 20)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP me"


class Stranger:
    """Somebody else with a login there."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._made: list[tuple[str, str]] = []

    def make(self, region: str, name: str, metadata: Mapping[str, str]) -> str:
        """Make a server and return its id once it is ACTIVE."""
        compute, network = self._product.cloud(region).compute, self._product.cloud(region).network
        flavor = next(it.id for it in compute.flavors() if it.ram == 512)
        images = self._product.cloud(region).image.images()
        image = next(it.id for it in images if it.os_distro == "debian")
        net = next(it.id for it in network.networks() if not it.is_router_external)
        server = compute.create_server(
            name=name, flavor_id=flavor, image_id=image, networks=[{"uuid": net}], metadata=metadata
        )
        self._made.append((region, server.id))
        compute.wait_for_server(server, wait=120)
        return str(server.id)

    def leave(self) -> None:
        """Delete all that was made."""
        for region, server_id in self._made:
            self._product.cloud(region).compute.delete_server(server_id)
        for region, server_id in self._made:
            self._product.until(
                lambda region=region, it=server_id: it not in self._product.servers(region)
            )


@pytest.fixture
def stranger(product: Product) -> Iterator[Stranger]:
    """Somebody else, whose servers are gone after the test."""
    it = Stranger(product)
    yield it
    it.leave()


@pytest.fixture
def real(product: Product) -> dict[str, Any]:
    """An instance of `ada` that is ACTIVE in HERE."""
    (made,) = product.create(owner="ada", regions=[HERE], labels={"run": "7"}, name="kept")
    product.until_active([made["id"]], owner="ada")
    return dict(product.show(made["id"], "ada"))


def assert_untouched(product: Product, real: Mapping[str, Any], **foreign: int) -> None:
    """The instance is as it was, its owner's, and whatever else is there counts as foreign."""
    for _ in range(2):
        assert {it["outcome"] for it in product.sweep().values()} == {"swept"}
    now = product.show(real["id"], "ada")
    changing = ("updated_at", "queue")
    assert {k: v for k, v in now.items() if k not in changing} == {
        k: v for k, v in real.items() if k not in changing
    }
    assert product.servers(HERE)[real["server_id"]].status == "ACTIVE"
    assert [it["id"] for it in product.instances("ada")] == [real["id"]]
    regions = product.regions()
    assert (regions[HERE]["held"], regions[THERE]["held"]) == (1, 0)
    assert (regions[HERE]["foreign"], regions[THERE]["foreign"]) == (
        foreign.get("here", 0),
        foreign.get("there", 0),
    )


def test_marks_that_are_copied_take_nothing_over_and_are_counted(
    product: Product, stranger: Stranger, real: dict[str, Any]
) -> None:
    """In the same region a copy, in another one signed for nothing; only an operator ends it."""
    own = product.servers(HERE)[real["server_id"]]
    copy = stranger.make(HERE, own.name, own.metadata)
    stranger.make(THERE, own.name, own.metadata)
    assert_untouched(product, real, here=1, there=1)
    told = product.regions()
    assert told[HERE]["strangers"] == {"copy": 1}
    assert told[THERE]["strangers"] == {"unverified": 1}
    product.oms("destroy", "--copy", copy)
    product.until(lambda: copy not in product.servers(HERE))
    assert_untouched(product, real, here=0, there=1)


def test_marks_that_are_changed_are_nobodys(
    product: Product, stranger: Stranger, real: dict[str, Any]
) -> None:
    """A higher attempt, another owner, and 11 odd numbers for each of three fields."""
    own = product.servers(HERE)[real["server_id"]]
    fields = own.metadata["oms_marks"].split(" ")
    higher = " ".join([*fields[:3], "2", *fields[4:]])
    server = stranger.make(HERE, own.name, own.metadata | {"oms_marks": higher})
    elsewhere = stranger.make(THERE, "x", own.metadata | {"oms_marks": higher})
    assert_untouched(product, real, here=1, there=1)
    compute = product.cloud(THERE).compute
    compute.set_server_metadata(elsewhere, **(own.metadata | {"oms_owner": "eve"}))
    assert_untouched(product, real, here=1, there=1)
    assert product.instances("eve") == []
    used = product.ledger().usage(["ada", "eve"])
    assert (used["ada"].instances, used["eve"].instances) == (1, 0)
    here = product.cloud(HERE).compute
    for at, odd in ((at, odd) for odd in ODD for at in (3, 4, 5)):
        written = " ".join([*fields[:at], odd, *fields[at + 1 :]])
        here.set_server_metadata(server, oms_marks=written[:255])
        swept = product.sweep()
        assert {it["outcome"] for it in swept.values()} == {"swept"}, (at, odd)
        assert product.call("GET", "/instances", owner="ada").status_code == 200
    assert_untouched(product, real, here=1, there=1)


def test_never_over_a_copy_takes_its_place_of_a_region_that_is_full(
    product: Product, stranger: Stranger, real: dict[str, Any]
) -> None:
    """The quota is of 20 servers; were the copy not counted, a create would find no room there."""
    own = product.servers(HERE)[real["server_id"]]
    stranger.make(HERE, own.name, own.metadata)
    product.sweep()
    free = product.regions()[HERE]["free"]
    assert free == product.regions()[HERE]["cap"] - 2
    made = product.create(free, owner="ada", regions=[HERE])
    order = {"count": 1, "image": "debian-12", "size": "tiny", "regions": [HERE]}
    refused = product.call("POST", "/instances", owner="ada", json=order)
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (
        503,
        "capacity-exhausted",
    )
    product.until_active([it["id"] for it in made], owner="ada")
    there = [it.status for it in product.servers(HERE).values()]
    assert there == ["ACTIVE"] * product.regions()[HERE]["cap"]
    assert [it["attempt"] for it in product.instances("ada")] == [1] * (free + 1)


def test_with_the_ledger_lost_the_oldest_of_the_same_marks_is_the_instances(
    product: Product, stranger: Stranger, real: dict[str, Any]
) -> None:
    own = product.servers(HERE)[real["server_id"]]
    stranger.make(HERE, own.name, own.metadata)
    product.forget()
    for _ in range(2):
        product.sweep()
    found = product.show(real["id"], "ada")
    assert (found["server_id"], found["name"], found["labels"]) == (
        real["server_id"],
        "kept",
        {"run": "7"},
    )
    assert [it["id"] for it in product.instances("ada")] == [real["id"]]
    regions = product.regions()
    assert (regions[HERE]["held"], regions[HERE]["foreign"]) == (1, 1)


def test_marks_that_somebody_saved_bring_nothing_back(
    product: Product, stranger: Stranger, real: dict[str, Any]
) -> None:
    """They delete the server with their own login, and make one like it afterwards."""
    own = product.servers(HERE)[real["server_id"]]
    product.cloud(HERE).compute.delete_server(own.id)
    product.until(lambda: own.id not in product.servers(HERE))
    product.until(lambda: product.sweep() and not product.instances("ada"))
    saved = stranger.make(HERE, own.name, own.metadata)
    for _ in range(2):
        product.sweep()
    assert product.instances("ada") == []
    region = product.regions()[HERE]
    assert (region["held"], region["foreign"], region["strangers"]) == (0, 1, {"copy": 1})
    assert product.servers(HERE)[saved].status == "ACTIVE"


def test_a_key_pair_of_somebody_else_outlives_an_instance(product: Product) -> None:
    """Its own goes with it; one whose name differs in one character of the signature stays."""
    (made,) = product.create(owner="ada", regions=[HERE], ssh_public_key=KEY)
    product.until_active([made["id"]], owner="ada")
    server_id = product.show(made["id"], "ada")["server_id"]
    own = str(product.servers(HERE)[server_id].name)
    theirs = {"laptop", own[:-1] + ("B" if own.endswith("A") else "A")}
    compute = product.cloud(HERE).compute
    for name in theirs:
        compute.create_keypair(name=name, public_key=KEY)
    try:
        product.call("DELETE", f"/instances/{made['id']}", owner="ada")
        product.until(lambda: server_id not in product.servers(HERE))
        for _ in range(2):
            product.sweep()
        assert {it.name for it in compute.keypairs()} & {own, *theirs} == theirs
    finally:
        for name in theirs:
            compute.delete_keypair(name)


def test_marks_under_anothers_idempotency_key_answer_no_command(
    product: Product, stranger: Stranger
) -> None:
    """With the ledger lost the key is known by the marks of its own instance alone."""
    order = {"count": 1, "image": "debian-12", "size": "tiny", "regions": [HERE]}
    more: dict[str, Any] = {"owner": "ada", "headers": {"Idempotency-Key": "nightly"}}
    (made,) = product.call("POST", "/instances", json=order, **more).json()["instances"]
    product.until_active([made["id"]], owner="ada")
    own = product.servers(HERE)[product.show(made["id"], "ada")["server_id"]]
    fields = own.metadata["oms_marks"].split(" ")
    written = " ".join([*fields[:2], "i-" + "0" * 26, *fields[3:]])
    stranger.make(HERE, "x", own.metadata | {"oms_marks": written})
    product.forget()
    for _ in range(2):
        product.sweep()
    again = product.call("POST", "/instances", json=order, **more).json()["instances"]
    assert [it["id"] for it in again] == [made["id"]]
