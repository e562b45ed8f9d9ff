"""What `up` was told is remembered by its home, until it is told otherwise."""

import json
from pathlib import Path

import pytest

from infra.local.layout import StackError, differences, remembered, stack_at, stack_to_start


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose last `up` was told all there is."""
    (tmp_path / "run").mkdir()
    for name in ("clouds.yaml", "fleet.yaml", "other.yaml"):
        (tmp_path / name).write_text("")
    told = {
        "PORT_BASE": "22500", "REPLICAS": "3", "REAP_EVERY_S": "7", "LEASE_S": "60",
        "OMS_FLEET": "mine", "CLOUDS": str(tmp_path / "clouds.yaml"),
        "FLEET": str(tmp_path / "fleet.yaml"),
    }  # fmt: skip
    (tmp_path / "run" / "variables.json").write_text(json.dumps(told))
    return tmp_path


@pytest.mark.parametrize("find", [stack_to_start, stack_at])
def test_a_later_command_that_names_only_the_home_finds_the_stack_as_it_was(find, home) -> None:
    stack = find({"OMS_HOME": str(home)})
    assert (stack.port_base, stack.replicas, stack.reap_every_s, stack.lease_s) == (22500, 3, 7, 60)
    assert (stack.clouds, stack.fleet) == (home / "clouds.yaml", home / "fleet.yaml")
    assert stack.fleet_name == "mine"
    assert stack.variables == remembered(home)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("REPLICAS", "2", "REPLICAS is 2 from now on (it was 3)"),
        ("OMS_FLEET", "yours", "OMS_FLEET is yours from now on (it was mine)"),
        ("LEASE_S", "", "LEASE_S is 120 from now on (it was 60)"),
    ],
)
def test_a_variable_that_is_given_again_changes_it_alone_and_it_is_said(
    home, name, given, said
) -> None:
    stack = stack_to_start({"OMS_HOME": str(home), name: given})
    assert differences(remembered(home), stack) == [said]


def test_an_empty_clouds_goes_back_to_the_laboratory(home) -> None:
    stack = stack_to_start({"OMS_HOME": str(home), "CLOUDS": "", "FLEET": ""})
    assert stack.uses_lab
    assert stack.fleet_file
    assert stack.fleet_file.match("infra/local/fleet.yaml")
    said = differences(remembered(home), stack)
    assert said[0] == f"CLOUDS is not set from now on (it was {home / 'clouds.yaml'})"


def test_a_remembered_file_that_is_gone_is_named_by_up_alone(home) -> None:
    """`down` and `status` need it no more."""
    (home / "clouds.yaml").unlink()
    with pytest.raises(StackError, match=r"CLOUDS=.*as the last `up` was told: there is no such"):
        stack_to_start({"OMS_HOME": str(home)})
    assert stack_at({"OMS_HOME": str(home)}).clouds == home / "clouds.yaml"
    given = {"OMS_HOME": str(home), "CLOUDS": str(home / "other.yaml")}
    assert stack_to_start(given).clouds == home / "other.yaml"


def test_the_first_up_has_nothing_to_say_of_before(tmp_path) -> None:
    assert differences({}, stack_to_start({"OMS_HOME": str(tmp_path)})) == []


def test_what_a_home_remembers_is_nothing_to_another(home) -> None:
    assert stack_to_start({"OMS_HOME": str(home / "other")}).replicas == 1


def test_a_laboratory_keeps_the_ports_of_its_data(home) -> None:
    (home / "lab" / "state").mkdir(parents=True)
    (home / "lab" / "state" / "port-base").write_text("26500")
    stack = stack_at({"OMS_HOME": str(home)})
    assert stack.lab_environment()["LAB_PORT_BASE"] == "26500"
