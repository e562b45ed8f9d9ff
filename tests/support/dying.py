"""A function that dies between two steps, as a process of its own.

usage: dying.py with JSON on stdin: {"ground": {fleet, clouds_file, redis_port, sim}, "act": name,
"given": its arguments, "when": before, after or nothing, "at": the step [what, nth]}. It runs one
use case and kills itself with SIGKILL at that step: what it leaves in ledger and clouds is what a
killed function leaves. One that gets to its end prints the steps that it took, as JSON.

The process is forked from one that has a single thread: a fork of a test's process could inherit
a lock that no thread of it will ever let go.
"""

import faulthandler
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx
from redis import Redis

from openmultistack.clouds import Cloud
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.marks import claim_of
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import Instance, Principal
from openmultistack.domain.pace import PACE
from openmultistack.fleet.config import load_fleet
from openmultistack.ledger import Ledger
from openmultistack.ledger.reading import Readings
from openmultistack.wiring.use_cases import Ground, UseCases

# What runs as a program of its own.
DYING = str(Path(__file__))
LEASE_MS = 60_000
HANGS_AFTER_S = 30
# Nobody looks after what is being built: a step is taken only when a test has it taken, and no
# thread runs beside one that dies. Of what leaves the same: its thread's first look never comes.
# Nobody stays to see servers gone.
STILL = PACE._replace(
    building=PACE.building._replace(at_most=0),
    leaving=PACE.leaving._replace(poll_s=24 * 3600.0),
    gone_within_s=0.0,
    repeat_wait_s=0.2,
)
# What only looks changes nothing: a death after it is the death after the step before.
LOOKS = {name for name in dir(Readings) if not name.startswith("_")} | {
    "made_under", "sweeping", "show", "find", "present", "survey", "catalogue", "region", "names",
}  # fmt: skip


class Step(NamedTuple):
    """The n-th time that something is asked of the ledger or of a cloud."""

    what: str
    nth: int


class Fuse:
    """Notes every step, and ends the process before or after the one it is set to."""

    def __init__(self, when: str = "", at: Step | None = None) -> None:
        self.steps: list[Step] = []
        self._when = when
        self._at = at
        self._seen: Counter[str] = Counter()

    def step(self, what: str, act: Callable[[], Any]) -> Any:
        """Take a step, or die."""
        self._seen[what] += 1
        step = Step(what, self._seen[what])
        self.steps.append(step)
        if (self._when, self._at) == ("before", step):
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return act()
        finally:
            if (self._when, self._at) == ("after", step):
                os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A ledger or a cloud whose acts pass a fuse: whatever it can do now or later."""

    def __init__(self, target: Any, name: str, fuse: Fuse) -> None:
        self._target = target
        self._name = name
        self._fuse = fuse

    def __getattr__(self, act: str) -> Any:
        """Return an act behind the fuse, or a look as it is."""
        found = getattr(self._target, act)
        looks = act in LOOKS or (self._name, act) == ("cloud", "place")
        if looks or not callable(found):
            return found
        return lambda *args, **more: self._fuse.step(
            f"{self._name}.{act}", lambda: found(*args, **more)
        )


class WatchedClouds:
    """All regions, each behind the fuse."""

    def __init__(self, clouds: OpenStackClouds, fuse: Fuse) -> None:
        self._clouds = clouds
        self._fuse = fuse

    def region(self, name: str) -> Cloud:
        """Return a region's cloud."""
        return cast("Cloud", Watched(self._clouds.region(name), "cloud", self._fuse))

    def names(self) -> Sequence[str]:
        """Return the regions there are."""
        return self._clouds.names()

    def close(self) -> None:
        """Give up the connections."""
        self._clouds.close()


class Place(NamedTuple):
    """Where functions are at home: their fleet, and what it is made of."""

    fleet: str
    clouds_file: str
    redis_port: int
    sim: str

    def ledger(self) -> Ledger:
        """Return the ledger over a connection of its own."""
        client = Redis(port=self.redis_port, decode_responses=True)
        return Ledger(client, self.fleet, lease_ms=LEASE_MS)

    def clouds(self) -> OpenStackClouds:
        """Return the clouds over connections of their own."""
        regions = load_fleet(Path(self.clouds_file), None).regions
        wanted = {it.name: (it.provider, it.region) for it in regions.values()}
        return OpenStackClouds(
            Path(self.clouds_file), wanted, fleet=self.fleet, keys=lambda: KEYRING
        )

    def servers(self) -> list[dict[str, Any]]:
        """Return this fleet's servers, as the clouds have them."""
        there = httpx.get(f"{self.sim}/sim/servers").json()["servers"]
        return [it for it in there if claim_of(it["metadata"], self.fleet)]

    def until_still(self) -> None:
        """Wait until no server is being built or deleted."""
        for _ in range(200):
            if all(it["task_state"] is None for it in self.servers()):
                return
            time.sleep(0.02)
        raise AssertionError("servers are still on the move")


class Functions:
    """The use cases as one function process has them."""

    def __init__(self, place: Place, fuse: Fuse) -> None:
        fleet = load_fleet(Path(place.clouds_file), None)
        clouds = WatchedClouds(place.clouds(), fuse)
        ledger: Any = Watched(place.ledger(), "ledger", fuse)
        use = UseCases(
            Ground(
                place.fleet,
                ledger=lambda: ledger,
                fleet=lambda: fleet,
                clouds=lambda: clouds,
                lease_ms=LEASE_MS,
                call_budget_s=0,
                pace=STILL,
            )
        )
        self._place = place
        self._regions = clouds.names()
        self._leaving = use.leaving()
        self.destroying, self.creating, self.reaping = (
            use.destroying(),
            use.creating(),
            use.reaping(),
        )

    def look(self) -> None:
        """Look once after what leaves any region."""
        for region in self._regions:
            self._leaving.look(region)

    def create(self, count: int = 1, *, key: str = "", **more: Any) -> list[Instance]:
        """Create instances of alice's."""
        caller = Principal(owner="alice", scopes=frozenset())
        command = CreateInstances(image="debian-12", size="m1.tiny", count=count, **more)
        return list(self.creating.create(caller, command, key=key).instances)

    def destroy(self, instance_id: str) -> None:
        """Destroy an instance of alice's, and see it off."""
        self.destroying.destroy_ids("alice", [instance_id])
        self._place.until_still()
        self.look()

    def reap(self) -> None:
        """Sweep all regions."""
        self.reaping.reap()


def main() -> None:
    """Run one use case, as far as it gets."""
    faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True, file=sys.stderr)
    told = json.load(sys.stdin)
    fuse = Fuse(told["when"], Step(*told["at"]) if told["at"] else None)
    functions = Functions(Place(**told["ground"]), fuse)
    getattr(functions, told["act"])(**told["given"])
    print(json.dumps(fuse.steps))


if __name__ == "__main__":
    main()
