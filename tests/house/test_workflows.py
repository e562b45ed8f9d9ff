"""What CI and pre-commit run is what people run: targets of the Makefile, or .ci/run."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
IDS = [it.name for it in WORKFLOWS]


def targets() -> set[str]:
    """Return what can be made."""
    makefile = (ROOT / "Makefile").read_text()
    (line,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    return {it for it in line.split() if re.search(rf"^{it}:", makefile, re.MULTILINE)}


def jobs(workflow: Path) -> dict[str, Any]:
    """Return a workflow's jobs by name."""
    told = yaml.safe_load(workflow.read_text())["jobs"]
    assert told
    return dict(told)


def steps(workflow: Path) -> list[dict[str, Any]]:
    """Return all steps of a workflow."""
    return [step for job in jobs(workflow).values() for step in job["steps"]]


def commands(workflow: Path) -> list[str]:
    """Return what a workflow runs."""
    return [it["run"] for it in steps(workflow) if "run" in it]


def is_ours(command: str) -> bool:
    """Return whether a command is .ci/run, or makes one target, with variables at most."""
    if command == ".ci/run":
        return True
    program, target, *variables = shlex.split(command)
    known = program == "make" and target in targets()
    return known and all(re.fullmatch(r"[A-Z]+=[^\n]*", it) for it in variables)


def test_there_are_workflows() -> None:
    assert {"check.yml", "nightly.yml"} <= set(IDS)
    assert {"check", "test", "long", "soak"} <= targets()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=IDS)
def test_each_step_is_a_target_of_the_makefile(workflow: Path) -> None:
    said = commands(workflow)
    assert said
    assert [it for it in said if not is_ours(it)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=IDS)
def test_a_workflow_may_read_only_and_has_an_end(workflow: Path) -> None:
    told = yaml.safe_load(workflow.read_text())
    assert told["permissions"] == {"contents": "read"}
    assert told["concurrency"]["group"]
    assert all(0 < job["timeout-minutes"] <= 150 for job in told["jobs"].values())
    assert all(
        re.fullmatch(r"actions/[\w-]+@v\d+", s["uses"]) for s in steps(workflow) if "uses" in s
    )


def test_every_proposal_gets_what_ci_run_gives() -> None:
    """.ci/run and the workflow may not drift apart."""
    script = (ROOT / ".ci" / "run").read_text()
    own = re.findall(r"^make .+$", script, re.MULTILINE)
    assert own
    assert sorted(own) == sorted(commands(ROOT / ".github" / "workflows" / "check.yml"))


def test_every_python_that_is_claimed_is_tested() -> None:
    """Without an end to the claim at least its first."""
    claimed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    matrix = jobs(ROOT / ".github" / "workflows" / "check.yml")["test"]["strategy"]["matrix"]
    first, last = re.search(r">=\s*3\.(\d+)", claimed), re.search(r"<\s*3\.(\d+)", claimed)
    assert first
    end = int(last[1]) if last else int(first[1]) + 1
    assert matrix["python"] == [f"3.{it}" for it in range(int(first[1]), end)]


def test_a_commit_is_checked_as_ci_checks_it() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    assert [it["entry"] for it in repo["hooks"]] == ["make check"]
    assert is_ours("make check")
