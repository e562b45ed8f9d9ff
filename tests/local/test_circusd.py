"""The supervisor: what it does by itself and what it is told never meet."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from infra.local import layout

SUPERVISOR = Path(layout.__file__).with_name("circusd.py")
# One that takes a while to end.
PROGRAM = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(1)
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).touch()
while True:
    time.sleep(1)
"""
WITHIN_S = 60


@pytest.mark.parametrize("warmup_s", [0, 2])
def test_an_end_is_never_lost_and_its_log_stays_empty(tmp_path: Path, warmup_s: int) -> None:
    """Told while it only looks after its processes, and in the midst of starting them."""
    (tmp_path / "program.py").write_text(PROGRAM)
    started = tmp_path / "started"
    (tmp_path / "circus.ini").write_text(f"""
[circus]
endpoint = ipc://{tmp_path}/c
pubsub_endpoint = ipc://{tmp_path}/e
multicast_endpoint =
check_delay = 0.1
[watcher:slow]
cmd = {sys.executable} {tmp_path}/program.py {started}
warmup_delay = {warmup_s}
""")
    log = tmp_path / "log"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [sys.executable, str(SUPERVISOR), str(tmp_path / "circus.ini")],
            stdout=said,
            stderr=said,
        ) as supervisor,
    ):
        _wait_for(started)
        children = psutil.Process(supervisor.pid).children()
        try:
            supervisor.terminate()
            supervisor.terminate()
            assert supervisor.wait(WITHIN_S) == 0
            assert psutil.wait_procs(children, timeout=0)[1] == []
        finally:
            supervisor.kill()
            for it in children:
                with suppress(psutil.NoSuchProcess):
                    it.kill()
    assert log.read_text() == ""


def _wait_for(path: Path) -> None:
    until = time.monotonic() + WITHIN_S
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
