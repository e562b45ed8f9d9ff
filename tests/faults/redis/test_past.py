"""Redis comes back older: a replica that lost the last second, an older append-only file."""

import shutil
import time
from typing import Any

import pytest

from openmultistack.models import Instance, Resources, Status

House = Any  # conftest's own; test modules do not import one another
Node = Any
A, B = "alpha/One", "beta/One"
NO_HOST = "No valid host was found. "
KEEPING = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


class Run:
    """Moves, queueing, destroys and expiries, step by step; `lives` is what must be there after."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.steps: list[Any] = [
            self.fill,
            self.move,
            self.queue,
            self.destroy,
            self.serve,
            self.expire,
        ]
        self.gone: set[str] = set()

    def fill(self) -> None:
        """Have six up, and two that are over soon."""
        self.up = self.house.create(6)
        self.brief = self.house.create(2, ttl=1)
        self.house.sweep_twice()

    def move(self) -> None:
        """Have two fail where they are, and be built elsewhere."""
        self.moved = self.house.create(2, regions=[A, B], strategy="priority")
        cloud = self.house.clouds[self.moved[0].region]
        cloud.build_fault = NO_HOST
        cloud.settle()
        cloud.build_fault = None
        self.house.sweep_twice()

    def queue(self) -> None:
        """Let two more wait than there is room for."""
        held = sum(it.held.instances for it in self.house.ledger.regions([A, B]))
        self.waiting = self.house.create(16 - held + 2, on_full="queue")

    def destroy(self) -> None:
        """Have two destroyed by their owner."""
        self.gone |= {it.id for it in self.up[:2]}
        self.house.destroy(*self.up[:2])

    def serve(self) -> None:
        """Let those who wait have their slots."""
        self.house.sweep_twice()

    def expire(self) -> None:
        """Let the time of two be up."""
        self.gone |= {it.id for it in self.brief}
        while self.house.ledger.now_ms() <= max(it.expires_at_ms for it in self.brief):
            time.sleep(0.05)
        self.house.sweep_twice()

    def living(self) -> dict[str, str]:
        """Return the servers of those that are neither destroyed nor over, by instance."""
        found = self.house.servers().items()
        return {key[0]: server_id for key, server_id in found if key[0] not in self.gone}


def settled(house: House, lived: dict[str, str], gone: set[str]) -> None:
    """Sweep twice; each that lived has its one server, and every count is exact."""
    house.sweep_twice()
    by_id = {key[0]: server_id for key, server_id in house.servers().items()}
    assert {it: by_id.get(it) for it in lived} == lived
    house.sweep_twice()
    house.assert_agreement()
    shown: dict[str, Instance] = house.listed()
    for instance_id, server_id in lived.items():
        assert (shown[instance_id].status, shown[instance_id].server_id) == (
            Status.ACTIVE,
            server_id,
        )
    held = sum((it.held for it in house.ledger.regions([A, B])), Resources())
    assert house.ledger.usage(["alice"])["alice"] == held
    waiting = {it.instance_id for it in house.ledger.queue()}
    assert waiting == {i for i, it in shown.items() if it.status == Status.QUEUED}
    # What was destroyed and came back with the old ledger ends when its owner says so again.
    again = [it for i, it in shown.items() if i in gone]
    house.destroy(*again)
    house.sweep_twice()
    house.sweep_twice()
    assert not gone & {key[0] for key in house.servers()}


@pytest.mark.parametrize("moment", range(6))
def test_no_loss_an_append_only_file_of_a_while_ago(
    new_node: Any, new_house: Any, moment: int
) -> None:
    node = new_node(*KEEPING)
    house = new_house(node.url)
    run = Run(house)
    kept = node.home / "kept"
    for number, step in enumerate(run.steps):
        if number == moment:
            shutil.copytree(node.home / "appendonlydir", kept)
        step()
    lived, refused = run.living(), {it: cloud.refused for it, cloud in house.clouds.items()}
    node.kill()
    shutil.rmtree(node.home / "appendonlydir")
    shutil.copytree(kept, node.home / "appendonlydir")
    node.start()
    settled(house, lived, run.gone)
    assert {it: cloud.refused for it, cloud in house.clouds.items()} == refused, "never over"


@pytest.mark.parametrize("moment", range(6))
def test_no_loss_a_replica_is_promoted_that_has_not_heard_the_last(
    new_node: Any, new_house: Any, moment: int
) -> None:
    master = new_node("--save", "")
    replica = new_node("--save", "", "--replicaof", "127.0.0.1", str(master.port))
    house = new_house(master.url)
    run = Run(house)
    for number, step in enumerate(run.steps):
        if number == moment:
            replica.hear_all(master)
            replica.client.replicaof("NO", "ONE")
        step()
    lived = run.living()
    master.kill()
    after = new_house(replica.url, clouds=house.clouds)
    settled(after, lived, run.gone)
