"""A running stack's doors: the gateway's port is the only one, and nothing else opens to others."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.layout import Stack, stack_at
from infra.local.ports import STACK_MARK
from infra.local.sockets import PATH_MAX_BYTES, folder_of, make_folder, remove_folder

SOMEBODY = 65533
# In a home, however it was reached, become somebody else; try every door and file of stdin, and
# print those that opened.
TRY = """
import json, os, socket, sys
doors, files = json.load(sys.stdin)
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
opened = []
for door in doors:
    kind = socket.AF_UNIX if isinstance(door, str) else socket.AF_INET
    with socket.socket(kind) as client:
        client.settimeout(5)
        if client.connect_ex(door if isinstance(door, str) else ("127.0.0.1", door)) == 0:
            opened.append(door)
for file in files:
    for flags in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.close(os.open(file, flags | os.O_NONBLOCK))
            opened.append(file)
        except OSError:
            pass
print(json.dumps(opened))
"""
# What anybody may know: whose tokens are believed, by which public keys.
PUBLIC = {"issuers.yaml", "jwks.json"}


def processes_of(stack: Stack) -> Iterator[psutil.Process]:
    """Give every process of a stack, workers included."""
    for it in psutil.process_iter():
        try:
            if it.environ().get(STACK_MARK) == str(stack.home):
                yield it
        except psutil.Error:
            continue


def bound(stack: Stack) -> tuple[set[int], set[str]]:
    """Return the ports that a stack's processes listen on or are bound to, and their sockets.

    Found by the inodes of the processes' files in /proc/net.
    """
    ports, paths = set(), set()
    for process in processes_of(stack):
        for it in process.net_connections("inet"):
            if it.status in (psutil.CONN_LISTEN, psutil.CONN_NONE):
                ports.add(it.laddr.port)
        paths |= {it.laddr for it in process.net_connections("unix") if it.laddr}
    return ports, paths


def opened_by_somebody(
    home: Path, doors: Iterable[int | str | Path], files: Iterable[Path]
) -> list[int | str]:
    """Return which of these open to another user of this machine, who has got as far as a home."""
    asked = [
        [it if isinstance(it, int) else _as_seen(it, home) for it in those]
        for those in (doors, files)
    ]
    assert os.geteuid() == 0, "another user can be tried only by root"
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(SOMEBODY)],
        input=json.dumps(asked),
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(done.stdout))


def _as_seen(path: str | Path, home: Path) -> str:
    """Return a path from within a home: those above may let nobody pass, and prove nothing."""
    return os.path.relpath(path, home) if Path(path).is_relative_to(home) else str(path)


def stack_of(local) -> Stack:
    return stack_at({"OMS_HOME": str(local.home)})


def expect_closed(local) -> None:
    """One port listens; each socket is in the one folder; nobody else can open any of it."""
    stack = stack_of(local)
    ports, paths = bound(stack)
    assert ports == {local.port_base}
    wanted = {"valkey", "create-1", "list-1", "envoy-admin", "circus", "circus-events"}
    assert {str(folder_of(stack.home) / it) for it in wanted} <= paths
    assert {Path(it).parent for it in paths} == {folder_of(stack.home)}
    files = [it for it in stack.home.rglob("*") if it.is_file() and it.name not in PUBLIC]
    assert {"env", "signing.pem", "create-1.log", "circus.ini"} <= {it.name for it in files}
    stack.home.chmod(0o755)
    assert opened_by_somebody(stack.home, sorted(paths), files) == []


@pytest.mark.timeout(1800)
def test_nothing_but_the_gateway_opens_to_another_user(new_local) -> None:
    local = new_local()
    local.first_up()
    expect_closed(local)
    # The control: what is open is found so.
    (local.home / "file").touch(0o644)
    with socket.socket(socket.AF_UNIX) as it:
        it.bind(str(local.home / "door"))
        (local.home / "door").chmod(0o777)
        it.listen()
        doors, files = [local.port_base, local.home / "door"], [local.home / "file"]
        assert opened_by_somebody(local.home, doors, files) == [local.port_base, "door", "file"]


@pytest.mark.timeout(1800)
def test_a_home_with_a_long_path_has_short_sockets_as_closed(new_local) -> None:
    """`down` removes their folder; the ledger's URL is good for whoever reads `env`."""
    local = new_local("a-long-way-down/" * 8 + "one")
    local.first_up()
    folder = folder_of(local.home)
    assert not folder.is_relative_to(local.home)
    assert len(str(folder / "circus-events")) <= PATH_MAX_BYTES
    expect_closed(local)
    assert local.create()["status"] == "BUILD"
    assert f"OMS_REDIS_URL='unix://{folder}/valkey?db=0'" in (local.home / "env").read_text()
    assert local.run("status")[0] == 0
    assert local.run("down")[0] == 0
    assert not folder.exists()


@pytest.mark.parametrize("theirs", ["folder", "link", "open"])
def test_a_short_folder_that_is_not_the_users_own_is_not_used(tmp_path, theirs) -> None:
    """Whoever makes one of that name, after it was swept from /tmp, gets no sockets."""
    home = tmp_path / ("x" * PATH_MAX_BYTES)
    (home / "run").mkdir(parents=True)
    first = make_folder(home)
    assert make_folder(home) == folder_of(home) == first
    first.rmdir()
    if theirs == "link":
        first.symlink_to(tmp_path)
    else:
        first.mkdir(mode=0o777 if theirs == "open" else 0o700)
        first.chmod(0o777 if theirs == "open" else 0o700)
        if theirs == "folder":
            os.chown(first, SOMEBODY, SOMEBODY)
    try:
        second = make_folder(home)
        assert second not in {first, tmp_path}
        assert (second.stat().st_mode & 0o777, second.stat().st_uid) == (0o700, os.geteuid())
        with socket.socket(socket.AF_UNIX) as it:
            it.bind(str(second / ("n" * 24)))
        remove_folder(home)
        assert not second.exists()
        assert os.path.lexists(first)
    finally:
        first.unlink() if theirs == "link" else first.rmdir()
