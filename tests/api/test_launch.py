"""What a function's server believes of its clients, how long it goes on, and what it leaves."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

SAYS = """
def handle(request):
    if request.path == "/large":
        return "x" * 3_000_000
    environ = request.environ
    wanted = ("SCRIPT_NAME", "PATH_INFO", "REMOTE_ADDR", "wsgi.url_scheme")
    return {name: environ.get(name) for name in wanted}
"""
FORGED = (
    b"GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Protocol: ssl\r\nX-Forwarded-Ssl: on\r\nScript-Name: /v1\r\nPath-Info: /y\r\n"
    b"X-Forwarded-For: 192.0.2.1\r\n\r\n"
)


@pytest.fixture(params=["port", "socket"])
def launched(
    request: Any, tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[Callable[[], socket.socket]]:
    """A function that says what it was told of its client; gives connections to it."""
    source, port, path = tmp_path / "says.py", free_port(), tmp_path / "s"
    source.write_text(SAYS)
    unix = request.param == "socket"
    command = [sys.executable, "-m", "openmultistack.launch"]
    command += ["--bind", f"unix:{path}"] if unix else []
    environment = os.environ | {
        "FUNCTION_SOURCE": str(source), "PORT": str(port), "THREADS": "4", "HOME": "/nowhere",
        "FORWARDED_ALLOW_IPS": "*", "OMS_LAME_DUCK_S": "0",
    }  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def connect() -> socket.socket:
        it = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        it.settimeout(30)
        try:
            it.connect(str(path) if unix else ("127.0.0.1", port))
        except OSError:
            it.close()
            raise
        return it

    until = time.monotonic() + 120
    while True:
        with suppress(OSError):
            connect().close()
            break
        assert time.monotonic() < until, (tmp_path / "log").read_text()
        time.sleep(0.05)
    if unix:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    yield connect
    process.terminate()
    assert process.wait(30) == 0
    assert not path.exists()
    assert (tmp_path / "log").read_text() == ""


def test_nothing_that_only_a_proxy_may_say_is_believed(launched) -> None:
    """Though the environment would have everybody trusted, and on a socket every peer is."""
    with launched() as it:
        it.sendall(FORGED)
        answer = b""
        while part := it.recv(65_536):
            answer += part
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("", "/v1/x")
    assert told["wsgi.url_scheme"] == "http"
    assert told["REMOTE_ADDR"] in ("", "127.0.0.1")


def test_who_does_not_read_the_answer_holds_up_nobody(launched) -> None:
    """Eight times as many as there are threads; each would be waited for ten seconds."""
    with ExitStack() as open_:
        for _ in range(32):
            deaf = open_.enter_context(launched())
            deaf.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        began = time.monotonic()
        with launched() as it:
            it.sendall(FORGED)
            assert it.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - began < 5


def test_who_reads_slowly_gets_the_whole_answer(launched) -> None:
    with launched() as it:
        it.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        came = 0
        while part := it.recv(100_000):
            came += len(part)
            time.sleep(0.01)
    assert came > 3_000_000
