"""stack.yml is in step with the functions, with the gateway's routes and with who needs what."""

import runpy
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
STACK = yaml.safe_load((ROOT / "stack.yml").read_text())["functions"]
DOORS = {path.stem for path in (ROOT / "functions").glob("*.py")}
CALL_CLOUDS = {"create", "destroy", "reap"}
TIMED = {"reap"}


def test_each_function_has_one_entry_and_each_entry_its_function():
    assert set(STACK) == DOORS


def test_each_function_is_reached_through_the_gateway():
    routes = runpy.run_path(str(ROOT / "infra" / "gateway" / "routes.py"))["ROUTES"]
    assert {route.function for route in routes} == set(STACK)


@pytest.mark.parametrize("name", STACK)
def test_an_entry_names_its_door(name):
    environment = STACK[name]["environment"]
    assert environment["FUNCTION_SOURCE"] == f"functions/{name}.py"
    assert environment["FUNCTION_TARGET"] == "handle"
    assert (ROOT / STACK[name]["handler"]).resolve() == ROOT / "functions"


def test_one_image_of_the_projects_version_serves_all():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {it["image"] for it in STACK.values()} == {f"openmultistack/functions:{version}"}


def test_only_functions_that_call_clouds_are_given_clouds_yaml():
    """Least privilege: `list` and `renew` cannot leak what they do not have."""
    assert {name for name, it in STACK.items() if "clouds" in it["secrets"]} == CALL_CLOUDS


@pytest.mark.parametrize("secret", ["issuers", "redis"])
def test_each_function_verifies_tokens_and_reads_the_ledger(secret):
    assert all(secret in it["secrets"] for it in STACK.values())


def test_only_the_reaper_runs_by_the_clock():
    """The cron-connector calls what has its topic, by the five fields of its schedule."""
    annotated = {name: it["annotations"] for name, it in STACK.items() if "annotations" in it}
    assert set(annotated) == TIMED
    for annotations in annotated.values():
        assert annotations["topic"] == "cron-function"
        assert len(annotations["schedule"].split()) == 5


@pytest.mark.parametrize("name", STACK)
def test_a_function_on_this_machine_is_given_its_secrets_and_no_others(local_environments, name):
    """What `make up` gives a function is what the platforms give it."""
    given = {
        "clouds": "OS_CLIENT_CONFIG_FILE",
        "fleet": "OMS_FLEET_FILE",
        "issuers": "OMS_ISSUERS_FILE",
        "redis": "OMS_REDIS_URL",
        "marks": "OMS_MARKS_KEYS_FILE",
    }
    assert set(STACK[name]["secrets"]) <= set(given)
    for secret, variable in given.items():
        assert (variable in local_environments[name]) == (secret in STACK[name]["secrets"]), secret


@pytest.fixture(scope="module")
def local_environments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The environment of each function's first replica, as the local runner starts it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "infra" / "local"))
        from layout import stack_of  # noqa: PLC0415  scripts' folder, not a package
        from watchers import watched  # noqa: PLC0415  same

    stack = stack_of({"OMS_HOME": str(tmp_path_factory.mktemp("home"))})
    processes = {it.name: it.environment for it in watched(stack)}
    return {name: processes[f"{name}-1"] for name in STACK}
