"""A short soak: all that is promised holds while everything goes wrong at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RUN = "tests.faults.soak.run"
SEED = 20261123
LOAD_S = 60
# A slow machine does no more in that time; the run goes on until then.
OPERATIONS = 300
KINDS_OF_FAULT = {
    "delay",
    "reset_before",
    "reset_after",
    "error_before",
    "error_after",
    "rate_limit",
    "truncated",
    "html",
    "broken_body",
    "hang",
}


def ended(command):
    """Return what a command returned and printed; it ends what it started, whatever ends us."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a Ctrl-C is ours, to be passed on once
    ) as process:
        try:
            printed, _ = process.communicate()
        finally:
            process.terminate()
    return process.returncode, printed


@pytest.mark.timeout(1800)
def test_nothing_is_violated_while_everything_goes_wrong_at_once(tmp_path, capsys):
    """No create over a limit, no double, no leak, nothing lost, no idle slot while someone waits.

    12 clients of three owners and a hostile one beside them, three replicas of each function;
    functions killed, clouds that fail in every way, a ledger that stands still.
    """
    summary_file = tmp_path / "summary.json"
    command = [sys.executable, "-m", RUN, f"--seed={SEED}", f"--seconds={LOAD_S}"]
    command += [f"--operations={OPERATIONS}"]
    command += [f"--home={tmp_path / 'soak'}", f"--json={summary_file}"]
    code, printed = ended(command)
    assert summary_file.exists(), printed
    with capsys.disabled():
        print("\n" + printed)
    summary = json.loads(summary_file.read_text())
    assert summary["violations"] == []
    assert summary["refused_quota"] == 0
    assert code == 0
    assert summary["operations"] >= OPERATIONS
    hostile = summary["hostile"]
    assert all(hostile.get(it) for it in ("wait 202", "fill 202", "churn 202", "odd 422")), hostile
    assert hostile.get("churn 429"), "it met its bounds"
    assert summary["acts"]["kill"] >= 5
    assert {"faults", "outage", "conduct", "drain", "open", "pause"} <= set(summary["acts"])
    assert set(summary["met"]) >= KINDS_OF_FAULT
    assert set(summary["highest"].values()) == {20}
