"""Each function finds in its pod what it needs to start, and only that is there."""

from pathlib import Path

import pytest
import yaml

from infra.kubernetes.container import GIVEN, MOUNTED
from infra.kubernetes.render import PLATFORMS, manifests
from openmultistack.clouds.keyring import make_keyring
from openmultistack.wiring.doors import DOORS
from openmultistack.wiring.parts import Parts
from openmultistack.wiring.settings import load_settings
from tests.support.platform_rules import Json, pod_of
from tests.support.signer import Signer

CLOUDS = {
    "clouds": {
        "alpha": {
            "auth": {
                "auth_url": "https://alpha.example:5000/v3",
                "username": "ci",
                "password": "secret",
                "project_name": "ci",
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
            "regions": ["One"],
        }
    }
}


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, dict[str, str]]:
    """What the page on installing has people make: by its name, its files."""
    signer = Signer(tmp_path)
    make_keyring(tmp_path / "marks.keys")
    return {
        "issuers": {"issuers.yaml": signer.issuers_file.read_text(), "jwks.json": signer.jwks},
        "redis": {"url": "redis://:secret@ledger.example:6379/0\n"},
        "fleet": {"fleet.yaml": "{}\n"},
        "clouds": {"clouds.yaml": yaml.safe_dump(CLOUDS)},
        "marks": {"marks.keys": (tmp_path / "marks.keys").read_text()},
    }


def mount(home: Path, files: dict[str, str]) -> None:
    """Put files where a kubelet does: behind a link that changes in one moment."""
    (home / "..1").mkdir(parents=True)
    (home / "..data").symlink_to("..1")
    for name, content in files.items():
        (home / "..1" / name).write_text(content)
        (home / name).symlink_to(f"..data/{name}")


def pods(platform: str) -> dict[str, Json]:
    """Return the pod of each function."""
    found = [(it["metadata"]["name"], pod_of(it)) for it in manifests(platform)]
    return {name: pod for name, pod in found if name in DOORS and pod}


def started(pod: Json, root: Path, contents: dict[str, dict[str, str]]) -> Parts:
    """Return a function's parts as its start has them, below a root of its own."""
    sources = {
        it["name"]: it.get("secret", {}).get("secretName") or it.get("configMap", {}).get("name")
        for it in pod["volumes"]
    }
    (container,) = pod["containers"]
    for it in container["volumeMounts"]:
        if sources[it["name"]]:
            mount(root / it["mountPath"].lstrip("/"), contents[sources[it["name"]]])
    here = f"{root}{MOUNTED}"
    told = {it["name"]: it["value"].replace(MOUNTED, here) for it in container["env"]}
    return Parts(load_settings(told))


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", DOORS)
def test_a_function_starts_with_what_is_mounted(platform, name, tmp_path, contents):
    root = tmp_path / "root"
    parts = started(pods(platform)[name], root, contents)
    assert parts.redis_address().form == "server"
    assert parts.settings.redis_url == contents["redis"]["url"].strip()
    assert len(parts.issuers()) == 1
    DOORS[name].reads(parts)
    if DOORS[name].calls_clouds:
        assert len(parts.regions()) == 1
    here = {it.name for it in Path(f"{root}{MOUNTED}").iterdir()}
    assert here == set(DOORS[name].secrets) <= GIVEN.keys()
