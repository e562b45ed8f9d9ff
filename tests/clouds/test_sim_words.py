"""The simulated OpenStack speaks in the words of the real one."""

import re
import time
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.rest import Region

NOWHERE = "11111111-2222-3333-4444-555555555555"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
LONG = "x" * 256
ID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")
# method, path, what differs from a proper body (`...`: the field is missing)
REFUSED: list[tuple[str, str, Any]] = [
    ("POST", "/servers", {"flavorRef": NOWHERE}),
    ("POST", "/servers", {"imageRef": NOWHERE}),
    ("POST", "/servers", {"imageRef": "debian"}),
    ("POST", "/servers", {"networks": [{"uuid": NOWHERE}]}),
    ("POST", "/servers", {"networks": ...}),
    ("POST", "/servers", {"key_name": "no-such-key"}),
    ("POST", "/servers", {"security_groups": [{"name": "no-such-group"}]}),
    ("POST", "/servers", {"user_data": "abc"}),
    ("POST", "/servers", {"metadata": {"a": LONG}}),
    ("POST", "/servers", {"metadata": {"ä": "1"}}),
    ("POST", "/servers", {"metadata": {f"k{it}": "" for it in range(129)}}),
    ("POST", "/servers", {"tags": ["a,b"]}),
    ("POST", "/servers", {"colour": "red"}),
    ("GET", f"/servers/{NOWHERE}", None),
    ("DELETE", f"/servers/{NOWHERE}", None),
    ("POST", f"/servers/{NOWHERE}/metadata", {}),
    ("GET", f"/servers?marker={NOWHERE}", None),
    ("GET", "/servers?limit=-1", None),
    ("GET", "/servers?name=(", None),
    ("POST", "/servers", {"networks": [{"id": NOWHERE}]}),
    ("POST", "/servers", {"name": ""}),
    ("POST", "/os-keypairs", {"public_key": "no key"}),
    ("POST", "/os-keypairs", {"name": ...}),
    ("GET", "/os-keypairs/no-such-key", None),
    ("DELETE", "/os-keypairs/no-such-key", None),
    ("GET", f"/flavors/{NOWHERE}", None),
]


@pytest.fixture
def real(region: Region, rest_module: ModuleType, lab: Path) -> Region:
    """Return a region of the laboratory."""
    return rest_module.Region(region.http, lab, "alpha/RegionOne")


def _refusal(region: Region, method: str, path: str, more: Any) -> tuple[int, str]:
    """Return what is said, without the ids that differ from cloud to cloud."""
    body = None
    if path == "/servers" and method == "POST":
        body = region.wanted(**more)
    elif path == "/os-keypairs":
        keypair = {"name": "k", "public_key": SSH_KEY, "type": "ssh"} | more
        body = {"keypair": {k: v for k, v in keypair.items() if v is not ...}}
    elif method == "POST":
        body = {"metadata": more}
    answer = region.ask(method, path, body)
    return answer.status_code, ID.sub("<id>", answer.text)


@pytest.mark.parametrize(("method", "path", "more"), REFUSED)
def test_it_refuses_in_the_words_of_the_real_openstack(
    real: Region, region: Region, method: str, path: str, more: Any
) -> None:
    status, said = _refusal(real, method, path, more)
    assert status >= HTTPStatus.BAD_REQUEST
    assert _refusal(region, method, path, more) == (status, said)


def test_it_shows_no_server_otherwise_than_the_real_openstack(real: Region, region: Region) -> None:
    shapes = []
    for it in (real, region):
        server_id = it.make(tags=["t"], metadata={"a": "b"})
        try:
            _await_addresses(it, server_id)
            shapes.append(_shape(it.show(server_id)))
        finally:
            it.ask("DELETE", f"/servers/{server_id}")
    assert shapes[0] == shapes[1]


def _await_addresses(region: Region, server_id: str) -> None:
    end = time.monotonic() + 60
    while not region.show(server_id)["addresses"]:
        assert time.monotonic() < end
        time.sleep(0.1)


def _shape(value: Any) -> Any:
    """Return the names and types in a document, without its values."""
    if isinstance(value, dict):
        return {key: _shape(it) for key, it in value.items()}
    if isinstance(value, list):
        return [_shape(it) for it in value[:1]]
    return type(value).__name__
