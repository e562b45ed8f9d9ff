"""Keys for marks stay with `clean` until a ledger has seen that no server carries them any more."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from infra.local import carried, homes
from infra.local.layout import Stack, stack_at
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Instance, Resources, Status
from openmultistack.domain.regions import Place
from openmultistack.ledger import Ledger

ONE, TWO = "p1/RegionOne", "p1/RegionTwo"
AT = {ONE: Place("cloud", "one"), TWO: Place("cloud", "two")}
ELSEWHERE = Place("cloud", "another project")


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """Return a stack of two regions that was up, with keys and an empty ledger."""
    home = tmp_path / ".oms"
    for name in ("run", "valkey"):
        (home / name).mkdir(parents=True)
    entry = {"auth": {"auth_url": "http://127.0.0.1:1/v3"}, "regions": ["RegionOne", "RegionTwo"]}
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(yaml.safe_dump({"clouds": {"p1": entry}}))
    (home / "run" / "variables.json").write_text(json.dumps({"CLOUDS": str(clouds)}))
    (home / "marks.keys").write_text("k1:secret")
    return again(home)


def again(home: Path) -> Stack:
    """Return a home's stack as it is by now."""
    return stack_at({"OMS_HOME": str(home)})


def sweep(ledger: Ledger, region: str, place: Place | None = None) -> None:
    """Have a region seen well by a sweep."""
    ledger.bind(region, place or AT[region], {ONE: 0, TWO: 1})
    ledger.survey(region, cap=Resources(9, 9, 9999), foreign=Resources(), catalogue=None)


def hold(ledger: Ledger, region: str) -> None:
    """Have a sweep find a server of ours in a region."""
    sweep(ledger, region)
    found = Instance(
        id="i-1",
        identity=Identity("alice", "ci", {}, 1, 4_000_000_000_000),
        status=Status.BUILD,
        region=region,
        image="i",
        flavor="f",
        attempt=1,
        server_id="s-1",
    )
    assert ledger.hold(found, Resources(1, 1, 1), building=False, failed=None, was_in=None)


def entry(place: Place) -> str:
    """Return what is written of a place."""
    return f"default {place.id}"


@pytest.mark.parametrize(
    ("seen", "kept"), [([], True), ([ONE], True), ([ONE, TWO], False), ([ONE, ELSEWHERE], True)]
)
def test_a_region_that_no_sweep_has_seen_may_have_servers(
    stack: Stack, seen: list[str | Place], *, kept: bool
) -> None:
    """As after `clean FORCE=1`, when the next `up` failed."""
    with homes.open_ledger(stack) as ledger:
        for it in seen:
            sweep(ledger, it if isinstance(it, str) else "p2/RegionOne", AT.get(str(it), ELSEWHERE))
    assert (carried.carriers(stack) is not None) == kept


def test_where_servers_go_on_stays_until_that_very_place_is_seen_without(stack: Stack) -> None:
    with homes.open_ledger(stack) as ledger:
        hold(ledger, ONE)
        sweep(ledger, TWO)
    where = carried.carriers(stack)
    assert where == {entry(AT[ONE])}
    carried.keep(stack, where)

    forget(stack)
    with homes.open_ledger(stack) as ledger:  # of the same names, elsewhere
        sweep(ledger, ONE, ELSEWHERE)
        sweep(ledger, TWO)
    assert carried.carriers(stack) == where

    forget(stack)
    with homes.open_ledger(stack) as ledger:
        sweep(ledger, ONE)
        sweep(ledger, TWO)
    assert carried.carriers(stack) is None


def test_another_fleets_ledger_tells_nothing_of_where_servers_went_on(stack: Stack) -> None:
    where = frozenset([entry(AT[ONE])])
    carried.keep(stack, where)
    variables = json.loads(stack.variables_file.read_text()) | {"OMS_FLEET": "another"}
    stack.variables_file.write_text(json.dumps(variables))
    another = again(stack.home)
    with homes.open_ledger(another) as ledger:
        sweep(ledger, ONE)
        sweep(ledger, TWO)
    assert carried.carriers(another) == where


@pytest.mark.parametrize("change", ["another fleet", "the laboratory", "neither"])
def test_what_a_stack_leaves_behind_as_it_becomes_another_is_written(
    stack: Stack, change: str
) -> None:
    """`make up` with another OMS_FLEET, or CLOUDS= to go back to the laboratory."""
    with homes.open_ledger(stack) as ledger:
        hold(ledger, ONE)
        sweep(ledger, TWO)
    now = {
        "another fleet": replace(stack, fleet_name="another"),
        "the laboratory": replace(stack, clouds=None),
        "neither": stack,
    }[change]
    carried.keep_of_before(now, stack)
    assert stack.carried_file.exists() == (change != "neither")
    (stack.home / "lab").mkdir()
    forget(stack)
    with homes.open_ledger(now) as ledger:
        sweep(ledger, ONE)
        sweep(ledger, TWO)
    assert carried.carriers(now) == (None if change == "neither" else {entry(AT[ONE])})


def test_a_stack_of_which_nothing_is_known_leaves_its_keys_behind(stack: Stack) -> None:
    shutil.rmtree(stack.home / "valkey")
    stack.clouds_file.write_text("clouds: [")
    lab = replace(stack, clouds=None)
    carried.keep_of_before(lab, stack)
    (stack.home / "lab").mkdir()
    assert carried.carriers(lab)


def test_where_servers_go_on_is_written_though_the_regions_are_not_known(stack: Stack) -> None:
    with homes.open_ledger(stack) as ledger:
        hold(ledger, ONE)
    stack.clouds_file.write_text("clouds: [")
    assert carried.carriers(stack) == {entry(AT[ONE])}


def forget(stack: Stack) -> None:
    """Have a stack's ledger lost."""
    for path in (stack.home / "valkey").rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize("why", ["no clouds.yaml", "no ledger", "no variables"])
def test_what_is_not_known_keeps_the_keys(stack: Stack, why: str) -> None:
    """An `up` that fails early leaves a home that does not say what stack it is."""
    with homes.open_ledger(stack) as ledger:
        sweep(ledger, ONE)
        sweep(ledger, TWO)
    assert carried.carriers(stack) is None
    if why == "no clouds.yaml":
        stack.clouds_file.write_text("clouds: [")
    elif why == "no ledger":
        shutil.rmtree(stack.home / "valkey")
    else:
        stack.variables_file.unlink()
    assert carried.carriers(again(stack.home)) is not None


def test_keys_of_a_laboratory_go_with_it_unless_they_were_kept_before(stack: Stack) -> None:
    stack.variables_file.write_text("{}")
    (stack.home / "lab").mkdir()
    lab = again(stack.home)
    assert carried.carriers(lab) is None
    carried.keep(lab, frozenset([entry(AT[ONE])]))
    assert carried.carriers(lab) == {entry(AT[ONE])}


@pytest.mark.parametrize("home", [".oms", ".oms/a", ".oms-x/a/b"])
def test_leftovers_with_keys_stay_and_others_go(tmp_path: Path, home: str) -> None:
    for it in (home, ".oms-other"):
        (tmp_path / it).mkdir(parents=True)
    (tmp_path / home / "marks.keys").write_text("k1:secret")
    for _ in range(2):
        assert homes.remove_leftovers(tmp_path) == []
        assert (tmp_path / home / "marks.keys").exists()
    assert not (tmp_path / ".oms-other").exists()
