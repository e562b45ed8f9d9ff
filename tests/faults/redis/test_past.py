"""Redis comes back older: a replica that lost the last second, an older append-only file."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from openmultistack.domain.models import Instance, Resources, Status
from tests.support.slow_house import House

A, B = "alpha/One", "beta/One"
NO_HOST = "No valid host was found. "
KEEPING = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


class Run:
    """Moves, queueing, destroys and expiries, step by step; between them are the moments."""

    STEPS = (
        "fill", "build", "place", "fail", "move", "queue", "destroy", "serve", "room", "expire",
    )  # fmt: skip

    def __init__(self, house: House) -> None:
        self.house = house
        self.gone: set[str] = set()

    def step(self, number: int) -> None:
        """Take one of the steps."""
        getattr(self, self.STEPS[number])()

    def fill(self) -> None:
        """Order six, and two that are over soon."""
        self.up = self.house.create(6)
        self.brief = self.house.create(2, ttl=1)

    def build(self) -> None:
        """Have them up."""
        self.house.sweep_twice()

    def place(self) -> None:
        """Order two that go to the same region."""
        self.moved = self.house.create(2, regions=[A, B], strategy="priority")

    def fail(self) -> None:
        """Have these fail where they are, which nobody has seen yet."""
        cloud = self.house.clouds[self.moved[0].region]
        cloud.build_fault = NO_HOST
        cloud.settle()
        cloud.build_fault = None

    def move(self) -> None:
        """Have them built elsewhere."""
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

    def room(self) -> None:
        """Have two more destroyed; nobody waits any more."""
        self.gone |= {it.id for it in self.up[2:4]}
        self.house.destroy(*self.up[2:4])
        self.house.sweep_twice()

    def expire(self) -> None:
        """Let the time of two be up."""
        self.gone |= {it.id for it in self.brief}
        while self.house.ledger.now_ms() <= max(it.identity.expires_at_ms for it in self.brief):
            time.sleep(0.05)
        self.house.sweep_twice()

    def living(self) -> dict[str, str]:
        """Return the servers of those that are neither destroyed nor over, by instance."""
        return {
            it.marks.instance_id: it.id
            for cloud in self.house.clouds.values()
            for it in cloud.servers.values()
            if it.marks and it.status != Status.ERROR and it.marks.instance_id not in self.gone
        }


def sweep_each(house: House, lived: dict[str, str], waited: set[str], order: Sequence[str]) -> None:
    """Sweep region by region: each knows at once what lives there, and takes nothing that does."""
    for cloud in house.clouds.values():
        cloud.settle()
    for region in order:
        assert house.reaping.sweep(region)["outcome"] == "swept"
        here = house.clouds[region].staying()
        there = [it.staying() for it in house.clouds.values()]
        known = {it.id: it for it in house.ledger.get(sorted(lived))}
        for instance_id, server_id in lived.items():
            found = known.get(instance_id)
            if instance_id in waited:  # served again, maybe, before it was met where it lives
                assert any(instance_id in it for it in there), instance_id
                assert found, instance_id
                assert found.status not in (Status.DELETING, Status.DELETED), instance_id
                continue
            assert any(it.get(instance_id) == server_id for it in there), instance_id
            if here.get(instance_id) == server_id:
                assert found, instance_id
                assert (found.region, found.server_id) == (region, server_id), instance_id
                assert found.status in (Status.BUILD, Status.ACTIVE), instance_id


def settled(
    house: House, lived: dict[str, str], gone: set[str], since: str, order: Sequence[str] = (A, B)
) -> None:
    """Sweep twice; each that lived has its one server, and every count is exact.

    `since`: the steps that the ledger does not know of.
    """
    # Who waited may be served again before the region is swept where it lives: that counts.
    waited = {it.instance_id for it in house.ledger.queue()}
    for _ in range(3):  # a twin goes with the second one, and its slot with the third
        sweep_each(house, lived, waited, order)
    house.sweep_twice()
    by_id = {key[0]: server_id for key, server_id in house.servers().items()}
    kept = {i: by_id[i] if i in waited and i in by_id else it for i, it in lived.items()}
    assert {it: by_id.get(it) for it in lived} == kept, since
    house.sweep_twice()
    house.assert_agreement()
    shown: dict[str, Instance] = house.listed()
    for instance_id, server_id in kept.items():
        found = shown[instance_id]
        assert (found.status, found.server_id) == (Status.ACTIVE, server_id), since
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


MOMENTS = range(len(Run.STEPS))


@pytest.mark.parametrize("moment", MOMENTS)
def test_no_loss_an_append_only_file_of_a_while_ago(
    new_node: Any, new_house: Any, tmp_path: Path, moment: int
) -> None:
    """It comes back at any later moment; the clouds are then as that moment left them."""
    node = new_node(*KEEPING)
    house = new_house(node.url)
    run = Run(house)
    for number in MOMENTS[:moment]:
        run.step(number)
    shutil.copytree(node.home / "appendonlydir", tmp_path / "kept")
    later = {}
    for number in MOMENTS[moment:]:
        run.step(number)
        later[number] = {it: cloud.kept() for it, cloud in house.clouds.items()}, set(run.gone)
    for number, (clouds, gone) in later.items():
        node.kill()
        shutil.rmtree(node.home / "appendonlydir")
        shutil.copytree(tmp_path / "kept", node.home / "appendonlydir")
        node.start()
        for name, cloud in house.clouds.items():
            cloud.come_back(clouds[name])
        run.gone = gone | {it.id for it in run.brief}  # their time is up by now
        refused = {it: cloud.refused for it, cloud in house.clouds.items()}
        since = f"{Run.STEPS[moment]} to {Run.STEPS[number]}"
        settled(house, run.living(), run.gone, since, (A, B) if number % 2 else (B, A))
        now = {it: cloud.refused for it, cloud in house.clouds.items()}
        assert now == refused, f"never over: {since}"


@pytest.mark.parametrize("moment", MOMENTS)
def test_no_loss_a_replica_is_promoted_that_has_not_heard_the_last(
    new_node: Any, new_house: Any, moment: int
) -> None:
    master = new_node("--save", "", "--repl-diskless-sync-delay", "0")
    replica = new_node("--save", "", "--replicaof", "127.0.0.1", str(master.port))
    house = new_house(master.url)
    run = Run(house)
    for number in MOMENTS:
        if number == moment:
            replica.hear_all(master)
            replica.client.replicaof("NO", "ONE")
        run.step(number)
    lived = run.living()
    master.kill()
    # Not swept: who waits by the replica is asked for before it can be served.
    after = new_house(replica.url, clouds=house.clouds, swept=False)
    settled(after, lived, run.gone, Run.STEPS[moment])
