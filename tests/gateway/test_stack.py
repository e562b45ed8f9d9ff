"""stack.yml is in step with the table of functions, and this machine with stack.yml."""

import tomllib
from pathlib import Path

import pytest
import yaml

from infra.local.layout import stack_of
from infra.local.watchers import watched
from openmultistack.wiring.doors import DOORS, Door

ROOT = Path(__file__).parent.parent.parent
STACK = yaml.safe_load((ROOT / "stack.yml").read_text())["functions"]


def entry(name: str, door: Door) -> dict[str, object]:
    """What stack.yml has to say of a function, beside its image."""
    timed = {"topic": "cron-function", "schedule": door.schedule} if door.schedule else None
    environment = {
        "FUNCTION_SOURCE": f"functions/{name}.py",
        "FUNCTION_TARGET": "handle",
        "THREADS": str(door.threads),
    }
    written = {"environment": environment, "secrets": sorted(door.secrets)}
    return {**written, "annotations": timed} if timed else written


def test_each_function_has_its_entry_as_the_table_of_functions_says():
    """Least privilege with it: who is not given `clouds` cannot leak what they do not have."""
    apart = ("lang", "handler", "image")
    written = {
        name: {key: it for key, it in given.items() if key not in apart}
        | {"secrets": sorted(given["secrets"])}
        for name, given in STACK.items()
    }
    assert written == {name: entry(name, door) for name, door in DOORS.items()}
    assert all((ROOT / it["handler"]).resolve() == ROOT / "functions" for it in STACK.values())


def test_one_image_of_the_projects_version_serves_all():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {it["image"] for it in STACK.values()} == {f"openmultistack/functions:{version}"}


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
    stack = stack_of({"OMS_HOME": str(tmp_path_factory.mktemp("home"))})
    processes = {it.name: it.environment for it in watched(stack)}
    return {name: processes[f"{name}-1"] for name in STACK}
