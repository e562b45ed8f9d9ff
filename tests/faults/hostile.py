"""An owner with a good token who does what they can to keep all others out."""

import contextlib
import itertools
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

LABEL = {"by": "hostile"}
ORDER = {"image": "debian-12", "size": "tiny", "labels": LABEL, "on_full": "queue"}
USER_DATA = "#!/bin/sh\n" + "#" * 48_000
TIMEOUT_S = 90
WAIT_S = 20
# After each act: the machine that attacks is the one that is attacked.
PAUSE_S = 0.05
# How many do each of it at once, by `weight`.
THREADS = {"wait": 8, "fill": 1, "churn": 1, "list": 1, "odd": 1, "slow": 8}


class Hostile:
    """Attacks from many threads until told to stop; counts what was answered."""

    def __init__(
        self,
        url: str,
        headers: Callable[[], Mapping[str, str]],
        *,
        weight: int = 1,
        full: str = "*",
    ) -> None:
        """`full`: a region where there is no room, so that who waits there waits on."""
        self._url = url
        self._full = full
        self._headers = headers
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self._name = secrets.token_hex(4)
        self._lock = threading.Lock()
        # By act and status; 0: no answer came.
        self.answers: Counter[tuple[str, int]] = Counter()
        # What was said to what was over a bound.
        self.refusals: set[str] = set()
        acts: dict[str, Callable[[httpx.Client, int], None]] = {
            "wait": self._wait,
            "fill": self._fill,
            "churn": self._churn,
            "list": self._list,
            "odd": self._odd,
            "slow": self._slow,
        }
        self._threads = [
            threading.Thread(target=self._run, args=(acts[act], number), name=f"{act}-{number}")
            for act, many in THREADS.items()
            for number in range(many * weight)
        ]

    @contextlib.contextmanager
    def attacking(self) -> Iterator["Hostile"]:
        """Attack while the block runs."""
        for it in self._threads:
            it.start()
        try:
            yield self
        finally:
            self._stop.set()
            for it in self._threads:
                it.join()

    def met(self, act: str, *statuses: int) -> int:
        """Return how often an act was answered in one of these ways, or in any."""
        with self._lock:
            return sum(
                many
                for (of, status), many in self.answers.items()
                if of == act and (status in statuses or not statuses)
            )

    def summary(self) -> dict[str, int]:
        """Return how often each act was answered in which way."""
        return {
            f"{act} {status or 'none'}": many
            for (act, status), many in sorted(self.answers.items())
        }

    def was_told(self, words: str) -> bool:
        """Whether something was refused for being over a bound, in these words."""
        return any(words in it for it in list(self.refusals))

    def _run(self, act: Callable[[httpx.Client, int], None], number: int) -> None:
        with httpx.Client(base_url=f"{self._url}/v1", timeout=TIMEOUT_S) as http:
            while not self._stop.is_set():
                act(http, number)
                self._stop.wait(PAUSE_S)

    def _count(self, act: str, status: int) -> None:
        with self._lock:
            self.answers[act, status] += 1

    def _ask(
        self, http: httpx.Client, act: str, method: str, path: str, **more: Any
    ) -> dict[str, Any]:
        headers = dict(self._headers()) | more.pop("headers", {})
        try:
            answer = http.request(method, path, headers=headers, **more)
            document = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        except (httpx.HTTPError, ValueError):
            self._count(act, 0)
            return {}
        self._count(act, answer.status_code)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self.refusals.add(str(document.get("detail")))
        return dict(document)

    def _create(self, http: httpx.Client, act: str, **more: Any) -> list[str]:
        headers = more.pop("headers", {})
        document = self._ask(http, act, "POST", "/instances", json=ORDER | more, headers=headers)
        return [it["id"] for it in document.get("instances", []) if "expires_at" in it]

    def _wait(self, http: httpx.Client, number: int) -> None:
        """The same command again and again, which no rate counts: until it is ACTIVE it waits."""
        headers = {"Prefer": f"wait={WAIT_S}", "Idempotency-Key": f"wait-{self._name}-{number}"}
        more = {"json": ORDER | {"regions": [self._full]}, "headers": headers}
        began = time.monotonic()
        document = self._ask(http, "wait", "POST", "/instances", **more)
        waits = any(it.get("status") == "QUEUED" for it in document.get("instances", []))
        if waits and time.monotonic() < began + WAIT_S / 2:
            self._count("answered without waiting", 1)

    def _fill(self, http: httpx.Client, _: int) -> None:
        """Fill the queue, with orders as long as they may be; and again from the start."""
        key, labels = (
            {"Idempotency-Key": f"fill-{self._name}-{next(self._numbers)}"},
            LABEL | {"for": "fill"},
        )
        more = {"user_data": USER_DATA, "labels": labels, "count": 3}
        if not self._create(http, "fill", headers=key, **more):
            self._ask(http, "fill-end", "DELETE", "/instances?label=for:fill")

    def _churn(self, http: httpx.Client, _: int) -> None:
        """Create and destroy, each under a key of its own."""
        key = {"Idempotency-Key": f"churn-{self._name}-{next(self._numbers)}"}
        for it in self._create(http, "churn", headers=key):
            self._ask(http, "churn-end", "DELETE", f"/instances/{it}")

    def _list(self, http: httpx.Client, _: int) -> None:
        self._ask(http, "list", "GET", "/instances?limit=1000")

    def _odd(self, http: httpx.Client, _: int) -> None:
        """What is refused for its form."""
        for labels in ({"k" * 64: "v"}, {"k": "v" * 9000}, {f"k{n}": "v" for n in range(5000)}):
            self._create(http, "odd", labels=labels)
        self._create(http, "odd", user_data="x" * 200_000)

    def _slow(self, _: httpx.Client, __: int) -> None:
        """A body that comes a byte at a time."""
        to = urlsplit(self._url)
        lines = ["POST /v1/instances HTTP/1.1", "Host: a", "Content-Length: 200000"]
        lines += [f"{name}: {value}" for name, value in self._headers().items()]
        at = (str(to.hostname), int(to.port or 80))
        with contextlib.suppress(OSError), socket.create_connection(at, 5) as it:
            it.sendall(("\r\n".join(lines) + "\r\n\r\n{").encode())
            self._count("slow", 1)
            while not self._stop.wait(1):
                it.sendall(b" ")
