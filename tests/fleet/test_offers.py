"""What a request means in each region, and how a region that cannot serve says why."""

import fnmatch
import random
import time
from collections.abc import Mapping, Sequence

import pytest

from openmultistack.domain.commands import SizeWanted
from openmultistack.domain.errors import Invalid, NoRegionReady
from openmultistack.domain.models import Catalogue, Flavor, Image, Network, Offer
from openmultistack.fleet.config import Fleet, FleetFile, Region, RegionRule
from openmultistack.fleet.offers import Offers, nearest, offers, regions_matching

NAMES = ("alpha/One", "alpha/Two", "beta/One")


def fleet_of(file: Mapping[str, object] | None = None, **rules: RegionRule) -> Fleet:
    """Return a fleet of three regions; rules are named `alpha_One`."""
    return Fleet(
        regions={
            name: Region(
                name=name,
                provider=name.partition("/")[0],
                region=name.partition("/")[2],
                rule=rules.get(name.replace("/", "_"), RegionRule()),
            )
            for name in NAMES
        },
        file=FleetFile.model_validate(file or {}),
    )


def flavor(name: str, vcpus: int = 1, ram_mb: int = 1024, disk_gb: int = 10) -> Flavor:
    """Return a flavor whose id is not its name."""
    return Flavor(id=f"id-{name}", name=name, vcpus=vcpus, ram_mb=ram_mb, disk_gb=disk_gb)


def image(name: str, created_at: str = "", **more: object) -> Image:
    """Return an image whose id is not its name."""
    return Image(id=f"id-{name}-{created_at}", name=name, created_at=created_at, **more)


def network(name: str = "private", *, shared: bool = False) -> Network:
    """Return a network whose id is not its name."""
    return Network(id=f"id-{name}", name=name, shared=shared)


def catalogue(
    flavors: Sequence[Flavor] = (flavor("m1.small"),),
    images: Sequence[Image] = (image("debian"),),
    networks: Sequence[Network] = (network(),),
) -> Catalogue:
    """Return a region's catalogue; without arguments one that serves `debian` on `m1.small`."""
    return Catalogue(flavors=tuple(flavors), images=tuple(images), networks=tuple(networks))


def ask(
    fleet: Fleet,
    catalogues: Mapping[str, Catalogue],
    wanted: str = "debian",
    size: str | SizeWanted = "m1.small",
) -> Offers:
    """Return the offers of every region of the fleet."""
    return offers(fleet, fleet.regions.values(), catalogues, wanted, size)


def only(
    one: Catalogue, wanted: str = "debian", size: str | SizeWanted = "m1.small", **kw: object
) -> Offer:
    """Return the offer of one region that has this catalogue."""
    fleet = fleet_of(kw.get("file"), alpha_One=kw.get("rule", RegionRule()))
    return ask(fleet, {"alpha/One": one}, wanted, size).able[0]


# ------------------------------------------------------------------ network


def outer(name: str = "public", *, shared: bool = False) -> Network:
    """Return a network that leads out of the cloud."""
    return network(name, shared=shared)._replace(external=True)


@pytest.mark.parametrize(
    ("networks", "chosen"),
    [
        ([network(), outer()], "private"),
        ([network(), outer(shared=True)], "private"),
        ([network("all", shared=True), outer(shared=True)], "all"),
        ([outer("a"), outer("b", shared=True)], "b"),
    ],
)
def test_a_network_that_leads_out_is_taken_by_itself_only_if_shared_and_alone(
    networks: Sequence[Network], chosen: str
) -> None:
    assert only(catalogue(networks=networks)).network.name == chosen


def test_a_network_that_leads_out_alone_is_none_to_choose() -> None:
    with pytest.raises(Invalid) as refusal:
        only(catalogue(networks=[outer()]))
    assert "name one in fleet.yaml" in refusal.value.members()["regions"]["alpha/One"]


@pytest.mark.parametrize("shared", [False, True])
def test_a_network_that_leads_out_may_be_named(*, shared: bool) -> None:
    one = catalogue(networks=[network(), outer(shared=shared)])
    assert only(one, rule=RegionRule(network="public")).network.name == "public"


# ------------------------------------------------------------------ image


@pytest.mark.parametrize("wanted", ["debian", "id-debian-"])
def test_an_image_is_found_by_its_exact_name_or_id(wanted: str) -> None:
    one = catalogue(images=[image("debian-old"), image("debian"), image("Debian")])
    assert only(one, wanted).image.name == "debian"


def test_the_newest_image_of_a_name_wins() -> None:
    dated = [image("debian", f"2024-0{month}-01") for month in (3, 9, 1)]
    assert only(catalogue(images=dated)).image.created_at == "2024-09-01"


def test_a_logical_image_means_something_else_in_each_region() -> None:
    rule = {"alpha/*": "Debian 12*", "beta/*": {"os_distro": "debian", "os_version": "12"}}
    debian = {"os_distro": "debian", "os_version": "12"}
    found = ask(
        fleet_of({"images": {"debian-12": rule}}),
        {
            "alpha/One": catalogue(images=[image("Debian 12.1", "1"), image("Debian 12.5", "5")]),
            "alpha/Two": catalogue(images=[image("debian 12 lower case")]),
            "beta/One": catalogue(
                images=[
                    image("x", properties=debian),
                    image("y", "9", properties=debian | {"os_version": "11"}),
                    image("z", "9"),
                ]
            ),
        },
        "debian-12",
    )
    assert {it.region: it.image.name for it in found.able} == {
        "alpha/One": "Debian 12.5", "beta/One": "x",
    }  # fmt: skip
    assert found.unable == {"alpha/Two": "has no image debian-12"}


def test_name_and_properties_of_an_image_rule_both_count() -> None:
    rule = {"*": {"name": "deb*", "properties": {"arch": "x86_64"}}}
    images = [
        image("deb-arm", "3", properties={"arch": "arm64"}),
        image("other", "2", properties={"arch": "x86_64"}),
        image("deb", "1", properties={"arch": "x86_64"}),
    ]
    file = {"images": {"debian": rule}}
    assert only(catalogue(images=images), file=file).image.name == "deb"


def test_a_logical_name_hides_an_image_of_that_very_name() -> None:
    file = {"images": {"debian": {"*": "real"}}}
    one = catalogue(images=[image("debian", "9"), image("real", "1")])
    assert only(one, file=file).image.name == "real"


def test_a_region_that_a_logical_image_does_not_speak_of_cannot_serve() -> None:
    fleet = fleet_of({"images": {"debian": {"alpha/One": "debian"}}})
    found = ask(fleet, dict.fromkeys(NAMES, catalogue()))
    assert [it.region for it in found.able] == ["alpha/One"]
    assert found.unable["beta/One"] == "fleet.yaml says nothing of image debian here"


# ------------------------------------------------------------------ size


@pytest.mark.parametrize("size", ["m1.small", "id-m1.small"])
def test_a_flavor_is_found_by_its_exact_name_or_id(size: str) -> None:
    one = catalogue([flavor("m1.small.ssd"), flavor("m1.small", vcpus=8)])
    assert only(one, size=size).flavor.vcpus == 8


FLAVORS = (
    flavor("big", 8, 16384, 80),
    flavor("wide", 2, 1024, 10),
    flavor("tall", 1, 4096, 10),
    flavor("deep", 1, 1024, 100),
    flavor("small", 1, 1024, 10),
    flavor("tiny", 1, 512, 1),
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (SizeWanted(vcpus=1), "tiny"),
        (SizeWanted(ram_mb=513), "small"),
        (SizeWanted(ram_mb=1024, disk_gb=10), "small"),
        (SizeWanted(disk_gb=11), "deep"),
        (SizeWanted(ram_mb=1025), "tall"),
        (SizeWanted(vcpus=2), "wide"),
        (SizeWanted(vcpus=3), "big"),
        (SizeWanted(vcpus=2, ram_mb=2048), "big"),
    ],
)
def test_the_smallest_flavor_that_satisfies_a_requirement_is_taken(
    wanted: SizeWanted, expected: str
) -> None:
    assert only(catalogue(FLAVORS), size=wanted).flavor.name == expected
    assert only(catalogue(FLAVORS[::-1]), size=wanted).flavor.name == expected


def test_a_logical_size_may_be_a_requirement_or_a_pattern_for_each_region() -> None:
    file = {"sizes": {"small": {"vcpus": 2}, "named": {"alpha/*": "t*"}}}
    assert only(catalogue(FLAVORS), size="small", file=file).flavor.name == "wide"
    assert only(catalogue(FLAVORS), size="named", file=file).flavor.name == "tiny"
    found = ask(fleet_of(file), dict.fromkeys(NAMES, catalogue(FLAVORS)), size="named")
    assert found.unable == {"beta/One": "has no flavor for size named"}


def test_the_image_must_fit_on_the_flavor() -> None:
    demanding = image("debian", min_ram_mb=2000, min_disk_gb=20)
    one = catalogue(FLAVORS, images=[demanding])
    assert only(one, size=SizeWanted(vcpus=1)).flavor.name == "big"
    with pytest.raises(Invalid) as caught:
        only(one, size="small")
    assert caught.value.regions["alpha/One"] == "has no flavor for size small that debian fits on"


# ------------------------------------------------------------------ network


def test_the_only_network_is_taken_and_an_own_one_before_shared_ones() -> None:
    mixed = [network("ext", shared=True), network("mine"), network("ext2", shared=True)]
    assert only(catalogue(networks=mixed)).network.name == "mine"
    assert only(catalogue(networks=[network("ext", shared=True)])).network.name == "ext"


@pytest.mark.parametrize("name", ["ext", "id-ext"])
def test_the_network_that_fleet_yaml_names_is_taken(name: str) -> None:
    mixed = [network("a"), network("b"), network("ext", shared=True)]
    rule = RegionRule(network=name, security_groups=("web",))
    offer = only(catalogue(networks=mixed), rule=rule)
    assert (offer.network.name, offer.security_groups) == ("ext", ("web",))


@pytest.mark.parametrize(
    ("networks", "name", "why"),
    [
        ([], None, "has several networks or none (none): name one in fleet.yaml"),
        (
            [network("a"), network("b")],
            None,
            "has several networks or none (a, b): name one in fleet.yaml",
        ),
        (
            [network("a", shared=True), network("b", shared=True)],
            None,
            "has several networks or none (a, b): name one in fleet.yaml",
        ),
        ([network("a")], "x", "has no networks named x"),
        ([network("x"), Network(id="2", name="x")], "x", "has 2 networks named x"),
    ],
)
def test_a_network_that_cannot_be_told_is_refused_with_the_reason(
    networks: Sequence[Network], name: str | None, why: str
) -> None:
    with pytest.raises(Invalid) as caught:
        only(catalogue(networks=networks), rule=RegionRule(network=name))
    assert caught.value.regions["alpha/One"] == why


# ------------------------------------------------------------------ refusals


def test_an_unknown_image_is_told_with_the_nearest_names() -> None:
    fleet = fleet_of({"images": {"debian-12": {"*": "Debian*"}}})
    seen = dict.fromkeys(NAMES, catalogue(images=[image("ubuntu"), image("debian-11")]))
    with pytest.raises(Invalid) as caught:
        ask(fleet, seen, "debain-12")
    members = caught.value.members()
    assert caught.value.faults == (("/image", "no region has an image 'debain-12'"),)
    assert members["nearest"] == ["debian-12", "debian-11"]
    assert members["regions"] == dict.fromkeys(NAMES, "has no image debain-12")


def test_an_unknown_size_is_told_with_the_nearest_names() -> None:
    fleet = fleet_of({"sizes": {"small": {"vcpus": 1}}})
    with pytest.raises(Invalid) as caught:
        ask(fleet, {"alpha/One": catalogue([flavor("m1.small"), flavor("z9")])}, size="smal")
    assert [pointer for pointer, _ in caught.value.faults] == ["/size"]
    assert caught.value.members()["nearest"] == ["small", "m1.small"]


def test_a_requirement_that_none_meets_is_told_in_its_numbers() -> None:
    with pytest.raises(Invalid, match="at least 99 vCPUs, 1 MB RAM and 0 GB disk") as caught:
        ask(fleet_of(), {"alpha/One": catalogue()}, size=SizeWanted(vcpus=99))
    assert "nearest" not in caught.value.members()


def test_mixed_reasons_are_told_for_each_region() -> None:
    with pytest.raises(Invalid) as caught:
        ask(
            fleet_of(),
            {
                "alpha/One": catalogue(images=[]),
                "alpha/Two": catalogue([]),
                "beta/One": catalogue(networks=[]),
            },
        )
    assert caught.value.faults == (("", "no region has all that this asks for"),)
    said = caught.value.regions
    assert said["alpha/One"] == "has no image debian"
    assert said["alpha/Two"] == "has no flavor for size m1.small"
    assert said["beta/One"].startswith("has several networks or none")


def test_one_region_that_can_serve_is_enough_and_the_others_say_why_not() -> None:
    found = ask(fleet_of(), {"alpha/One": catalogue(), "beta/One": catalogue(images=[])})
    assert [it.region for it in found.able] == ["alpha/One"]
    assert found.unable == {
        "alpha/Two": "has not been looked at yet", "beta/One": "has no image debian",
    }  # fmt: skip


def test_when_none_was_looked_at_yet_the_client_is_to_come_again() -> None:
    with pytest.raises(NoRegionReady) as caught:
        ask(fleet_of(), {})
    assert caught.value.regions == dict.fromkeys(NAMES, "has not been looked at yet")


def test_only_the_regions_asked_for_are_looked_at() -> None:
    fleet = fleet_of()
    asked = regions_matching(fleet, ["beta/*"])
    found = offers(fleet, asked, dict.fromkeys(NAMES, catalogue()), "debian", "m1.small")
    assert [it.region for it in found.able] == ["beta/One"]


# ------------------------------------------------------------------ patterns and near names


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*"], list(NAMES)),
        (["alpha/*"], ["alpha/One", "alpha/Two"]),
        (["alpha"], ["alpha/One", "alpha/Two"]),
        (["beta", "*Two"], ["alpha/Two", "beta/One"]),
        (["*/One", "alpha/One"], ["alpha/One", "beta/One"]),
        (["beta/One", "alpha/Two"], ["alpha/Two", "beta/One"]),
    ],
)
def test_patterns_choose_each_region_once_in_the_fleets_order(
    patterns: Sequence[str], expected: Sequence[str]
) -> None:
    assert [it.name for it in regions_matching(fleet_of(), patterns)] == expected


def test_a_pattern_that_matches_nothing_is_refused_where_it_stands() -> None:
    with pytest.raises(Invalid) as caught:
        regions_matching(fleet_of(), ["*", "alhpa/One"])
    assert caught.value.faults == (("/regions/1", "'alhpa/One' matches no region of the fleet"),)
    assert caught.value.members()["nearest"] == ["alpha/One", "alpha/Two", "beta/One"]


@pytest.mark.parametrize("pattern", ["beta", "beta/*", "beta/One"])
def test_a_pattern_of_disabled_regions_is_refused_for_that(pattern: str) -> None:
    whole = fleet_of()
    regions = dict(whole.regions)
    fleet = whole.model_copy(update={"disabled": {"beta/One": regions.pop("beta/One")}})
    fleet = fleet.model_copy(update={"regions": regions})
    with pytest.raises(Invalid) as caught:
        regions_matching(fleet, [pattern])
    ((_, said),) = caught.value.faults
    assert said == f"'{pattern}' takes nothing new: disabled in fleet.yaml"


def test_near_names_are_found_whatever_their_case() -> None:
    assert nearest("DEBIAN-12", ["debian-12", "Fedora"]) == ["debian-12"]
    assert nearest("debian", ["Debian"]) == ["Debian"]


def test_nothing_near_is_nothing_and_never_more_than_five() -> None:
    assert nearest("qqqq", ["debian", "ubuntu"]) == []
    assert len(nearest("debian-1", [f"debian-{i}" for i in range(20)])) == 5


def test_bounded_near_names_are_found_in_little_work_whatever_is_asked_for() -> None:
    """A large cloud has thousands of images: to compare them all would take half a minute."""
    chance = random.Random(7)
    known = ["".join(chance.choices("abcdefgh-0123.", k=200)) for _ in range(5000)] + ["debian-12"]
    began = time.process_time()
    assert nearest("debain-12", known)[0] == "debian-12"
    for name in known[:5]:
        nearest(name[1:], known)
    assert time.process_time() - began < 10


def test_bounded_patterns_that_clients_make_up_are_not_kept() -> None:
    kept = fnmatch._compile_pattern.cache_info  # noqa: SLF001  there is no other way to see it
    before = kept().currsize
    for n in range(50):
        assert regions_matching(fleet_of(), [f"alpha/{'*' * n}One"])
    assert kept().currsize == before
