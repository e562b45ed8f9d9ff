"""`clean` ends what it deletes, deletes only what is ours, and leaves nobody's servers alone."""

import subprocess
from pathlib import Path

import psutil
import pytest

from infra.local import processes
from infra.local.layout import stack_at
from infra.local.watchers import watched


def running(local) -> dict[str, psutil.Process]:
    return processes.running(stack_at({"OMS_HOME": str(local.home)}))


def all_of(local) -> set[str]:
    """Return the names of all processes that a stack has."""
    stack = stack_at({"OMS_HOME": str(local.home)})
    return {processes.SUPERVISOR, *(it.name for it in watched(stack))}


@pytest.mark.timeout(1800)
def test_two_stacks_of_other_ports_are_ended_and_forgotten(new_local, tmp_path: Path) -> None:
    """Found by their marks, wherever below the folder their homes are; a neighbour's goes on."""
    one, two, neighbour = new_local("below"), new_local("below/deeper/two"), new_local("beside")
    for it in (one, two, neighbour):
        it.first_up()
    below = tmp_path / "below"
    subprocess.run(["git", "init", "-q"], cwd=below, check=True)
    (below / ".oms-kept.yaml").write_text("a person's own")
    (below / ".oms-left").write_text("a leftover")
    subprocess.run(["git", "add", ".oms-kept.yaml"], cwd=below, check=True)

    code, said = one.run("clean", "--below", str(below))
    assert code == 0, said
    assert ".oms-kept.yaml stays" in said
    assert running(one) == running(two) == {}
    assert set(running(neighbour)) == all_of(neighbour)
    assert neighbour.home.exists()
    assert not one.home.exists()
    assert not two.home.exists()
    assert (below / ".oms-kept.yaml").read_text() == "a person's own"
    assert not (below / ".oms-left").exists()
    assert one.clouds_file.exists()


@pytest.mark.timeout(1800)
def test_servers_that_go_on_are_told_by_down_and_refused_by_clean(new_local) -> None:
    """Also when nothing runs any more that could be asked; FORCE=1 forgets them, and says so."""
    it = new_local()
    it.first_up()
    it.create(regions=["p1/RegionTwo"])
    below = ("--below", str(it.home.parent))
    code, said = it.run("clean", *below)
    assert code == 1
    assert "1 server goes on in p1/RegionTwo (1)" in said
    assert "make clean FORCE=1" in said
    assert set(running(it)) == all_of(it)

    code, said = it.run("down")
    assert code == 0
    assert "1 server goes on in p1/RegionTwo (1)" in said
    assert running(it) == {}
    code, said = it.run("clean", *below)
    assert code == 1
    assert "1 server goes on in p1/RegionTwo (1)" in said
    assert (it.home / "valkey").exists()

    code, said = it.run("clean", *below, FORCE="1")
    assert code == 0, said
    assert "1 server goes on in p1/RegionTwo (1)" in said
    assert "marks.keys stays" in said
    assert sorted(path.name for path in it.home.iterdir()) == ["marks.keys", "marks.keys.carried"]


def test_a_first_up_that_fails_leaves_no_keys_to_keep(new_local) -> None:
    it = new_local()
    it.clouds_file.write_text("clouds: [")
    assert it.run("up", PORT_BASE=str(it.port_base), CLOUDS=str(it.clouds_file))[0] == 1
    assert it.home.exists()
    code, said = it.run("clean", "--below", str(it.home.parent))
    assert code == 0, said
    assert not it.home.exists()


@pytest.mark.timeout(1800)
def test_keys_that_servers_carry_outlive_an_up_that_fails(new_local) -> None:
    """Only when a new ledger has seen that there are none any more the keys go with all else."""
    it = new_local()
    it.first_up()
    made = it.create(regions=["p1/RegionTwo"])
    below = ("--below", str(it.home.parent))
    keys, clouds = it.home / "marks.keys", it.clouds_file.read_text()
    text = keys.read_text()
    code, said = it.run("clean", *below, FORCE="1")
    assert (code, keys.read_text()) == (0, text), said

    it.clouds_file.write_text("clouds: [")
    told = {"PORT_BASE": str(it.port_base), "CLOUDS": str(it.clouds_file)}
    assert it.run("up", **told)[0] == 1
    code, said = it.run("clean", *below)
    assert (code, keys.read_text()) == (0, text), said
    assert "marks.keys stays" in said

    it.clouds_file.write_text(clouds)
    it.first_up()
    assert it.call("GET", f"/instances/{made['id']}").json()["status"] in ("BUILD", "ACTIVE")
    assert it.call("DELETE", f"/instances/{made['id']}").is_success

    def is_empty() -> bool:
        it.call("POST", "/reap")
        regions = it.call("GET", "/regions").json()["regions"]
        return not any(region["held"] for region in regions)

    it.until(is_empty)
    code, said = it.run("clean", *below)
    assert code == 0, said
    assert not it.home.exists()


@pytest.mark.timeout(1800)
def test_down_of_all_below_a_folder_keeps_their_data(new_local) -> None:
    """As CI ends what a killed test has left."""
    it = new_local()
    it.first_up()
    code, said = it.run("down", "--below", str(it.home.parent))
    assert code == 0
    assert f"processes of {it.home}" in said
    assert running(it) == {}
    assert (it.home / "valkey").exists()
