"""What an instance takes of the ledger's memory.

    python bench/ledger_memory.py [--instances 2000]

Instances are placed, committed and seen ACTIVE by the ledger's own acts; the difference of
Valkey's `used_memory`, divided by their number, is what one takes. Then they are released.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import stage
from redis import Redis
from report import Cell, Report, Table, Target, parser, publish
from ulid import ULID

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import Address, Flavor, Image, Network, Offer, Resources, Status
from openmultistack.ledger import Attempt, Gone, Ledger, Seen, Wish

SLOTS = 20
TARGET = 2048
V4 = Address(address="203.0.113.118", version=4, network="public")
V6 = Address(address="2001:db8:7:1f2:f816:3eff:fe12:3456", version=6, network="public")


class Kind(NamedTuple):
    """Instances of one kind."""

    addresses: tuple[Address, ...]
    labels: dict[str, str]

    @property
    def name(self) -> str:
        """What the tables call it."""
        versions = " and ".join(f"IPv{it.version}" for it in self.addresses)
        return f"{versions}, {len(self.labels)} labels"


KINDS = (
    Kind((V4,), {}),
    Kind((V4,), {"run": "4711", "os": "debian-12"}),
    Kind((V4, V6), {"run": "4711", "os": "debian-12", "team": "platform", "for": "nightly"}),
)


class Room:
    """A ledger on an empty Valkey, and the memory it takes."""

    def __init__(self, redis: "Redis", instances: int) -> None:
        redis.flushall()
        self._redis = redis
        self._ledger = Ledger(redis, "default", lease_ms=60_000)
        cap = Resources(instances=SLOTS, vcpus=10**6, ram_mb=10**9)
        flavor = Flavor(id="f", name="m1.small", vcpus=2, ram_mb=2048, disk_gb=20)
        image, network = Image(id="i", name="debian-12"), Network(id="n", name="public")
        self._offers = []
        for it in range(instances // SLOTS):
            region = f"provider-{it % 4}/REGION-{it // 4}"
            self._ledger.survey(region, cap=cap, foreign=Resources(), catalogue=None)
            self._offers += [Offer(region=region, flavor=flavor, image=image, network=network)]

    def used(self) -> int:
        """Return the bytes that Valkey says it uses."""
        return int(self._redis.info("memory")["used_memory"])

    def by_key(self) -> Counter[str]:
        """Return the bytes by kind of key, as Valkey estimates them."""
        found: Counter[str] = Counter()
        for key in self._redis.scan_iter(count=1000):
            found[key.split(":")[2]] += self._redis.memory_usage(key, samples=0) or 0
        return found

    def fill(self, kind: Kind) -> list[Attempt]:
        """Give every slot an instance that is ACTIVE."""
        command = CreateInstances(image="debian-12", size="small", name="ci", labels=kind.labels)
        attempts: list[Attempt] = []
        for offer in self._offers:
            ids = [f"i-{ULID()}" for _ in range(SLOTS)]
            wish = Wish("team-a", command, ids, [offer], "freest", 3_600_000)
            placed = self._ledger.place(wish).attempts
            seen = [Seen(it, str(uuid4()), Status.ACTIVE, kind.addresses) for it in placed]
            for it in seen:
                self._ledger.commit(it.attempt, it.server_id)
            self._ledger.observe_all(seen)
            attempts += placed
        return attempts

    def release(self, attempts: Sequence[Attempt]) -> None:
        """End all of them; they are remembered for a day."""
        instances = self._ledger.get([it.instance_id for it in attempts])
        why = "the cloud has no such server"
        both = zip(attempts, instances, strict=True)
        gone = [Gone(attempt, "team-a", instance, why) for attempt, instance in both]
        for offer in self._offers:
            self._ledger.release_all([it for it in gone if it.attempt.region == offer.region])


def measure(asked: argparse.Namespace) -> Report:
    """Return the figures of one run."""
    rows: list[list[Cell]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        stage.valkey(Path(folder)) as url,
        Redis.from_url(url, decode_responses=True) as redis,
    ):
        for kind in KINDS:
            room = Room(redis, asked.instances)
            before, of_keys = room.used(), room.by_key()
            attempts = room.fill(kind)
            active, by_key = room.used() - before, room.by_key() - of_keys
            room.release(attempts)
            ended = room.used() - before
            parts = [by_key[it] for it in ("instance", "events", "slots", "due")]
            parts.append(sum(by_key[it] for it in ("live", "label")))
            rows.append([kind.name, *(round(it / len(attempts)) for it in (active, *parts, ended))])
    return _report(asked, rows)


def _report(asked: argparse.Namespace, rows: list[list[Cell]]) -> Report:
    return Report(
        name="ledger_memory",
        title="Memory of the ledger",
        command=f"python bench/ledger_memory.py --instances {asked.instances}",
        said=f"""
            {asked.instances} instances of one owner in regions of {SLOTS}, made by the ledger's own
            acts until they are ACTIVE: three events each. *ACTIVE* is the growth of Valkey's
            `used_memory` for each; the columns between are what Valkey says of the keys (MEMORY
            USAGE), without what the table of all keys takes. *ended* is what one takes that was
            released, and is remembered for a day. The target is of an instance with one address
            and two labels.

            Redis packs a hash of short values (64 bytes, by its default) tightly: a second
            address, or more labels, make the record a table, which takes twice the room.
            """,
        tables=[
            Table(
                ["bytes an instance", "ACTIVE", "record", "events", "slot", "due", "indices",
                 "ended"],
                rows,
            )
        ],
        targets=[
            Target("bytes of an ACTIVE instance, one address, two labels", _of(rows[1]), "<=",
                   TARGET)
        ],
    )  # fmt: skip


def _of(row: Sequence[Cell]) -> int:
    return int(row[1] or 0)


def main() -> None:
    """Measure and print."""
    asking = parser(__doc__)
    asking.add_argument("--instances", type=int, default=2000)
    publish(asking.parse_args(), measure)


if __name__ == "__main__":
    main()
