"""Which clouds.yaml and fleet.yaml are taken, and what they mean."""

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from openmultistack.commands import SizeWanted
from openmultistack.errors import ConfigurationError
from openmultistack.fleet import Fleet, OwnerRule, load_fleet, load_fleet_file
from openmultistack.models import Quota

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
        ("clouds: [", "line 1", "expected YAML"),
        (f"clouds:\n  a:\n    password: '{SECRET}\n", "line 4", "expected YAML"),
        (f"clouds:\n\ta: {SECRET}\n", "line 2", "expected YAML"),
        (f"password: {SECRET}\nclouds: !!python/object:os.x {SECRET}", "line 2", "expected YAML"),
        ({"cluods": CLOUDS["clouds"]}, "clouds", "required"),
        ({"clouds": None}, "clouds", "required"),
        ({"clouds": {}}, "clouds", "at least 1"),
        ({"clouds": [SECRET]}, "clouds", "expected a mapping"),
        ({"clouds": {"a": None}}, "clouds.a", "expected a mapping"),
        ({"clouds": {"a": SECRET}}, "clouds.a", "expected a mapping"),
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
        ("[]", "", "expected a mapping"),
        ("regions: {", "line 1", "expected YAML"),
        ({"region": {}}, "region", "not permitted"),
        ({"regions": ["*"]}, "regions", "dictionary"),
        ({"regions": {"*": {"prioriti": 1}}}, "regions.*.prioriti", "not permitted"),
        ({"regions": {"*": {"max_building": 0}}}, "regions.*.max_building", "greater"),
        ({"regions": {"*": {"starts_per_minute": 0}}}, "regions.*.starts_per_minute", "greater"),
        ({"queue": {"max": -1}}, "queue.max", "greater"),
        ({"queue": {"max_wait": 0}}, "queue.max_wait", "greater"),
        ({"owners": {"ci": {"quota": {"servers": 1}}}}, "owners.ci.quota.servers", "permitted"),
        ({"owners": {"ci": {"quota": {"instances": -1}}}}, "owners.ci.quota.instances", "greater"),
        ({"owners": {"ci": {"priority": 1001}}}, "owners.ci.priority", "less"),
        ({"regions": {"*": {"price": -1}}}, "regions.*.price", "greater than or equal to 0"),
        ({"regions": {"*": {"cap": {"instances": -1}}}}, "regions.*.cap.instances", "equal to 0"),
        ({"regions": {"*": {"cap": {"disk": 1}}}}, "regions.*.cap.disk", "not permitted"),
        ({"regions": {"*": {"cap": 20}}}, "regions.*.cap", "dictionary"),
        ({"regions": {"*": {"security_groups": "x"}}}, "regions.*.security_groups", "tuple"),
        ({"regions": {"*": None}}, "regions.*", "dictionary"),
        ({"regions": {"": {}}}, "regions.", "at least 1"),
        ({"regions": {"gamma/*": {}}}, "regions.gamma/*", "alpha/One, alpha/Two, beta/One"),
        ({"regions": {"alpha": {}}}, "regions.alpha", "matches no region"),
        ({"regions": {"ALPHA/*": {}}}, "regions.ALPHA/*", "matches no region"),
        ({"images": {"d": {"gamma/*": "x"}}}, "images.d.gamma/*", "matches no region"),
        ({"images": {"d": "debian"}}, "images.d", "dictionary"),
        ({"images": {"d": {"*": ""}}}, "images.d.*", "at least 1"),
        ({"images": {"d": {"*": {"nmae": "x"}}}}, "images.d.*", "not permitted"),
        ({"sizes": {"s": {"gamma/*": "x"}}}, "sizes.s.gamma/*", "matches no region"),
        ({"sizes": {"s": {"vcpus": 0}}}, "sizes.s", "greater than or equal to 1"),
        ({"sizes": {"s": 5}}, "sizes.s", ""),
        ({"owners": {"ci": {"max_ttl": 0}}}, "owners.ci.max_ttl", "greater than or equal to 1"),
        ({"owners": {"ci": {"ttl": 5}}}, "owners.ci.ttl", "not permitted"),
        ({"owners": {"ci": {"max_ttl": SECRET}}}, "owners.ci.max_ttl", "integer"),
    ],
)
def test_a_bad_fleet_yaml_is_refused_naming_file_key_and_expectation(
    fleet: object, key: str, expectation: str, load: Load, tmp_path: Path
) -> None:
    said = complaint(load, fleet)
    assert said.startswith(f"{tmp_path / 'fleet.yaml'}: {key}")
    assert expectation in said


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
