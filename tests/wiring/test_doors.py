"""The table of functions: its names are the files of functions/, its endpoints do not overlap."""

from collections import Counter
from pathlib import Path

import pytest

from openmultistack.auth.principal import SCOPES
from openmultistack.domain.pace import PACE
from openmultistack.wiring.doors import DOORS, endpoints_of
from openmultistack.wiring.parts import Parts
from openmultistack.wiring.settings import Settings

ROOT = Path(__file__).parent.parent.parent
ENDPOINTS = [(name, it) for name in DOORS for it in endpoints_of(name)]


def test_each_file_of_functions_is_a_door_and_each_door_has_its_file() -> None:
    assert set(DOORS) == {it.stem for it in (ROOT / "functions").glob("*.py")}


@pytest.mark.parametrize("name", DOORS)
def test_a_function_opens_the_door_of_its_name(name: str) -> None:
    text = (ROOT / "functions" / f"{name}.py").read_text()
    assert f'handle = open_door("{name}")' in text.splitlines()


def test_a_method_on_a_path_is_one_functions() -> None:
    known = Counter(
        (it.method, DOORS[name].dialect.prefix + it.path) for name, it in ENDPOINTS if it.is_routed
    )
    assert [it for it, many in known.items() if many > 1] == []


def test_each_scope_of_an_endpoint_is_one_that_tokens_can_have() -> None:
    assert {it.guard.scope for _, it in ENDPOINTS} <= {*SCOPES, None}


def test_who_is_let_in_without_a_token_is_let_in_on_purpose() -> None:
    public = {(it.method, it.path) for _, it in ENDPOINTS if it.guard.scope is None}
    told = {("GET", "/healthz"), ("GET", "/metrics"), ("GET", "/openapi.json")}
    assert public == told | {("GET", "/_/health"), ("GET", "/_/ready"), ("POST", "/_/tick")}


def test_nothing_waits_inside_a_request_longer_than_the_platform_lets_one_take() -> None:
    pace = Parts(Settings(granted_s=5)).use.on.pace
    assert (pace.wait_max_s, pace.look_within_s, pace.repeat_wait_s) == (5, 5, 5)
    usual = Parts(Settings(granted_s=25)).use.on.pace
    assert (usual.wait_max_s, usual.look_within_s) == (25, PACE.look_within_s)
