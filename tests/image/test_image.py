"""The image is built; and functions run from its file system, as a platform would have them."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ulid import ULID

from openmultistack.clouds.keyring import make_keyring
from tests.support.images import SECRETS, Container, Image, run
from tests.support.needs import ROOT, pins
from tests.support.places import Sim
from tests.support.signer import Signer

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

ADDED_MAX_MB = 150
FILES = {
    "OMS_REDIS_URL_FILE": "redis",
    "OMS_ISSUERS_FILE": "issuers",
    "OMS_FLEET_FILE": "fleet",
    "OS_CLIENT_CONFIG_FILE": "clouds",
    "OMS_MARKS_KEYS_FILE": "marks",
}


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def secrets(image: Image, sim: Sim, valkey_port: int, signer: Signer) -> Path:
    """Return one flat folder of what the functions are given, which any uid may read."""
    folder = image.home / "secrets"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    issuers = yaml.safe_load(signer.issuers_file.read_text())
    issuers["issuers"][0]["jwks_file"] = "jwks"
    (folder / "issuers").write_text(yaml.safe_dump(issuers))
    (folder / "jwks").write_text(signer.jwks)
    (folder / "redis").write_text(f"redis://127.0.0.1:{valkey_port}/0\n")
    (folder / "fleet").write_text("owners: {default: {default_ttl: 600}}\n")
    shutil.copy(sim.clouds_file, folder / "clouds")
    make_keyring(folder / "marks")
    for it in folder.iterdir():
        it.chmod(0o444)
    return folder


@pytest.fixture(scope="module")
def functions(
    image: Image, secrets: Path, free_port: Callable[[], int]
) -> Iterator[dict[str, tuple[Container, str]]]:
    """`list` and `create`, each with its URL, with a uid that nobody has."""
    uid, fleet = random.randint(100_000, 2_000_000), f"image-{ULID()}"  # any
    started: dict[str, tuple[Container, str]] = {}
    try:
        for name in ("list", "create"):
            port = free_port()
            environment = {variable: f"{SECRETS}/{it}" for variable, it in FILES.items()}
            environment |= {"FUNCTION_SOURCE": f"functions/{name}.py", "PORT": str(port)}
            environment |= {"OMS_FLEET": fleet, "OMS_LAME_DUCK_S": "0"}
            given = {"uid": uid, "environment": environment, "mounted": secrets}
            started[name] = (
                Container(image, f"oms-{name}-{port}", **given),
                f"http://127.0.0.1:{port}",
            )
        for container, url in started.values():
            container.until_up(url)
        yield started
    finally:
        codes = {name: container.stop() for name, (container, _) in started.items()}
    assert codes == {"list": 0, "create": 0}, [it.log() for it, _ in started.values()]


def files(image: Image, *within: str) -> set[str]:
    """Return the files of some folders of the image, each by its whole path inside."""
    found = (it for folder in within for it in (image.root / folder).rglob("*"))
    return {f"/{it.relative_to(image.root)}" for it in found if it.is_file()}


# ---------------------------------------------------------------- what is in it


def test_it_adds_little_to_its_base(image: Image) -> None:
    print(f"the image adds {image.added_mb:.1f} MB to its base")
    assert 20 < image.added_mb <= ADDED_MAX_MB


def test_nothing_that_installs_or_compiles_is_in_it(image: Image) -> None:
    programs = {Path(it).name for it in files(image, "bin", "usr/bin", "usr/local/bin", "opt/oms")}
    assert "python3" in programs | {it.name for it in (image.root / "usr/bin").iterdir()}
    assert not {it for it in programs if re.fullmatch(r"(pip|g?cc|c\+\+|g\+\+|clang)[\d.-]*", it)}
    packages = {it.name for it in (image.root / "opt/oms/lib").iterdir()}
    packages |= {it.name for it in (image.root / "usr/lib/python3.11").iterdir()}
    packages |= {it.name for it in (image.root / "usr/lib/python3/dist-packages").iterdir()}
    assert {"openmultistack", "openstack", "json"} <= packages
    assert not packages & {"pip", "setuptools", "ensurepip", "wheel", "pytest", "mypy", "circus"}


def test_everything_is_compiled_before(image: Image) -> None:
    own = {it for it in files(image, "opt/oms") if it.endswith(".py")}
    compiled = {it for it in files(image, "opt/oms") if it.endswith(".cpython-311.pyc")}
    assert len(own) > 1000
    lacking = [
        it
        for it in own
        if re.sub(r"([^/]+)\.py$", r"__pycache__/\1.cpython-311.pyc", it) not in compiled
    ]
    assert [it for it in lacking if "/tests/" not in it] == []


def test_the_bill_of_materials_is_of_what_is_there(image: Image) -> None:
    bill = json.loads((image.root / "opt/oms/sbom.cdx.json").read_text())
    ask = ("python3", "-c", "import platform; print(platform.python_version())")
    version = run("chroot", image.root, *ask).strip()
    locked = pins(ROOT / "infra" / "image" / "requirements.lock", python_full_version=version)
    assert len(locked) > 50
    assert {(it["name"], f"=={it['version']}") for it in bill["components"]} == {
        (name, str(it.specifier)) for name, it in locked.items()
    }


def test_nothing_says_where_it_was_built_or_from(image: Image) -> None:
    """No host that packages came from, no path of this machine."""
    told = json.dumps(image.configuration)
    assert "http" not in told
    assert str(ROOT) not in told
    left = ("-name", "pip.conf", "-o", "-name", "last_stage.py", "-o", "-path", "*/run/secrets/*")
    assert run("find", image.root, *left) == ""
    here = str(ROOT).encode()
    named = [it for it in files(image, "opt/oms") if here in (image.root / it[1:]).read_bytes()]
    assert named == []


def test_whoever_it_runs_as_may_read_it_and_no_one_else_may_write_it(image: Image) -> None:
    for it in (image.root / "opt/oms").rglob("*"):
        mode = it.lstat().st_mode
        assert it.is_symlink() or mode & 0o004, it
        assert it.is_symlink() or not mode & 0o022, it


# ---------------------------------------------------------------- how it runs


@pytest.mark.parametrize("name", ["list", "create"])
def test_a_function_is_ready(functions: dict[str, tuple[Container, str]], name: str) -> None:
    container, url = functions[name]
    assert httpx.get(f"{url}/_/ready", timeout=60).status_code == 200, container.log()
    assert "Traceback" not in container.log()


def test_a_create_is_served_and_listed(
    functions: dict[str, tuple[Container, str]], signer: Signer
) -> None:
    """An empty ledger and no sweep: it looks by itself."""
    told: dict[str, Any] = {"headers": {"Authorization": f"Bearer {signer.token()}"}, "timeout": 90}
    (create, at), (_, listing) = functions["create"], functions["list"]
    order = {"image": "debian-12", "size": "m1.small"}
    wait = told | {"headers": told["headers"] | {"Prefer": "wait=20"}}
    made = httpx.post(f"{at}/v1/instances", json=order, **wait)
    assert made.status_code in (201, 202), made.text + create.log()
    (made_one,) = made.json()["instances"]
    found = httpx.get(f"{listing}/v1/instances/{made_one['id']}", **told)
    assert found.status_code == 200
    assert found.json()["status"] in {"BUILD", "ACTIVE"}
    assert found.json()["region"].startswith("p")


def test_nothing_but_tmp_can_be_written(functions: dict[str, tuple[Container, str]]) -> None:
    """Not even by root."""
    container, _ = functions["list"]
    for folder in ("/", "/opt/oms", "/opt/oms/lib", "/usr", "/run", "/dev", SECRETS):
        done = container.execute("touch", f"{folder}/x")
        assert "Read-only file system" in done.stderr, (folder, done)
    assert container.execute("touch", "/tmp/x").returncode == 0  # noqa: S108
