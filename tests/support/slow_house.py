"""A fleet of two regions that take their time, over a Redis anywhere."""

import time
from collections import Counter
from typing import Any

from openmultistack.clouds import Server, ServerOrder
from openmultistack.clouds.fake import FakeCloud, FakeClouds
from openmultistack.domain.cloud_errors import CloudError
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import (
    Catalogue,
    Flavor,
    Image,
    Instance,
    Network,
    Principal,
    Resources,
    Status,
)
from openmultistack.domain.pace import PACE, Pace
from openmultistack.fleet.config import Fleet, FleetFile, Region
from openmultistack.ledger import (
    Ledger,
    connect,
    read_address,
)
from openmultistack.wiring.use_cases import Ground, UseCases
from tests.support.house import QUIET

A, B = "alpha/One", "beta/One"
# Long enough for eight clients to be in the midst of creates whenever something happens.
CLOUD_TAKES_S = 0.02
VCPUS, RAM_MB = 2, 2048

PACE_HERE = QUIET._replace(looks_s=PACE.looks_s)


class Sky(FakeCloud):
    """A fake cloud that takes its time, and counts what it had no room for."""

    def __init__(self, region: str, instances: int) -> None:
        quota = Resources(instances=instances, vcpus=VCPUS * 1000, ram_mb=RAM_MB * 1000)
        super().__init__(catalogue_of(region), quota)
        self.refused = 0

    def create(self, order: ServerOrder, **more: Any) -> str:
        """Make a server, in a while."""
        time.sleep(CLOUD_TAKES_S)
        try:
            return super().create(order, **more)
        except CloudError:
            self.refused += 1
            raise

    def staying(self) -> dict[str, str]:
        """Return the servers that are ACTIVE and were not asked to go, by instance."""
        return {
            it.marks.instance_id: it.id
            for it in self.servers.values()
            if it.marks and it.status == Status.ACTIVE and it.id not in self._leaving
        }

    def kept(self) -> tuple[dict[str, Server], set[str]]:
        """Return what there is now, to be come back to."""
        return dict(self.servers), set(self._leaving)

    def come_back(self, kept: tuple[dict[str, Server], set[str]]) -> None:
        """Have what there was; nothing is remembered of what came after."""
        self.servers, self._leaving = dict(kept[0]), set(kept[1])


def catalogue_of(region: str) -> Catalogue:
    """Return what a region offers."""
    flavor = Flavor(id=f"{region}-s", name="small", vcpus=VCPUS, ram_mb=RAM_MB, disk_gb=20)
    image, network = Image(id=f"{region}-d", name="debian"), Network(id="net", name="net")
    return Catalogue(flavors=(flavor,), images=(image,), networks=(network,))


class House:
    """A fleet of two regions over a ledger somewhere; the clouds are fakes."""

    def __init__(
        self,
        url: str,
        *,
        lease_ms: int = 60_000,
        instances: int = 8,
        pace: Pace = PACE_HERE,
        clouds: dict[str, Sky] | None = None,
    ) -> None:
        self.redis = connect(read_address(url))
        self.ledger = Ledger(self.redis, "faults", lease_ms=lease_ms)
        self.clouds = clouds or {name: Sky(name, instances) for name in (A, B)}
        regions = {n: Region(name=n, provider=n.split("/")[0], region="One") for n in self.clouds}
        fleet, fakes = Fleet(regions=regions, file=FleetFile()), FakeClouds(dict(self.clouds))
        use = UseCases(
            Ground(
                "faults",
                ledger=lambda: self.ledger,
                fleet=lambda: fleet,
                clouds=lambda: fakes,
                lease_ms=lease_ms,
                call_budget_s=0,
                pace=pace,
            )
        )
        self.arriving, self.destroying = use.arriving(), use.destroying()
        self.creating, self.reaping = use.creating(), use.reaping()

    def create(self, count: int = 1, **more: Any) -> list[Instance]:
        """Create instances of the owner alice."""
        command = CreateInstances(image="debian", size="small", count=count, **more)
        caller = Principal(owner="alice", scopes=frozenset())
        return list(self.creating.create(caller, command).instances)

    def destroy(self, *instances: Instance) -> list[Instance]:
        """Have instances destroyed by their owner."""
        return self.destroying.destroy_ids("alice", [it.id for it in instances])

    def sweep_twice(self) -> None:
        """Reap two times; clouds do in between what they were asked to."""
        for _ in range(2):
            for cloud in self.clouds.values():
                cloud.settle()
            swept = self.reaping.reap()["regions"]
            assert [it["outcome"] for it in swept] == ["swept", "swept"], swept

    def listed(self) -> dict[str, Instance]:
        """Return what the owner sees listed."""
        ids = self.ledger.page("alice", label=None, gone=False, after=None, limit=1000)
        return {it.id: it for it in self.ledger.get(ids)}

    def calls(self) -> int:
        """Return how often any cloud was asked for anything."""
        return sum(len(cloud.calls) for cloud in self.clouds.values())

    def servers(self) -> dict[tuple[str, int], str]:
        """Return the servers there are, by instance and attempt."""
        found = [it for cloud in self.clouds.values() for it in cloud.servers.values()]
        return {(it.marks.instance_id, it.marks.attempt): it.id for it in found if it.marks}

    def assert_agreement(self) -> None:
        """Each server has its slot, each slot its server, each instance one of them at most."""
        for state in self.ledger.regions([A, B]):
            servers = list(self.clouds[state.region].servers.values())
            slots = self.ledger.view(state.region, []).slots
            marked = [(it.marks, it.id) for it in servers if it.marks]
            assert len(marked) == len(servers)
            there = Counter((it.instance_id, it.attempt, server_id) for it, server_id in marked)
            assert Counter((s.instance_id, s.attempt, s.server_id) for s in slots) == there
            assert state.held == sum((it.need for it in servers), Resources())
            assert state.held.instances <= state.cap.instances
        assert max(Counter(key[0] for key in self.servers()).values(), default=0) <= 1
