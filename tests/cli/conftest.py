"""`oms` as a person starts it, and a gateway that speaks the API's documents from memory."""

import codecs
import itertools
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest

Json = dict[str, Any]
REGIONS = ("alpha/RegionOne", "alpha/RegionTwo", "beta/RegionOne")
UNREACHABLE = "unreachable: provider removed"
# Looks like no JWT, so that it is not its form alone that keeps it off the screen.
TOKEN = "a-secret-that-nobody-may-see"


class Asked(NamedTuple):
    """A request as the stub saw it."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: Any


class Stub:
    """The gateway, in memory: an instance moves on a step each time it is looked at."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.instances: dict[str, Json] = {}
        self.page_max = 100
        # What an instance becomes, one status a look; the last one stays.
        self.life = ["BUILD", "ACTIVE"]
        # So many of a create find room at once; the others wait for some looks before.
        self.room = 100
        self.queued_for = 3
        self.death = ["DELETING", "DELETED"]
        self.error: str | None = None
        self.reaped: Json = {"regions": [], "expired": 0, "forgotten": 0}
        self.regions: list[Json] = []
        self.unreachable: set[str] = set()
        seen = {
            "owner": "ci",
            "issuer": "urn:openmultistack:local",
            "scopes": ["instances:read"],
            "expires_at": after(600),
            "used_at": after(-60),
        }
        self.tokens: list[Json] = [
            seen | {"id": "b" * 32, "jti": "jti-1", "revoked": False},
            seen | {"id": "a" * 32, "jti": None, "revoked": True},
        ]
        # How many others wait before the first of ours, one number a look; the last one stays.
        self.ahead = [2, 1]
        # (method, path) -> answers to give instead, each once; the last one stays.
        self.instead: dict[tuple[str, str], list[Any]] = {}
        self._steps: dict[str, list[str]] = {}
        self._made: dict[str, list[Json]] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, count: int = 1, status: str = "ACTIVE", **fields: Any) -> list[str]:
        """Have instances there already; returns their ids."""
        body = {"image": "debian-12", "size": "small"} | fields
        made = [self._make(body, [status]) for _ in range(count)]
        for it in made:
            self._steps[it["id"]] = [status]
        return [it["id"] for it in made]

    def paths(self, method: str) -> list[str]:
        """Return what was asked for with a method."""
        return [it.path for it in self.asked if it.method == method]

    @staticmethod
    def asked_as(method: str, path: str, query: list[tuple[str, str]], body: Any) -> Asked:
        """Return a request of a good token."""
        return Asked(method, path, query, {"Authorization": f"Bearer {TOKEN}"}, body)

    def answer(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        """Return status, document and headers."""
        with self._lock:
            self.asked.append(asked)
            planned = self.instead.get((asked.method, asked.path))
            if planned:
                found = planned.pop(0) if len(planned) > 1 else planned[0]
                if found == "act and hang up":
                    self._answer(asked)
                if found is not None:
                    return found
            if asked.headers["Authorization"] != f"Bearer {TOKEN}":
                return problem(401, "unauthenticated", "the token is not valid here")
            return self._answer(asked)

    def _answer(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        match asked.method, asked.path.split("/")[2:]:
            case "POST", ["instances"]:
                return self._create(asked)
            case "GET", ["instances"]:
                return 200, self._page(asked.query), {}
            case "DELETE", ["instances"]:
                wanted = [value for name, value in asked.query if name == "label"]
                found = [it for it in self.instances.values() if labelled(it, wanted)]
                return 202, {"instances": [self._end(it) for it in found]}, {}
            case "GET", ["regions"]:
                return 200, {"regions": self.regions}, {}
            case "POST", ["regions", "drain" | "open" as act]:
                return self._drain(asked.body["regions"], asked.body.get("why"), act)
            case "GET", ["tokens"]:
                return 200, {"tokens": self.tokens}, {}
            case "DELETE", ["tokens", named] if any(named == it["jti"] for it in self.tokens):
                return 200, {"revoked": [it["id"] for it in self.tokens if named == it["jti"]]}, {}
            case "POST", ["reap"]:
                return 200, self.reaped, {}
            case method, ["instances", instance_id, *more] if instance_id in self.instances:
                return self._one(method, self.instances[instance_id], more, asked.body)
        return problem(404, "not-found", f"there is nothing at {asked.path}")

    def _create(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        key = asked.headers.get("Idempotency-Key")
        lives = [
            self.life if number < self.room else ["QUEUED"] * self.queued_for + self.life
            for number in range(asked.body.get("count", 1))
        ]
        made = self._made.get(key) or [self._make(asked.body, life) for life in lives]
        if key:
            self._made[key] = made
        queued = sum(it["status"] == "QUEUED" for it in made)
        counts = {"requested": len(made), "placed": len(made) - queued, "queued": queued}
        return 202, {"instances": made} | counts, {}

    def _drain(
        self, patterns: list[str], why: str | None, act: str
    ) -> tuple[int, Any, dict[str, str]]:
        found = [it for it in self.regions if any(fnmatch(it["region"], p) for p in patterns)]
        if not found:
            detail = f"{patterns[0]!r} matches no region of the fleet"
            errors = [{"pointer": "/regions/0", "detail": detail}]
            near = [it["region"] for it in self.regions]
            return problem(422, "invalid", f"/regions/0: {detail}", errors=errors, nearest=near)
        drained = {"state": "drained", "drained": why or "drained by its operator"}
        for it in found:
            it.update(drained if act == "drain" else {"state": "up", "drained": None})
        return 200, {"regions": found}, {}

    def _one(self, method: str, it: Json, more: list[str], body: Any) -> Any:
        if more == ["events"]:
            return 200, {"events": [event("placed", it, "freest of 3"), event("active", it)]}, {}
        if method == "DELETE":
            return 202, {"instances": [self._end(it)]}, {}
        if method == "PATCH":
            it["expires_at"] = after(body["ttl"])
            return 200, it, {}
        return 200, self._look(it) | self._queue(it), {}

    def _queue(self, it: Json) -> Json:
        """Return how one that waits does so; a list does not tell it."""
        if it["status"] != "QUEUED":
            return {}
        ahead = self.ahead.pop(0) if len(self.ahead) > 1 else self.ahead[0]
        why = "no region that can serve it has a free slot"
        return {"queue": {"place": ahead + 1, "waiting": ahead + 3, "why": why}}

    def _make(self, body: Json, life: list[str]) -> Json:
        number = next(self._ids)
        made = {
            "id": f"i-01JD0000000000000000000{number:03}",
            "name": body.get("name", "oms"),
            "status": life[0],
            "owner": "dev",
            "image": body["image"],
            "addresses": [],
            "address": None,
            "cloud_status": None,
            "labels": body.get("labels", {}),
            "note": body.get("note", ""),
            "created_at": after(0),
            "expires_at": after(body.get("ttl", 3600)),
            "error": None,
        }
        where = (None, body["size"]) if made["status"] == "QUEUED" else (REGIONS[number % 3], "")
        made |= self._where(number, *where)
        self._steps[made["id"]] = life[1:]
        self.instances = {made["id"]: made} | self.instances
        return made

    @staticmethod
    def _where(number: int, region: str | None, size: Any) -> Json:
        """Return what an instance has with a place, or without one: then its size as asked."""
        wanted = size if isinstance(size, str) else json.dumps(size)
        return {
            "region": region,
            "provider": region and region.partition("/")[0],
            "server_id": region and f"5e7f-{number}",
            "flavor": "m1.small" if region else wanted,
            "attempt": 1 if region else 0,
        }

    def _look(self, it: Json) -> Json:
        steps = self._steps[it["id"]]
        if steps:
            it["status"] = steps.pop(0) if len(steps) > 1 else steps[0]
        last = int(it["id"][-3:])
        if it["status"] in ("BUILD", "ACTIVE") and not it["region"]:
            it |= self._where(last, REGIONS[last % 3], "")
        if it["status"] == "ACTIVE":
            it["address"] = f"10.0.0.{last}"
            fixed = {"version": 4, "network": "private", "kind": "fixed"}
            it["addresses"] = [{"address": it["address"], **fixed}]
        told = UNREACHABLE if it["id"] in self.unreachable else None
        it["error"] = self.error if it["status"] == "ERROR" else told
        return it

    def _end(self, it: Json) -> Json:
        it["status"] = self.death[0]
        self._steps[it["id"]] = self.death[1:]
        return it

    def _page(self, query: list[tuple[str, str]]) -> Json:
        asked = dict(query)
        wanted = [value for name, value in query if name == "label"]
        found = [
            it
            for it in map(self._look, list(self.instances.values()))
            if labelled(it, wanted)
            and it["region"] == asked.get("region", it["region"])
            and (
                it["status"] == asked["status"] if "status" in asked else it["status"] != "DELETED"
            )
        ]
        start = int(asked.get("cursor", "c0")[1:])
        end = start + min(self.page_max, int(asked.get("limit", "100")))
        return {
            "instances": found[start:end],
            "next": f"c{end}" if end < len(found) else None,
        }


def after(seconds: float) -> str:
    """Return a time so long from now, as the API writes it."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event(what: str, it: Json, why: str = "") -> Json:
    """Return an entry of an instance's story."""
    region = it["region"] or ""
    return {"at": after(0), "what": what, "region": region, "attempt": 1, "why": why}


def labelled(it: Json, wanted: list[str]) -> bool:
    """Return whether an instance has all labels, given as `key:value`."""
    return all(it["labels"].get(k) == v for k, _, v in (pair.partition(":") for pair in wanted))


def problem(
    status: int, slug: str, detail: str, **members: Any
) -> tuple[int, Json, dict[str, str]]:
    """Return an answer that says no, as RFC 9457 has it; a request_id is given by who wants one."""
    retry = members.pop("retry_after", None)
    document = {
        "type": f"urn:openmultistack:problem:{slug}",
        "title": slug,
        "status": status,
        "detail": detail,
    }
    headers = {"Content-Type": "application/problem+json"}
    return status, document | members, headers | ({"Retry-After": str(retry)} if retry else {})


@pytest.fixture
def refuse() -> Callable[..., tuple[int, Json, dict[str, str]]]:
    """Return what makes an answer that says no."""
    return problem


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            address = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = stub.answer(
                Asked(
                    self.command,
                    address.path,
                    parse_qsl(address.query, keep_blank_values=True),
                    self.headers,
                    json.loads(raw) if raw else None,
                )
            )
            if answer in ("hang up", "act and hang up"):
                self.close_connection = True
                return
            status, document, headers = answer
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815  the library's names

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A gateway of its own for each test."""
    made = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


class Oms:
    """Starts `oms` as a process of its own."""

    def __init__(self, url: str, zygote: Any) -> None:
        self._zygote = zygote
        # Nothing of the machine's own proxies, colours or stack takes part.
        kept = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH"}
        self.environment = {name: value for name, value in os.environ.items() if name in kept}
        self.environment |= {"OMS_URL": url, "OMS_TOKEN": TOKEN}
        self.command = [sys.executable, "-m", "openmultistack.cli"]

    def __call__(
        self, *arguments: str, code: int = 0, stdin: str = "", **environment: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command through pipes; it must end with this code, and never show a secret."""
        changed = self.environment | environment
        given = {name: value for name, value in changed.items() if value is not None}
        program = "openmultistack.cli"
        done = self._zygote.run(program, *arguments, environment=given, stdin=stdin)
        shown = done.stdout + done.stderr
        assert done.returncode == code, shown
        assert "Traceback" not in shown
        assert TOKEN not in shown
        assert "\x1b" not in shown, "colours and cursors are for terminals"
        return done

    def json(self, *arguments: str, code: int = 0) -> Json:
        """Run a command with --json and return its document."""
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def terminal(
        self, *arguments: str, columns: int = 80, send: Mapping[str, str] | None = None,
        **environment: str,
    ) -> "Screen":  # fmt: skip
        """Run a command in a pseudo-terminal; types an answer when a question is seen."""
        ours, theirs = pty.openpty()
        given = self.environment | {"TERM": "xterm-256color", "COLUMNS": str(columns)} | environment
        process = subprocess.Popen(
            [*self.command, *arguments],
            env=given,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown = _converse(ours, dict(send or {}))
        os.close(ours)
        screen = Screen(shown, process.wait(30))
        assert "Traceback" not in shown
        assert TOKEN not in shown
        return screen


def _converse(ours: int, send: dict[str, str]) -> str:
    shown, until = "", time.monotonic() + 60
    decode = codecs.getincrementaldecoder("utf-8")().decode
    while time.monotonic() < until:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            read = os.read(ours, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not read:
            break
        shown += decode(read)
        for question in [it for it in send if it in shown]:
            os.write(ours, send.pop(question).encode())
    return shown


class Screen(NamedTuple):
    """What a terminal was sent."""

    raw: str
    code: int

    @property
    def text(self) -> str:
        """The characters without colours and cursor movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw).replace("\r\n", "\n")


@pytest.fixture(scope="session")
def imported(zygote: Callable[..., Any]) -> Any:
    """Starts what has `oms` imported already."""
    parts = ("app", "client", "create", "destroy", "fleet_view", "screen", "show", "waiting")
    return zygote(*(f"openmultistack.cli.{it}" for it in parts))


@pytest.fixture
def oms(stub: Stub, imported: Any) -> Oms:
    """`oms`, pointed at the stub."""
    return Oms(stub.url, imported)
