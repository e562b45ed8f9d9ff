"""Which processes start anew for which file, and what is said of it."""

import json
from pathlib import Path

import pytest

from infra.local import reload
from infra.local.layout import Stack, stack_of
from openmultistack.wiring.doors import DOORS

ALL = tuple(DOORS)


def given(secret: str) -> tuple[str, ...]:
    """Which functions have a secret of stack.yml's."""
    return tuple(name for name, it in DOORS.items() if secret in it.secrets)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack of two replicas with files of its own."""
    files = {"CLOUDS": tmp_path / "clouds.yaml", "FLEET": tmp_path / "fleet.yaml"}
    for path in files.values():
        path.write_text("a: 1\n")
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    (home / "keys").mkdir()
    names = ("keys/jwks.json", "ci.json")
    for name in names:
        (home / name).write_text("{}")
    issuers = {"issuers": [{"jwks_file": name} for name in names]}
    (home / "issuers.yaml").write_text(json.dumps(issuers))
    given = {name: str(path) for name, path in files.items()}
    return stack_of(given | {"OMS_HOME": str(home), "REPLICAS": "2"})


def test_nothing_is_stale_while_nothing_changed(stack) -> None:
    reload.record(stack, reload.digests(stack))
    assert reload.stale(reload.recorded(stack), reload.digests(stack)) == {}


@pytest.mark.parametrize(
    ("file", "name", "concerned"),
    [
        ("clouds.yaml", "clouds.yaml", given("clouds")),
        ("secure.yaml", "clouds.yaml", given("clouds")),
        ("fleet.yaml", "fleet.yaml", given("fleet")),
        ("home/issuers.yaml", "issuers.yaml", ALL),
        ("home/keys/jwks.json", "issuers.yaml", ALL),
        ("home/ci.json", "issuers.yaml", ALL),
    ],
)
def test_a_changed_file_concerns_those_that_read_it_and_no_others(
    stack, file, name, concerned
) -> None:
    """Whatever its times say: what counts is what is in it."""
    before = reload.digests(stack)
    path = stack.home.parent / file
    path.write_text(f"{path.read_text() if path.exists() else ''}\n")
    changed = reload.stale(before, reload.digests(stack))
    assert changed == {f"{it}-{n}": [name] for it in concerned for n in (1, 2)}
    said = reload.sentences(changed)
    assert len(said) == 1
    head, _, tail = said[0].partition(" changed: ")
    assert head == name
    assert set(tail.removesuffix(" start anew").split(", ")) == set(concerned)


def test_a_file_that_goes_away_and_one_that_comes_are_changes_too(stack) -> None:
    before = reload.digests(stack)
    stack.fleet.unlink()
    assert set(reload.stale(before, reload.digests(stack))) >= {"renew-1", "reap-2"}


def test_of_the_library_all_but_the_command_line_counts(tmp_path) -> None:
    """Modules and scripts are what a folder is read for; the command line is nobody's."""
    library = tmp_path / "library"
    for name in ("a.py", "ledger/place.lua", "cli/app.py"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("")
    digest = reload._digest  # noqa: SLF001  what is said of a folder
    before = digest([library])
    (library / "cli" / "app.py").write_text("changed")
    assert digest([library]) == before
    (library / "ledger" / "place.lua").write_text("changed")
    assert digest([library]) != before


def test_a_process_that_nothing_is_known_of_is_stale(stack) -> None:
    """As after an update of a stack that runs since before digests were kept."""
    now = reload.digests(stack)
    assert set(reload.stale({}, now)) == {name for name, reads in now.items() if reads}
    assert "valkey" not in reload.stale({}, now)


def test_one_alone_starts_anew_in_the_singular() -> None:
    said = reload.sentences({"timer": ["code"], "list-1": ["issuers.yaml"]})
    assert said == [
        "code changed: timer starts anew",
        "issuers.yaml changed: list starts anew",
    ]
