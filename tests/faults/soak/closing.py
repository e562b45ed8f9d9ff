"""The closing act: faults are over, more is wanted than there is; does everything come right?"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.faults.soak.clients import Api, Journal, shown_in
from tests.faults.soak.history import End, Operation, Shown
from tests.faults.soak.stage import CAP, FLEET, LEASE_S, Stage

MORE = 15
AT_A_TIME = 5
TRIED_FOR_S = 60
# Two sweeps and what they start; all that is bounded by a lease is over before.
SETTLED_WITHIN_S = 150
DESTROYED = 8


class Closing:
    """Fills every slot, looks whether each that comes free is used again, and takes stock."""

    def __init__(
        self, stage: Stage, owners: Sequence[Api], guest: Api, operator: Api, journal: Journal
    ) -> None:
        self._stage = stage
        self._owners = owners
        # Whose things are gone by the end, and were counted until then.
        self._guest = guest
        self._operator = operator
        self._journal = journal
        self.troubles: list[str] = []
        self.filled_in_s: dict[str, float] = {}

    def play(self) -> None:
        """Go through all of it; what does not come right is told in `troubles`."""
        self._stage.wait_until_all_run()
        self._end_guest()
        calm_since = time.monotonic()
        self._demand()
        self._fill("at once", LEASE_S + SETTLED_WITHIN_S)
        time.sleep(max(0.0, calm_since + LEASE_S - time.monotonic()))
        self._sweep_twice()
        self._fill("after two sweeps", SETTLED_WITHIN_S)
        self._make_room()
        self._fill("after destroys", SETTLED_WITHIN_S)
        self._sweep_twice()

    def _do(self, kind: str, api: Api, method: str, path: str, **more: Any) -> Operation:
        """Call until it is answered with 2xx, and write it down."""
        until, about = time.monotonic() + TRIED_FOR_S, more.pop("about", {})
        while True:
            began = time.time()
            status, document = api.call(method, path, **more)
            done = Operation(
                kind=kind,
                owner=api.owner,
                began=began,
                ended=time.time(),
                status=status,
                shown=shown_in(document),
                **about,
            )
            self._journal.add(done)
            if done.accepted:
                return done
            if time.monotonic() > until:
                raise RuntimeError(f"{method} {path} is still answered {status}: {document}")
            time.sleep(0.5)

    def _end_guest(self) -> None:
        """Destroy all that the guest has."""
        while self._guest.listed() != (200, []):
            self._do("guest", self._guest, "DELETE", "/instances?label=by:hostile")
            time.sleep(0.2)

    def _demand(self) -> None:
        """Want more than fits, whatever is there already."""
        wanted = CAP * len(self._stage.regions) + MORE
        for number in range(wanted // AT_A_TIME):
            command = f"closing-{number}"
            body = {
                "image": "debian-12",
                "size": "tiny",
                "count": AT_A_TIME,
                "ttl": 7200,
                "on_full": "queue",
                "labels": {"command": command, "client": "closing"},
            }
            about = {"command": command, "key": command, "count": AT_A_TIME, "ttl_s": 7200}
            api = self._owners[number % len(self._owners)]
            headers = {"Idempotency-Key": command}
            self._do("create", api, "POST", "/instances", json=body, headers=headers, about=about)

    def _fill(self, when: str, within_s: float) -> None:
        """Wait until every slot is used by a server that runs, and somebody still waits."""
        began = time.monotonic()
        while (missing := self._missing()) and time.monotonic() < began + within_s:
            time.sleep(0.5)
        self.filled_in_s[when] = round(time.monotonic() - began, 1)
        if missing:
            self.troubles.append(f"idle: {when}, within {within_s:.0f} s: {missing}")

    def _missing(self) -> str:
        active = Counter(
            it["region"]
            for it in self._stage.ask_sim("servers")["servers"]
            if it["status"] == "ACTIVE" and it["task_state"] is None
        )
        short = {it: active[it] for it in self._stage.regions if active[it] != CAP}
        waiting = sum(it.status == "QUEUED" for them in self._listed().values() for it in them)
        if waiting and not short:
            return ""
        return f"{waiting} wait, {CAP} servers run everywhere but {short}"

    def _make_room(self) -> None:
        """Destroy some that run, of each owner's."""
        for api in self._owners:
            _, shown = api.listed()
            running = [it for it in shown if it.status == "ACTIVE"][:DESTROYED]
            for it in running:
                path = f"/instances/{it.id}"
                self._do("destroy", api, "DELETE", path, about={"target": it.id})

    def _sweep_twice(self) -> None:
        """Sweep until every region was swept twice; the timer's own sweeps come between."""
        swept: Counter[str] = Counter()
        until = time.monotonic() + TRIED_FOR_S
        while any(swept[it] < 2 for it in self._stage.regions):
            _, document = self._operator.call("POST", "/reap")
            done = document.get("regions", [])
            swept.update(it["region"] for it in done if it["outcome"] == "swept")
            if time.monotonic() > until:
                self.troubles.append(f"sweeps: only {dict(swept)} came to an end")
                return
            time.sleep(0.2)

    def _listed(self) -> dict[str, list[Shown]]:
        return {api.owner: api.listed()[1] for api in (*self._owners, self._guest)}

    def take_stock(self, fullest: Mapping[str, Mapping[str, Any]]) -> End:
        """Return what there is, at a moment in which nothing changes."""
        until = time.monotonic() + SETTLED_WITHIN_S
        while True:
            before = self._listed()
            cloud = self._stage.ask_sim("servers")
            regions = self._operator.call("GET", "/regions")[1]["regions"]
            if before == self._listed() or time.monotonic() > until:
                return End(
                    at=time.time(),
                    fleet=FLEET,
                    servers=cloud["servers"],
                    past=cloud["history"],
                    stats=self._stage.ask_sim("stats")["regions"],
                    listed=before,
                    regions=regions,
                    fullest=list(fullest.values()),
                )
