"""Which clouds.yaml and fleet.yaml are taken, and what they mean."""

import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from openmultistack.domain.commands import SizeWanted
from openmultistack.domain.errors import ConfigurationError
from openmultistack.domain.models import Quota
from openmultistack.fleet.config import Fleet, OwnerRule, load_fleet, load_fleet_file

SECRET = "hunter2-very-secret"
AUTH = {"auth": {"auth_url": "http://127.0.0.1:5000", "username": "u", "password": SECRET}}
CLOUDS = {
    "clouds": {
        "alpha": {**AUTH, "regions": ["One", {"name": "Two", "values": {"networks": []}}]},
        "beta": {**AUTH, "region_name": "One"},
    }
}

Load = Callable[..., Fleet]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a loader of these two files' content: text, or what is dumped as YAML."""

    def write(name: str, content: object) -> Path:
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    def load(fleet: object = None, clouds: object = CLOUDS) -> Fleet:
        return load_fleet(
            write("clouds.yaml", clouds),
            None if fleet is None else write("fleet.yaml", fleet),
        )

    return load


def test_every_region_of_clouds_yaml_is_in_the_fleet_without_fleet_yaml(load: Load) -> None:
    fleet = load()
    assert list(fleet.regions) == ["alpha/One", "alpha/Two", "beta/One"]
    two = fleet.regions["alpha/Two"]
    assert (two.provider, two.region, two.rule.cap.instances) == ("alpha", "Two", None)


@pytest.mark.parametrize("empty", ["", "# nothing\n", "{}"])
def test_an_empty_fleet_yaml_is_as_good_as_none(empty: str, load: Load) -> None:
    assert load(empty).regions == load().regions


def test_the_first_pattern_that_matches_a_region_counts(load: Load) -> None:
    fleet = load(
        {
            "regions": {
                "alpha/Two": {"priority": 1},
                "alpha/*": {"priority": 2, "cap": {"instances": 7}},
                "*": {"priority": 3, "price": 0.5},
            }
        }
    )
    rules = {name: region.rule for name, region in fleet.regions.items()}
    assert {name: rule.priority for name, rule in rules.items()} == {
        "alpha/Two": 1, "alpha/One": 2, "beta/One": 3,
    }  # fmt: skip
    assert rules["alpha/One"].cap.instances == 7
    assert rules["alpha/Two"].cap.instances is None
    assert rules["beta/One"].price == 0.5


def test_a_disabled_region_is_not_in_the_fleet(load: Load) -> None:
    fleet = load({"regions": {"alpha/*": {"enabled": False}}})
    assert list(fleet.regions) == ["beta/One"]


def test_a_pattern_may_speak_of_a_disabled_region(load: Load) -> None:
    load({"regions": {"beta/*": {"enabled": False}}, "images": {"d": {"beta/*": "debian"}}})


def test_names_that_fleet_yaml_gives_a_meaning_are_known(load: Load) -> None:
    fleet = load({"images": {"debian-12": {"*": "Debian*"}}, "sizes": {"small": {"vcpus": 1}}})
    assert set(fleet.file.images) == {"debian-12"}
    assert fleet.file.sizes["small"] == SizeWanted(vcpus=1)


def test_an_owner_has_their_own_rule_or_the_default_or_ours(load: Load) -> None:
    rules = {"owners": {"ci": {"max_ttl": 600, "default_ttl": 60}, "default": {"max_ttl": 7200}}}
    assert load(rules).file.owner_rule("ci") == OwnerRule(default_ttl=60, max_ttl=600)
    assert load(rules).file.owner_rule("alice") == OwnerRule(max_ttl=7200)
    assert load({}).file.owner_rule("alice") == OwnerRule(default_ttl=3600, max_ttl=86400)


@pytest.mark.parametrize(
    ("rule", "rate"),
    [({}, 300), ({"commands_per_minute": 7}, 7), ({"commands_per_minute": None}, None)],
)
def test_the_rate_of_commands_has_a_default_and_can_be_switched_off(
    load: Load, rule: dict[str, int | None], rate: int | None
) -> None:
    assert load({"owners": {"ci": rule}}).file.owner_rule("ci").commands_per_minute == rate


def test_owners_quotas_and_the_queue_are_bounded_as_told_and_else_boundless(load: Load) -> None:
    quota = {"instances": 4, "creates_per_minute": 30}
    fleet = load(
        {
            "owners": {"ci": {"quota": quota, "priority": -1}},
            "queue": {"max": 7, "max_wait": 60},
            "regions": {"alpha/*": {"max_building": 3, "starts_per_minute": 12}},
        }
    )
    assert fleet.file.owner_rule("ci").quota.quota() == Quota(instances=4, creates_per_minute=30)
    assert (fleet.file.owner_rule("ci").priority, fleet.file.owner_rule("bob").priority) == (-1, 0)
    assert fleet.file.owner_rule("bob").quota.quota() == Quota()
    assert (fleet.file.queue.max, fleet.file.queue.max_wait) == (7, 60)
    assert fleet.file.queue.of_owner == 2, "a quarter, and so much more that it is whole"
    for of_owner, bound in ((3, 3), (0, 0), (9, 7)):
        bounded = load({"queue": {"max": 7, "max_per_owner": of_owner}})
        assert bounded.file.queue.of_owner == bound
    rule, none = fleet.regions["alpha/One"].rule, fleet.regions["beta/One"].rule
    assert (rule.max_building, rule.starts_per_minute) == (3, 12)
    assert (none.max_building, none.starts_per_minute) == (None, None)


def complaint(load: Load, *args: object) -> str:
    """Return what a refusal says; neither it nor its traceback tells a secret."""
    with pytest.raises(ConfigurationError) as caught:
        load(*args)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.mark.parametrize(
    ("clouds", "key", "expectation"),
    [
        ("", "clouds", "required"),
        ("[]", "", "expected a mapping"),
        ("text", "", "expected a mapping"),
        ("clouds: [", "line 1", "expected YAML; found a bracket that is not closed"),
        (f"clouds:\n  a: *{SECRET}\n", "line 2, column 6", "begins with * or &: put the text in"),
        (f"clouds:\n  a: !{SECRET}\n", "line 2, column 6", "begins with !: put the text in"),
        (f"clouds:\n  a: @{SECRET}\n", "line 2, column 6", "no plain text may begin with"),
        (f"clouds:\n  a: {SECRET}: x\n", "line 2, column", "a colon that is out of place"),
        ("clouds:\n  a: b\n c: d\n", "line 3, column 2", "indentation"),
        (f'clouds:\n  a: "\\{SECRET}"', "line 2, column", "a backslash in double quotes"),
        ("clouds: {a: {}}\nclouds: {}", "line 2, column 1", "clouds is there twice, first in line"),
        ("clouds: {a: &a {regions: *a}}", "line 1, column 26", "stands within itself"),
        ("clouds: &it [*it]", "line 1, column 14", "stands within itself"),
        (f"clouds:\n  a:\n    password: '{SECRET}\n", "line 4", "expected YAML"),
        (f"clouds:\n\ta: {SECRET}\n", "line 2", "expected YAML"),
        (f"password: {SECRET}\nclouds: !!python/object:os.x {SECRET}", "line 2", "expected YAML"),
        ({"cluods": CLOUDS["clouds"]}, "clouds", "required"),
        ({"clouds": None}, "clouds", "required"),
        ({"clouds": {}}, "clouds", "at least 1"),
        ({"clouds": [SECRET]}, "clouds", "expected a mapping"),
        ({"clouds": {"a": None}}, "clouds.a", "expected a mapping"),
        ({"clouds": {"a": SECRET}}, "clouds.a", "expected a mapping"),
        ({"clouds": {"a": {**AUTH, "profile": "ovh"}}}, "clouds.a", "expected `regions: [NAME"),
        ({"clouds": {"a": {**AUTH, "profile": "none"}}}, "clouds.a", "expected `regions: [NAME"),
        ({"clouds": {"a": AUTH}}, "clouds.a", "expected `regions: [NAME, ...]`"),
        ({"clouds": {"a": {**AUTH, "regions": []}}}, "clouds.a", "expected `regions"),
        ({"clouds": {"a": {**AUTH, "region_name": ""}}}, "clouds.a", "expected `regions"),
        ({"clouds": {"a": {**AUTH, "region_name": 5}}}, "clouds.a.region_name", "string"),
        ({"clouds": {"a": {**AUTH, "regions": "One"}}}, "clouds.a.regions", "list"),
        ({"clouds": {"a": {**AUTH, "regions": [5]}}}, "clouds.a.regions.0", "string"),
        ({"clouds": {"a": {**AUTH, "regions": [{"values": {"p": SECRET}}]}}},
         "clouds.a.regions.0", "string"),
    ],
)  # fmt: skip
def test_a_bad_clouds_yaml_is_refused_naming_file_key_and_expectation(
    clouds: object, key: str, expectation: str, load: Load, tmp_path: Path
) -> None:
    said = complaint(load, None, clouds)
    assert said.startswith(f"{tmp_path / 'clouds.yaml'}: {key}")
    assert expectation in said


@pytest.mark.parametrize(
    ("fleet", "key", "expectation"),
    [
        ("[]", "", "is a list, expected a mapping"),
        ("text", "", "is a single value, expected a mapping"),
        ("regions: {", "line 1, column 11", "found a bracket that is not closed"),
        ("queue: {max: 5, max: 6}", "line 1, column 17", "max is there twice, first in line 1"),
        ("queue:\n  max: 5\nqueue: {}", "line 3, column 1", "queue is there twice"),
        ({"region": {}}, "region (line 1)", "is no key here; did you mean regions?"),
        ({"zzz": {}}, "zzz (line 1)", "expected one of regions, images, sizes, owners, queue"),
        ({"regions": ["*"]}, "regions (line 1)", "is a list, expected a mapping"),
        ({"regions": {"*": {"prioriti": 1}}}, "regions.*.prioriti (line 3)", "mean priority?"),
        ({"regions": {"*": {"max_building": 0}}}, "regions.*.max_building", "is 0, expected at"),
        ({"regions": {"*": {"starts_per_minute": 0}}}, "regions.*.starts_per", "at least 1"),
        ({"regions": {"*": {"addresses": "non"}}}, "regions.*.addresses",
         "is a text, expected awaited or none"),
        ({"regions": {"*": {"enabled": "x"}}}, "regions.*.enabled", "a text, expected true or"),
        ({"regions": {"*": {"network": [1]}}}, "regions.*.network", "is a list, expected a text"),
        ({"regions": {"*": {"price": "x"}}}, "regions.*.price", "is a text, expected a number"),
        ({"regions": {5: {}}}, "regions.5", "5 is a key here, expected a text as key"),
        ({"queue": {"max": -1}}, "queue.max (line 2)", "is -1, expected at least 0"),
        ({"queue": {"max": 99999}}, "queue.max", "is 99999, expected at most 10000"),
        ({"queue": {"max_wait": 0}}, "queue.max_wait", "is 0, expected at least 1"),
        ({"owners": {"ci": {"quota": {"instnces": 1}}}}, "owners.ci.quota.instnces",
         "did you mean instances?"),
        ({"owners": {"ci": {"quota": {"instances": -1}}}}, "owners.ci.quota.instances", "least 0"),
        ({"owners": {"ci": {"priority": 1001}}}, "owners.ci.priority", "is 1001, expected at most"),
        ({"regions": {"*": {"price": -1}}}, "regions.*.price", "is -1, expected at least 0"),
        ({"regions": {"*": {"cap": {"instances": 1.5}}}}, "regions.*.cap.instances",
         "is 1.5, expected a whole number"),
        ({"regions": {"*": {"cap": {"disk": 1}}}}, "regions.*.cap.disk",
         "expected one of instances, vcpus, ram_mb"),
        ({"regions": {"*": {"cap": 20}}}, "regions.*.cap", "is 20, expected a mapping"),
        ({"regions": {"*": {"security_groups": "x"}}}, "regions.*.security_groups",
         "is a text, expected a list"),
        ({"regions": {"*": {"security_groups": ["a", 5]}}}, "regions.*.security_groups.1 (line 5)",
         "is 5, expected a text"),
        ({"regions": {"*": None}}, "regions.* (line 2)", "is nothing, expected a mapping"),
        ({"regions": {"": {}}}, "regions.",
         "an empty text is a key here, expected at least 1 character as key"),
        ({"regions": {"gamma/*": {}}}, "regions.gamma/* (line 2)",
         "alpha/One, alpha/Two, beta/One"),
        ({"regions": {"alpha": {}}}, "regions.alpha", "matches no region"),
        ({"regions": {"ALPHA/*": {}}}, "regions.ALPHA/*", "matches no region"),
        ({"images": {"d": {"gamma/*": "x"}}}, "images.d.gamma/*", "matches no region"),
        ({"images": {"d": "debian"}}, "images.d", "is a text, expected a mapping"),
        ({"images": {"d": {"*": ""}}}, "images.d.* (line 3)",
         "is an empty text, expected at least 1 character"),
        ({"images": {"d": {"*": 5}}}, "images.d.*", "is 5, expected a text or a mapping"),
        ({"images": {"d": {"*": {"nmae": "x"}}}}, "images.d.*.nmae", "did you mean name?"),
        ({"images": {"d": {"*": {"properties": {"a": 5}}}}}, "images.d.*.properties.a",
         "is 5, expected a text"),
        ({"sizes": {"s": {"gamma/*": "x"}}}, "sizes.s.gamma/*", "matches no region"),
        ({"sizes": {"s": {"vcpus": "two"}}}, "sizes.s.vcpus", "is a text, expected a whole number"),
        ({"sizes": {"s": {"alpha/*": 5}}}, "sizes.s.alpha/*", "is 5, expected a text"),
        ({"sizes": {"s": {"vcpus": 0}}}, "sizes.s.vcpus", "is 0, expected at least 1"),
        ({"sizes": {"s": {"ram_mb": 2**25}}}, "sizes.s.ram_mb", "expected at most 16777216"),
        ({"sizes": {"s": {"ram": 5}}}, "sizes.s.ram (line 3)", "did you mean ram_mb?"),
        ({"sizes": {"s": 5}}, "sizes.s (line 2)", "is 5, expected a mapping"),
        ({"owners": {"ci": {"max_ttl": 0}}}, "owners.ci.max_ttl", "is 0, expected at least 1"),
        ({"owners": {"ci": {"ttl": 5}}}, "owners.ci.ttl", "is no key here"),
        ({"owners": {"ci": {"max_ttl": SECRET}}}, "owners.ci.max_ttl",
         "is a text, expected a whole number"),
        ({"owners": {"ci": {"max_ttl": 60}}}, "owners.ci (line 2)",
         "default_ttl is 3600, expected at most max_ttl (60)"),
    ],
)  # fmt: skip
def test_a_bad_fleet_yaml_is_refused_naming_file_key_and_expectation(
    fleet: object, key: str, expectation: str, load: Load, tmp_path: Path
) -> None:
    said = complaint(load, fleet)
    assert said.startswith(f"{tmp_path / 'fleet.yaml'}: {key}")
    assert expectation in said
    # Nothing of the words of what checks it, nor of our own models' names.
    assert not re.search(r"[Ii]nput|valid |dictionary|constrained|Rule|Wanted|function-", said)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"clouds\.yaml: cannot be read \(No such file"):
        load_fleet(tmp_path / "clouds.yaml", None)


def test_a_folder_in_a_files_place_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_fleet(tmp_path, None)


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "clouds.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"clouds\.yaml: expected YAML"):
        load_fleet(tmp_path / "clouds.yaml", None)


def test_an_image_that_says_nothing_is_refused(load: Load) -> None:
    assert "images.d" in complaint(load, {"images": {"d": {"*": {}}}})


@pytest.mark.parametrize(
    "rule", [{"max_ttl": 60, "default_ttl": 61}, {"default_ttl": 90000}, {"max_ttl": 60}]
)
def test_a_default_beyond_the_maximum_is_refused(rule: object, load: Load) -> None:
    assert "owners.ci" in complaint(load, {"owners": {"ci": rule}})


def test_fleet_yaml_alone_can_be_read_without_the_secrets_of_clouds_yaml(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("owners: {ci: {max_ttl: 600, default_ttl: 60}}")
    assert load_fleet_file(tmp_path / "fleet.yaml").owner_rule("ci").max_ttl == 600


def test_regions_may_come_from_a_profile_alone(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the sdk brings along, or the operator's own, which goes before it."""
    monkeypatch.chdir(tmp_path)
    shipped = {"clouds": {"v": {**AUTH, "profile": "catalyst"}, "c": {**AUTH, "cloud": "binero"}}}
    assert list(load(clouds=shipped).regions) == ["v/nz-por-1", "v/nz_wlg_2", "c/europe-se-1"]
    own = {"catalyst": {"regions": ["Own", {"name": "Other", "values": {}}]}}
    (tmp_path / "clouds-public.yaml").write_text(yaml.safe_dump({"public-clouds": own}))
    assert list(load(clouds=shipped).regions) == ["v/Own", "v/Other", "c/europe-se-1"]


def test_of_many_regions_a_refusal_names_some(load: Load) -> None:
    clouds = {"clouds": {"a": {**AUTH, "regions": [f"R{it}" for it in range(1000)]}}}
    said = complaint(load, {"regions": {"b/*": {}}}, clouds)
    assert said.endswith("a/R0, a/R1, a/R2, a/R3, a/R4, a/R5, a/R6, a/R7, a/R8, a/R9 and 990 more")


def test_keys_that_are_merged_are_not_there_twice(load: Load) -> None:
    text = "regions:\n  alpha/*: &a {priority: 1, price: 2}\n  beta/*: {<<: *a, priority: 3}\n"
    rule = load(text).regions["beta/One"].rule
    assert (rule.priority, rule.price) == (3, 2)
