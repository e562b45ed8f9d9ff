"""Configuration and secrets as platforms mount them: OpenFaaS flat, Kubernetes behind links."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
import yaml

from openmultistack.wiring.doors import DOORS
from tests.support.doors import Door, House
from tests.support.signer import Signer
from tests.support.waiting import until

Running = Callable[..., AbstractContextManager[Door]]
NAMES = {
    "OMS_REDIS_URL_FILE": "redis",
    "OMS_ISSUERS_FILE": "issuers",
    "OMS_FLEET_FILE": "fleet",
    "OS_CLIENT_CONFIG_FILE": "clouds",
    "OMS_MARKS_KEYS_FILE": "marks",
}


def fill(folder: Path, house: House, signer: Signer) -> None:
    """Write everything that functions are given into one folder, each by the name of its secret."""
    folder.mkdir(parents=True)
    issuers = yaml.safe_load(signer.issuers_file.read_text())
    issuers["issuers"][0]["jwks_file"] = "jwks"
    (folder / "issuers").write_text(yaml.safe_dump(issuers))
    (folder / "jwks").write_text(signer.jwks)
    (folder / "redis").write_text(house.environment["OMS_REDIS_URL"] + "\n")
    shutil.copy(house.fleet_file, folder / "fleet")
    shutil.copy(house.clouds_file, folder / "clouds")
    shutil.copy(house.marks_keys_file, folder / "marks")
    for it in folder.iterdir():
        it.chmod(0o444)  # as they are mounted


@pytest.mark.parametrize("name", DOORS)
def test_a_function_starts_with_secrets_in_one_flat_folder(
    running: Running, house: House, signer: Signer, tmp_path: Path, token: str, name: str
) -> None:
    fill(tmp_path / "secrets", house, signer)
    given = {variable: tmp_path / "secrets" / it for variable, it in NAMES.items()}
    with running(name, **given, OMS_REDIS_URL=None) as door:
        assert httpx.get(f"{door.url}/_/ready", timeout=60).status_code == 200
        assert door.call("GET", "/nothing", token).status_code == 404
        assert door.call("DELETE", "/reap", token).status_code in {404, 405}


def test_secrets_that_kubernetes_replaces_are_read_again(
    running: Running, house: House, signer: Signer, tmp_path: Path, token: str
) -> None:
    """Each name is a link into a folder that is a link: all change in one moment."""
    mount = tmp_path / "mount"
    mount.mkdir()
    fill(mount / "..1", house, signer)
    (mount / "..data").symlink_to("..1")
    for it in (mount / "..1").iterdir():
        (mount / it.name).symlink_to(f"..data/{it.name}")
    given = {variable: mount / it for variable, it in NAMES.items()}
    with running("list", **given, OMS_REDIS_URL=None) as door:
        assert door.call("GET", "/instances", token).status_code == 200
        fill(mount / "..2", house, signer)
        (mount / "..2" / "issuers").unlink()
        (mount / "..2" / "issuers").write_text("issuers: []")
        (mount / "..new").symlink_to("..2")
        (mount / "..new").replace(mount / "..data")
        until(lambda: door.call("GET", "/instances", token).status_code == 401)
