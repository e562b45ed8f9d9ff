"""A real gateway before a function that writes down what reached it, and clients that send bytes.

The function runs on our own launcher and reads bodies with the code of our own functions.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from infra.local.processes import listens
from openmultistack.auth.own_issuer import issue_token
from openmultistack.wiring.doors import DOORS

PATIENCE_S = 10
# What is meant is one second; this machine does other things beside.
ANSWERED_WITHIN_S, ANSWERED_MOSTLY_WITHIN_S = 5.0, 1.0
WITNESS = """
import json, os
from openmultistack.domain.errors import Problem
from openmultistack.api.door import _body

def handle(request):
    came = {"method": request.method, "path": request.full_path.rstrip("?"), "body": None,
            "token": request.headers.get("Authorization", "").rpartition(" ")[2]}
    status = 200
    try:
        came["body"] = _body(request).decode("latin-1")
    except Problem as problem:
        status = problem.status
    if status == 200:
        with open(os.environ["CAME"], "a") as file:
            file.write(json.dumps(came) + chr(10))
    return came["path"], status
"""
# A request that is legitimate where it is one, and a theft where it is a part of another.
HIDDEN = (
    b"POST /v1/reap HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer <ann>\r\nContent-Length: 0\r\n\r\n"
)


class Arrival(NamedTuple):
    """A request as the function understood it."""

    owner: str
    method: str
    path: str
    body: str


class Answer(NamedTuple):
    """What a client was told."""

    status: int
    closes: bool
    body: bytes


class Wire:
    """One connection of a client that sends what it likes."""

    def __init__(self, address: Path | tuple[str, int]) -> None:
        kind = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
        self._socket = socket.socket(kind)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(address) if isinstance(address, Path) else address)
        self._came = b""

    def send(self, data: bytes) -> int:
        """Send, as far as the other side takes it; return how much that was."""
        sent = 0
        with suppress(ConnectionError):
            while sent < len(data):
                sent += self._socket.send(data[sent:])
        return sent

    def answer(self) -> Answer | None:
        """Return the next answer, or None at the end of the connection."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        found = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        assert found, head
        if found[1] == b"100":
            return self.answer()
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        assert length, head
        closes = re.search(rb"\r\nconnection: close", head, re.IGNORECASE) is not None
        return Answer(int(found[1]), closes, self._take(int(length[1])))

    def rest(self) -> list[Answer]:
        """Return all answers until the connection ends."""
        return list(iter(self.answer, None))

    def is_silent_for(self, seconds: float) -> bool:
        """Whether neither an answer nor the end comes for so long."""
        self._socket.settimeout(seconds)
        try:
            self._came += self._socket.recv(65_536)
        except TimeoutError:
            return not self._came
        return False

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _until(self, end: bytes) -> bytes | None:
        while end not in self._came:
            if not self._read():
                assert not self._came, self._came
                return None
        head, _, self._came = self._came.partition(end)
        return head + end

    def _take(self, size: int) -> bytes:
        while len(self._came) < size:
            assert self._read(), "the answer ended early"
        taken, self._came = self._came[:size], self._came[size:]
        return taken

    def _read(self) -> bool:
        try:
            part = self._socket.recv(65_536)
        except ConnectionError:
            return False
        self._came += part
        return bool(part)


class Scene:
    """The gateway, the function behind it, who calls them, and what arrived."""

    def __init__(self, gateway: Any, function: Path, came: Path, tokens: dict[str, str]) -> None:
        self.doors: dict[str, Any] = {
            "gateway": ("127.0.0.1", gateway.port),
            "function": function,
        }
        self.hidden = HIDDEN.replace(b"<ann>", tokens["ann"].encode())
        self._tokens, self._came, self._count = tokens, came, count()
        self.took_s: list[float] = []

    def fill(self, data: bytes) -> bytes:
        """Put in tokens, the hidden request and its length, in digits and in hexadecimal ones."""
        data = data.replace(b"<hidden>", self.hidden)
        data = data.replace(b"<len>", b"%d" % len(self.hidden))
        data = data.replace(b"<hex>", b"%x" % len(self.hidden))
        for owner, token in self._tokens.items():
            data = data.replace(b"<%s>" % owner.encode(), token.encode())
        return data

    @contextmanager
    def wire(self, door: str) -> Iterator[Wire]:
        """Give a connection to a door."""
        it = Wire(self.doors[door])
        try:
            yield it
        finally:
            it.close()

    def arrived(self, owner: str | None = None) -> list[Arrival]:
        """Return what reached the function so far, of an owner or of all."""
        names = {token: name for name, token in self._tokens.items()}
        # Whole lines: another may be written just now.
        lines = [json.loads(it) for it in self._came.read_text().split("\n")[:-1]]
        them = [
            Arrival(names.get(it["token"], "?"), it["method"], it["path"], it["body"])
            for it in lines
        ]
        return [it for it in them if owner in (None, it.owner)]

    def ask(self, wire: Wire, owner: str) -> None:
        """Ask on a connection for what nobody else asks for, and be answered that at once."""
        path = f"/v1/regions?n={next(self._count)}"
        head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer <{owner}>\r\n\r\n"
        wire.send(self.fill(head.encode()))
        answer = wire.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (200, path.encode())
        assert self.arrived(owner)[-1] == Arrival(owner, "GET", path, "")

    def neighbour(self, door: str) -> None:
        """Have another client ask on a connection of their own; they never wait long."""
        began = time.monotonic()
        with self.wire(door) as it:
            self.ask(it, "bob")
        self.took_s.append(time.monotonic() - began)
        assert self.took_s[-1] < ANSWERED_WITHIN_S


@pytest.fixture(scope="session")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The function: where it listens, and where it writes down what arrives."""
    folder = tmp_path_factory.mktemp("witness")
    source, door, came = folder / "witness.py", folder / "s", folder / "came"
    source.write_text(WITNESS)
    came.touch()
    command = [sys.executable, "-m", "openmultistack.launch", "--source", str(source)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"unix:{door}"],
            stdout=log,
            stderr=log,
            env=os.environ | {"CAME": str(came), "THREADS": "8", "OMS_LAME_DUCK_S": "0"},
        )
    try:
        until = time.monotonic() + 120
        while not listens(door):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
        yield door, came
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert (folder / "log").read_text() == ""


@pytest.fixture(scope="module")
def scene(
    run_gateway: Callable[..., Any], witness: tuple[Path, Path], home: Path
) -> Iterator[Scene]:
    """All of it; at the end nothing has arrived late, and nobody else waited long."""
    key = home / "own" / "signing.pem"
    tokens = {
        owner: issue_token(key, owner=owner, scopes=["any"], ttl_s=6 * 3600)
        for owner in ("ann", "bob")
    }
    door, came = witness
    functions = {name: [door] for name in DOORS}
    # Who was refused may read it for a second before Envoy ends the connection: too long for many.
    with run_gateway(functions=functions, manager={"delayed_close_timeout": "0.05s"}) as gateway:
        it = Scene(gateway, door, came, tokens)
        yield it
        it.neighbour("gateway")
    took = sorted(it.took_s)
    assert took[len(took) * 9 // 10] < ANSWERED_MOSTLY_WITHIN_S


def _refused(answer: Answer) -> bool:
    # 501: a coding that is not spoken (RFC 9112, 6.1); it is no failure of ours.
    return 400 <= answer.status < 500 or answer.status == 501


@pytest.fixture
def judge(scene: Scene) -> Callable[..., None]:
    """Send bytes, and compare what arrived and what was answered: (door, bytes, arrivals, end).

    `end` says what becomes of the connection after that: "kept", "refused", "closed" with nothing
    said, or it "waits" for the rest.
    """

    def check(door: str, sent: bytes, read: list[tuple[str, str, str, str]], end: str) -> None:
        arrivals = [Arrival(owner, *more) for owner, *more in read]
        before = len(scene.arrived("ann"))
        with scene.wire(door) as wire:
            wire.send(scene.fill(sent))
            scene.neighbour(door)
            for it in arrivals:
                answer = wire.answer()
                assert answer is not None
                assert (answer.status, answer.body) == (200, it.path.encode())
            if end == "kept":
                scene.ask(wire, "ann")
                arrivals = [*arrivals, scene.arrived("ann")[-1]]
            elif end == "refused":
                rest = wire.rest()
                assert len(rest) == 1, rest
                assert _refused(rest[0]), rest
            elif end == "closed":
                assert wire.rest() == []
            else:
                assert wire.is_silent_for(0.3)
        scene.neighbour(door)
        assert scene.arrived("ann")[before:] == arrivals

    return check
