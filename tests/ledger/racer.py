"""Several processes that race at one ledger; prints what they were given as JSON.

usage: racer.py PORT RACERS single|mixed COUNT REGION...
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from redis import Redis

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import Flavor, Image, Network, Offer, Status
from openmultistack.ledger import Attempt, Ledger, Served, Waiting, Wish

START_WITHIN_S = 60.0
WAITING = Waiting(priority=1, max_queued=20, wait_ms=60_000, max_of_owner=20)


def offer(region: str, vcpus: int = 1) -> Offer:
    """Return what a region would give."""
    return Offer(
        region=region,
        flavor=Flavor(id="f", name="f", vcpus=vcpus, ram_mb=vcpus * 2, disk_gb=1),
        image=Image(id="i", name="i"),
        network=Network(id="n", name="n"),
    )


class Racer:
    """Places, and in a mixed race also does whatever else can be done to what it placed."""

    def __init__(self, ledger: Ledger, name: str, regions: Sequence[str]) -> None:
        self._ledger = ledger
        self._name = name
        self._regions = regions
        self._dice = random.Random(name)
        self.mine: list[Attempt] = []

    def place(
        self, number: int, count: int = 1, vcpus: int = 1, waiting: Waiting | None = None
    ) -> None:
        """Ask for instances, all or nothing unless some may wait."""
        admitted = self._ledger.place(
            Wish(
                owner=self._name,
                command=CreateInstances(image="i", size="s", count=count),
                ids=[f"i-{self._name}-{number:04}-{i}" for i in range(count)],
                offers=[offer(region, vcpus) for region in self._regions],
                pick="freest",
                ttl_ms=60_000,
                waiting=waiting,
            )
        )
        self.mine += admitted.attempts

    def act(self, number: int) -> None:
        """Do one thing, chosen by the dice."""
        dice = self._dice
        if not self.mine or dice.random() < 0.4:
            waiting = dice.choice([None, WAITING])
            self.place(number, dice.randint(1, 3), dice.randint(1, 2), waiting)
            return
        if dice.random() < 0.2:
            self.serve(dice.choice(self._regions))
            return
        attempt = self.mine[dice.randrange(len(self.mine))]
        ledger = self._ledger
        known = ledger.get([attempt.instance_id])
        what = dice.choice(["commit", "observe", "move", "move", "destroy", "release", "release"])
        if what == "commit":
            ledger.commit(attempt, "srv")
        elif what == "observe":
            ledger.observe(attempt, server_id="srv", status=Status.ACTIVE, addresses=())
        elif what == "destroy" and known:
            ledger.destroy(known[0], why="race")
        elif what == "release":
            ledger.release(
                attempt,
                owner=self._name,
                instance=known[0] if known else None,
                why="race",
                end=True,
            )
        else:
            moved = ledger.move(
                attempt,
                owner=self._name,
                why="race",
                blame=True,
                wait=False,
                keep=dice.random() < 0.5,
                promised=False,
                offers=[offer(region, dice.randint(1, 2)) for region in self._regions],
                pick="freest",
            )
            self.mine += [moved.attempt] if moved.attempt else []

    def serve(self, region: str) -> None:
        """Give a region's room to those who wait, whoever they are."""
        waiting = self._ledger.get([it.instance_id for it in self._ledger.queue()])
        attempts, _ = self._ledger.serve(region, [Served(it, offer(region)) for it in waiting])
        self.mine += [it for it in attempts if it.instance_id.startswith(f"i-{self._name}-")]


def race(port: int, name: str, kind: str, count: int, regions: Sequence[str]) -> list[str]:
    """Wait for the start, race, and return the regions of what was admitted."""
    with Redis(port=port, decode_responses=True) as client:
        racer = Racer(Ledger(client, "test", lease_ms=60_000), name, regions)
        client.incr("race:ready")
        until = time.monotonic() + START_WITHIN_S
        while not client.exists("race:go"):
            if time.monotonic() > until:
                raise TimeoutError("the race does not start")
            time.sleep(0.001)
        for number in range(count):
            if kind == "single":
                racer.place(number)
            else:
                racer.act(number)
    return [attempt.region for attempt in racer.mine]


def main(port: str, racers: str, kind: str, count: str, *regions: str) -> None:
    """Let processes race, each with a connection of its own, and print what all were given.

    They are forked from here, as each would otherwise pay for the imports again.
    """
    with ProcessPoolExecutor(int(racers), get_context("fork")) as pool:
        runs = [
            pool.submit(race, int(port), f"racer{i}", kind, int(count), regions)
            for i in range(int(racers))
        ]
        json.dump([region for run in runs for region in run.result()], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
