"""`lab.py race`: what happens to those who race at a region's quota, straight at Nova.

Nova counts a server only once it is scheduled. Of creates at once it accepts all, counts again
later, and then puts servers in ERROR, among them more than the surplus.
"""

import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass

from errors import LabError
from layout import Lab
from rest import Collection, Json, Session
from topology import Region

ACCEPTED = 202
SETTLE_TIMEOUT_S = 180
POLL_S = 0.2


@dataclass(frozen=True)
class Outcome:
    """What was asked for, what Nova answered, and what became of all the race's servers."""

    region: str
    limit: int
    used_before: int
    start: int
    at_once: int
    answers: dict[str, int]
    settled: dict[str, int]
    seconds: float

    def sentence(self) -> str:
        """The outcome for a reader."""
        answers = ", ".join(f"{count} times {status}" for status, count in self.answers.items())
        settled = ", ".join(f"{count} {status}" for status, count in self.settled.items())
        before = f"{self.region}: limit {self.limit}, {self.used_before} used before"
        asked = f"{self.start} made one by one, {self.at_once} at once"
        return f"{before}, {asked}: answered {answers} in {self.seconds:.1f} s; then {settled}"


class Racer:
    """The user `ci` at one region's Nova; it knows its servers by a name of this race."""

    def __init__(self, lab: Lab, region: Region) -> None:
        self._session = Session(lab, region.provider, "ci")
        self._nova = f"{lab.service_url(region, 'nova')}/v2.1"
        self.name = f"race-{secrets.token_hex(4)}"
        self._body = {"server": self._server(lab, region)}

    def _server(self, lab: Lab, region: Region) -> Json:
        """The smallest server the region has."""
        images_url = f"{lab.service_url(region, 'glance')}/v2/images"
        networks_url = f"{lab.service_url(region, 'neutron')}/v2.0/networks"
        flavors = Collection(self._session, f"{self._nova}/flavors", "flavor")
        images = Collection(self._session, images_url, "image", query="?limit=100")
        networks = Collection(self._session, networks_url, "network")
        return {
            "name": self.name,
            "flavorRef": flavors.id_of(region.flavors[0].name),
            "imageRef": images.id_of(region.images[0].name),
            "networks": [{"uuid": networks.id_of(region.networks[0].name)}],
        }

    def create(self) -> int:
        """Ask for one server; the status of the answer."""
        return self._session.send("POST", f"{self._nova}/servers", self._body).status

    def limits(self) -> tuple[int, int]:
        """How many servers the project may have, and how many Nova counts."""
        absolute = self._session.ask("GET", f"{self._nova}/limits")["limits"]["absolute"]
        return absolute["maxTotalInstances"], absolute["totalInstancesUsed"]

    def servers(self) -> list[Json]:
        """The servers of this race."""
        url = f"{self._nova}/servers/detail?name=^{self.name}$"
        return list(self._session.ask("GET", url)["servers"])

    def settle(self, count: int) -> Counter[str]:
        """Wait until so many servers are there and none is built any more; count their states."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < deadline:
            states = Counter(server["status"] for server in self.servers())
            if states.total() == count and not states["BUILD"]:
                return states
            time.sleep(POLL_S)
        raise LabError(f"after {SETTLE_TIMEOUT_S} s the race's servers are {dict(states)}")

    def wipe(self) -> None:
        """Delete the servers of this race and wait until they are gone."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while servers := self.servers():
            if time.monotonic() > deadline:
                raise LabError(f"{len(servers)} servers named {self.name} cannot be deleted")
            for server in servers:
                if server["OS-EXT-STS:task_state"] != "deleting":
                    self._session.send("DELETE", f"{self._nova}/servers/{server['id']}")
            time.sleep(POLL_S)


def race(lab: Lab, region: Region, start: int, at_once: int) -> Outcome:
    """Make `start` servers one by one, then ask for `at_once` more in one moment.

    Every server it made is deleted in the end.
    """
    racer = Racer(lab, region)
    limit, used_before = racer.limits()
    try:
        for number in range(start):
            status = racer.create()
            if status != ACCEPTED:
                raise LabError(f"server {number + 1} of {start} was answered {status}")
        racer.settle(start)
        began = time.monotonic()
        answers = create_at_once(racer, at_once)
        seconds = round(time.monotonic() - began, 2)
        settled = racer.settle(start + answers[str(ACCEPTED)])
    finally:
        racer.wipe()
    return Outcome(
        region.label, limit, used_before, start, at_once, dict(answers), dict(settled), seconds
    )


def create_at_once(racer: Racer, count: int) -> Counter[str]:
    """Let `count` threads ask for a server in the same moment; how many got what answer."""
    line = threading.Barrier(max(count, 1))
    answers: list[str] = []

    def ask() -> None:
        line.wait()
        try:
            answers.append(str(racer.create()))
        except LabError:
            answers.append("no answer")

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(answers)
