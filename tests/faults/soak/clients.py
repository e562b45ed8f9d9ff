"""Clients of a soak: each does at random what clients do, and writes down what it saw."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from openmultistack.auth.own_issuer import issue_token
from openmultistack.auth.principal import SCOPES
from tests.faults.soak.history import LIVING, MEANT_FOR_OTHERS, Operation, Shown

CALL_TIMEOUT_S = 150
TOKEN_S = 600
# What one client wants to have; all together want more than there is.
ENOUGH = 14
REMEMBERED = 6
# How long a command whose answer was lost is repeated.
REPEATED_FOR_S = 90
NOT_NOW = frozenset({0, 429, 500, 502, 503, 504})
SIZES = ("tiny", "small", "m1.medium", {"vcpus": 1, "ram_mb": 1024})
REGIONS = (["*"],) * 6 + (["p1/*"], ["*/RegionTwo"], ["p2/RegionOne", "p1/*"])


class Journal:
    """All operations of a run; safe to share between threads."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        # Ids by owner, for others to try.
        self.ids: dict[str, list[str]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, operation: Operation) -> None:
        """Write an operation down."""
        with self._lock:
            self.operations.append(operation)
            if operation.kind == "create":
                self.ids[operation.owner] += [it.id for it in operation.shown]

    def count(self) -> int:
        """Return how many operations there were."""
        return len(self.operations)


class Api:
    """The product's API, called as one owner; safe to share between threads."""

    def __init__(self, url: str, key: Path, owner: str) -> None:
        self.owner = owner
        self._key = key
        self._http = httpx.Client(base_url=f"{url}/v1", timeout=CALL_TIMEOUT_S)
        self._token, self._until = "", 0.0

    def call(self, method: str, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """Return an answer's status and document; 0 if none came."""
        headers = self.headers() | more.pop("headers", {})
        try:
            answer = self._http.request(method, path, headers=headers, **more)
            document = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        except (httpx.HTTPError, ValueError):
            return 0, {}
        return answer.status_code, document

    def headers(self) -> dict[str, str]:
        """Return what says who calls."""
        return {"Authorization": f"Bearer {self._bearer()}"}

    def listed(self) -> tuple[int, list[Shown]]:
        """Return all of the owner's instances, page by page."""
        found: list[Shown] = []
        cursor = ""
        while True:
            status, document = self.call("GET", f"/instances?limit=200{cursor}")
            found += shown_in(document)
            if status != 200 or document["next"] is None:
                return status, found
            cursor = f"&cursor={document['next']}"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _bearer(self) -> str:
        if time.monotonic() > self._until:
            self._token = issue_token(self._key, owner=self.owner, scopes=SCOPES, ttl_s=2 * TOKEN_S)
            self._until = time.monotonic() + TOKEN_S
        return self._token


def shown_in(document: Mapping[str, Any]) -> list[Shown]:
    """Return the instances of an answer: many, one, or none; a refusal names ids at most."""
    entries = document.get("instances", [document] if "expires_at" in document else [])
    return [
        Shown(
            it["id"],
            it["owner"],
            it["status"],
            it["server_id"],
            datetime.fromisoformat(it["expires_at"]).timestamp(),
            it["labels"],
        )
        for it in entries
        if "status" not in document or "expires_at" in document
    ]


class Client:
    """One client with chance of its own."""

    def __init__(
        self, api: Api, journal: Journal, number: int, seed: int, stop: threading.Event
    ) -> None:
        self.name = f"c{number}"
        self._api = api
        self._journal = journal
        self._stop = stop
        self._chance = random.Random(seed + number)
        self._mine: list[str] = []
        self._ended: list[str] = []
        self._keyed: list[dict[str, Any]] = []
        self._commands = 0
        self._acts: dict[Callable[[], int], int] = {
            self._create: 30,
            self._destroy: 18,
            self._destroy_label: 4,
            self._destroy_again: 3,
            self._repeat: 6,
            self._renew: 8,
            self._show: 14,
            self._events: 5,
            self._list: 6,
            self._others: 6,
        }

    def run(self) -> None:
        """Act until told to stop."""
        while not self._stop.is_set():
            act = self._destroy if len(self._mine) > ENOUGH else self._draw()
            pause_s = 0.4 if act() in NOT_NOW else 0.05
            self._stop.wait(self._chance.uniform(0, pause_s))

    def _draw(self) -> Callable[[], int]:
        return self._chance.choices(list(self._acts), list(self._acts.values()))[0]

    def _do(self, kind: str, method: str, path: str, **more: Any) -> Operation:
        """Call, and write it down; `about` is what the operation is told of itself."""
        about = more.pop("about", {})
        began = time.time()
        status, document = self._api.call(method, path, **more)
        operation = Operation(
            kind=kind,
            owner=self._api.owner,
            began=began,
            ended=time.time(),
            status=status,
            shown=shown_in(document),
            **about,
        )
        self._journal.add(operation)
        return operation

    # ------------------------------------------------------------ creates

    def _create(self) -> int:
        self._commands += 1
        command = f"{self.name}-{self._commands}"
        order = {"body": self._body(command), "key": ""}
        if self._chance.random() < 0.5:
            order["key"] = f"key-{command}"
            self._keyed = [*self._keyed, order][-REMEMBERED:]
            return self._until_answered(order, twice=self._chance.random() < 0.3)
        return self._send(order).status

    def _body(self, command: str) -> dict[str, Any]:
        waits = self._chance.random() < 0.4
        ttl = 7200 if waits else self._chance.choice((20, 40, 7200, 7200, 7200))
        return {
            "image": self._chance.choice(("debian-12", "ubuntu-24.04")),
            "size": self._chance.choice(SIZES),
            "count": self._chance.choice((1, 1, 1, 2, 2, 3, 4, 5)),
            "ttl": ttl,
            "labels": {"command": command, "client": self.name},
            "regions": self._chance.choice(REGIONS),
            "strategy": self._chance.choice(("spread", "spread", "pack", "priority")),
            "on_full": "queue" if waits else "reject",
            "partial": not waits and self._chance.random() < 0.4,
        }

    def _send(self, order: Mapping[str, Any]) -> Operation:
        body, key = order["body"], order["key"]
        about = {
            "command": body["labels"]["command"],
            "count": body["count"],
            "ttl_s": body["ttl"],
            "key": key,
        }
        headers = {"Idempotency-Key": key} if key else {}
        done = self._do("create", "POST", "/instances", json=body, headers=headers, about=about)
        self._mine += [it.id for it in done.shown if it.id not in self._mine]
        return done

    def _until_answered(self, order: Mapping[str, Any], *, twice: bool) -> int:
        """Send a keyed command, again and again while its answer is lost or says nothing."""
        until = time.monotonic() + REPEATED_FOR_S
        status = self._send_twice(order) if twice else self._send(order).status
        while status in (0, 502, 504) and time.monotonic() < until:
            time.sleep(self._chance.uniform(0.1, 0.5))
            status = self._send(order).status
        return status

    def _send_twice(self, order: Mapping[str, Any]) -> int:
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda _: self._send(order).status, range(2)))
        return 0 if 0 in both else max(both)

    def _repeat(self) -> int:
        return self._send(self._chance.choice(self._keyed)).status if self._keyed else 200

    # ------------------------------------------------------------ what is there

    def _one(self, kind: str, method: str, ids: list[str], end: str = "", **more: Any) -> int:
        if not ids:
            return 200
        target = self._chance.choice(ids)
        about = {"target": target} | more.pop("about", {})
        return self._do(kind, method, f"/instances/{target}{end}", about=about, **more).status

    def _destroy(self) -> int:
        if not self._mine:
            return 200
        target = self._mine.pop(self._chance.randrange(len(self._mine)))
        status = self._one("destroy", "DELETE", [target])
        # Not answered: it is known again when a list shows it.
        self._ended = [*self._ended, target][-REMEMBERED:]
        return status

    def _destroy_again(self) -> int:
        return self._one("destroy", "DELETE", self._ended)

    def _destroy_label(self) -> int:
        command = self._chance.randrange(max(1, self._commands - 8), self._commands + 2)
        label = f"command:{self.name}-{command}"
        done = self._do(
            "destroy_label", "DELETE", f"/instances?label={label}", about={"target": label}
        )
        gone = {it.id for it in done.shown}
        self._mine = [it for it in self._mine if it not in gone]
        return done.status

    def _renew(self) -> int:
        ttl = self._chance.choice((30, 7200))
        return self._one("renew", "PATCH", self._mine, json={"ttl": ttl}, about={"ttl_s": ttl})

    def _show(self) -> int:
        return self._one("show", "GET", self._mine)

    def _events(self) -> int:
        return self._one("events", "GET", self._mine, "/events")

    def _list(self) -> int:
        began = time.time()
        status, shown = self._api.listed()
        self._journal.add(
            Operation(
                kind="list",
                owner=self._api.owner,
                began=began,
                ended=time.time(),
                status=status,
                shown=shown,
            )
        )
        if status == 200:  # what was made by lost answers is known from now on
            own = [it for it in shown if it.labels.get("client") == self.name]
            self._mine = [it.id for it in own if it.status in LIVING]
        return status

    def _others(self) -> int:
        ids = [it for owner, them in self._journal.ids.items() for it in them[-20:]
               if owner != self._api.owner]  # fmt: skip
        method, end, more = self._chance.choice(
            [("GET", "", {}), ("GET", "/events", {}), ("DELETE", "", {}),
             ("PATCH", "", {"json": {"ttl": 60}})]
        )  # fmt: skip
        kind = MEANT_FOR_OTHERS + method.lower() + end.replace("/", "_")
        status = self._one(kind, method, ids, end, **more)
        return 200 if status == 404 else status
