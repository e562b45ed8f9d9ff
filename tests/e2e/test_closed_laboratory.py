"""The laboratory's database is its own alone: no other user has its uid or password."""

import json
import pwd
import subprocess
from pathlib import Path

import psutil
import pytest

from infra.local.ports import HOST

# Log in with a password: exit code 0, or the reason.
LOG_IN = """
import psycopg2, sys
host, port, password = sys.argv[1:]
try:
    psycopg2.connect(host=host, port=port, user="lab", password=password, dbname="postgres")
except psycopg2.OperationalError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def server(lab: Path) -> psutil.Process:
    """The database's process."""
    recorded = json.loads((lab.parent / "processes.json").read_text())
    return psutil.Process(next(it["pid"] for it in recorded if it["name"] == "postgres"))


def test_the_database_runs_as_a_user_that_nobody_else_is(server: psutil.Process) -> None:
    own, uid = psutil.Process().uids().real, server.uids().real
    if own:
        assert uid == own
    else:
        with pytest.raises(KeyError):
            pwd.getpwuid(uid)


def test_its_password_is_this_laboratorys_and_its_file_closed(
    lab: Path, server: psutil.Process
) -> None:
    kept = lab.parent / "postgres-password"
    assert kept.stat().st_mode & 0o777 == 0o600
    (port,) = (it.removeprefix("port=") for it in server.cmdline() if it.startswith("port="))

    def log_in(password: str) -> str:
        python = lab.parent.parent / "venv" / "bin" / "python"
        argv = [python, "-c", LOG_IN, HOST, port, password]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stderr

    assert log_in(kept.read_text()) == ""
    assert "password authentication failed" in log_in("lab-secret")
