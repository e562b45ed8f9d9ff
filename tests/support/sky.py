"""A region's fake cloud, whose answers can get lost."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

from openmultistack.clouds import Server, ServerOrder
from openmultistack.clouds.fake import FakeCloud
from openmultistack.domain.cloud_errors import CloudError, InDoubt
from openmultistack.domain.models import (
    Catalogue,
    Flavor,
    Image,
    Network,
    Resources,
)

A, B, C = "alpha/One", "alpha/Two", "beta/One"
VCPUS, RAM_MB = 2, 2048


class Sky(FakeCloud):
    """A fake cloud whose answers can get lost, and in which things happen during a create."""

    def __init__(self, region: str, instances: int) -> None:
        quota = Resources(instances=instances, vcpus=VCPUS * 1000, ram_mb=RAM_MB * 1000)
        super().__init__(catalogue_of(region), quota)
        # lost: the server is made and nobody hears of it; late: it is made when it `arrive`s.
        self.answers: Literal["given", "lost", "late"] = "given"
        self.meanwhile: Callable[[ServerOrder], None] = lambda _: None
        # What is asked of is done at once: who looks after a server sees it come true.
        self.prompt = False
        self.accepted: list[tuple[str, int]] = []
        self._under_way: list[ServerOrder] = []

    def create(self, order: ServerOrder, *, not_after: float = math.inf) -> str:
        """Make a server, and maybe lose the answer."""
        self.meanwhile(order)
        if self.answers == "late":
            self._called("create")
            self._under_way.append(order)
            raise InDoubt("no answer within the time allowed")
        server_id = super().create(order, not_after=not_after)
        self.accepted.append((order.marks.instance_id, order.marks.attempt))
        if self.answers == "lost":
            raise InDoubt("the connection broke")
        return server_id

    def show(self, server_id: str) -> Server | None:
        """Return a server, as it is by now."""
        if self.prompt:
            self.settle()
        return super().show(server_id)

    def active(self) -> Sequence[Server]:
        """Return the servers that are ACTIVE by now."""
        if self.prompt:
            self.settle()
        return super().active()

    def present(self) -> frozenset[str]:
        """Return the servers that there are by now."""
        if self.prompt:
            self.settle()
        return super().present()

    def arrive(self) -> None:
        """Make what was under way, as far as it fits."""
        fault, self.fault = self.fault, lambda _: None
        while self._under_way:
            with suppress(CloudError):
                super().create(self._under_way.pop())
        self.fault = fault

    def fails(self, error: Exception | None, *calls: str) -> None:
        """Answer these calls (all, if none is named) with an error; None: well again."""
        self.fault = lambda name: error if not calls or name in calls else None  # type: ignore[assignment,return-value]

    def ours(self) -> dict[tuple[str, int], Server]:
        """Return the servers that carry marks."""
        found = [it for it in self.servers.values() if it.marks]
        return {(it.marks.instance_id, it.marks.attempt): it for it in found if it.marks}


def catalogue_of(region: str) -> Catalogue:
    """Return what a region offers: its own ids for names that all of them have."""
    return Catalogue(
        flavors=(
            Flavor(id=f"{region}-small", name="small", vcpus=VCPUS, ram_mb=RAM_MB, disk_gb=20),
        ),
        images=(Image(id=f"{region}-debian", name="debian"),),
        networks=(Network(id=f"{region}-net", name="net"),),
    )
