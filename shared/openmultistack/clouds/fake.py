"""A cloud in memory, for tests: the same port, the same contract, and faults on demand.

It counts like Nova does: every server holds its quota until it is gone, those in ERROR too.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from openmultistack.clouds.keyring import Keyring, MarksKey
from openmultistack.clouds.marks import metadata_of
from openmultistack.clouds.names import name_of, named, survey_of
from openmultistack.clouds.port import (
    Attempted,
    Claim,
    Cloud,
    Marks,
    Server,
    ServerOrder,
    Survey,
)
from openmultistack.clouds.signing import Signing
from openmultistack.domain.errors import (
    CatalogueStale,
    CloudError,
    InDoubt,
    NotConfigured,
    PlaceMoved,
    RegionFull,
    TooLate,
    Unsuitable,
)
from openmultistack.domain.models import Address, Catalogue, Resources, Status
from openmultistack.domain.regions import Place

KEYRING = Keyring([MarksKey("fake", bytes(32))])
# A server's id is of one region alone, as in real clouds.
_IDS = itertools.count(1)

Fault = Callable[[str], CloudError | None]
"""Asked with the name of each call; what it returns is raised instead of doing the call."""


class FakeCloud:
    """One region; servers become ACTIVE and go away when `settle` is called."""

    _projects = itertools.count(1)

    def __init__(self, catalogue: Catalogue, quota: Resources, *, fleet: str | None = None) -> None:
        self.is_at = Place("fake", f"project-{next(self._projects)}")
        # Servers of another fleet are foreign; None: there is only one.
        self.fleet = fleet
        self.offered = catalogue
        self.quota = quota
        self.groups = {"g1": "default"}
        self.servers: dict[str, Server] = {}
        self.keypairs: set[str] = set()
        self.keyring = KEYRING
        # The place that each server's marks are signed for.
        self.signed_for: dict[str, str] = {}
        # How many keypairs, and metadata items of a server, are allowed.
        self.keypair_quota = 100
        self.metadata_items = 128
        self.calls: list[str] = []
        self.fault: Fault = lambda _: None
        # What a server becomes that is being built: the fault it fails with, or None.
        self.build_fault: str | None = None
        self._leaving: set[str] = set()
        self._lock = threading.RLock()

    def _called(self, name: str) -> None:
        self.calls.append(name)
        error = self.fault(name)
        if error is not None:
            raise error

    def create(self, order: ServerOrder, *, not_after: float = math.inf) -> str:
        """Make a server that builds until `settle`."""
        with self._lock:
            self._called("create")
            if time.monotonic() > not_after:
                raise TooLate("not sent: its lease was nearly over")
            if order.place not in ("", self.is_at.id):
                raise PlaceMoved("the region is another one now")
            offer, need = order.offer, self._need(order)
            here = self.offered
            if (
                offer.flavor not in here.flavors
                or offer.image not in here.images
                or offer.network not in here.networks
            ):
                raise CatalogueStale("400: flavor, image or network could not be found")
            self._refuse_unsuitable(order)
            used = sum((it.need for it in self.servers.values()), need)
            if any(getattr(used, what) > getattr(self.quota, what) for what in Resources._fields):
                raise RegionFull("403: Quota exceeded")
            number = next(_IDS)
            server_id = f"server-{number}"
            self.servers[server_id] = Server(
                id=server_id,
                status=Status.BUILD,
                flavor=offer.flavor.name,
                image=offer.image.id,
                need=need,
                marks=order.marks if self.fleet in (None, order.marks.fleet) else None,
                created_at=f"{number:012}",
                named=order.marks.attempted,
            )
            self.signed_for[server_id] = self.is_at.id
            if order.marks.has_keypair:
                self.keypairs.add(name_of(self._signing(order.marks.fleet), order.marks.attempted))
            return server_id

    def _signing(self, fleet: str = "") -> Signing:
        return Signing(self.keyring, self.fleet or fleet, self.is_at.id)

    def _of_keypair(self, name: str) -> Attempted | None:
        return named(name, self._signing())

    def _shown(self, server: Server) -> Server:
        """Return a server; its marks prove nothing where they are signed for another place."""
        at = self.signed_for.get(server.id, self.is_at.id)
        if server.marks is None or at == self.is_at.id:
            return server
        return server._replace(marks=None, named=None, claim=Claim(server.marks, "unverified"))

    def _refuse_unsuitable(self, order: ServerOrder) -> None:
        """Refuse what others' orders may have, and this one may not."""
        if order.marks.has_keypair and len(self.keypairs) >= self.keypair_quota:
            raise Unsuitable("403: Quota exceeded, too many key pairs.", about=("keyed",))
        if len(metadata_of(order.marks, self._signing())) > self.metadata_items:
            text = f"403: Maximum number of metadata items exceeds {self.metadata_items}"
            raise Unsuitable(text, about=("metadata",))
        if order.offer.flavor.disk_gb == 0:
            text = "403: Only volume-backed servers are allowed for flavors with zero disk."
            raise Unsuitable(text, about=("flavor",))

    def _need(self, order: ServerOrder) -> Resources:
        flavor = order.offer.flavor
        return Resources(instances=1, vcpus=flavor.vcpus, ram_mb=flavor.ram_mb)

    def forgive(self) -> None:
        """Nothing: there is no login."""

    def place(self) -> Place:
        """Return where it is; no call, as it is known from the login."""
        error = self.fault("place")
        if error is not None:
            raise error
        return self.is_at

    def delete(self, server_id: str, keypair_of: Attempted | None = None) -> str:
        """Have a server leave at the next `settle`."""
        with self._lock:
            self._called("delete")
            if server_id in self.servers:
                self._leaving.add(server_id)
            if keypair_of:
                self.keypairs -= {it for it in self.keypairs if self._of_keypair(it) == keypair_of}
            return f"req-delete-{server_id}"

    def show(self, server_id: str) -> Server | None:
        """Return a server."""
        with self._lock:
            self._called("show")
            server = self.servers.get(server_id)
            return self._shown(server) if server else None

    def find(self, marks: Marks) -> Server | None:
        """Return the server of an instance's attempt."""
        with self._lock:
            self._called("find")
            its = [
                it for it in map(self._shown, self.servers.values()) if it.tells_of(marks.attempted)
            ]
            return min(its, key=lambda it: (it.marks is None, *it.originality), default=None)

    def active(self) -> Sequence[Server]:
        """Return the servers that are ACTIVE."""
        with self._lock:
            self._called("active")
            return [self._shown(it) for it in self.servers.values() if it.status == Status.ACTIVE]

    def present(self) -> frozenset[str]:
        """Return the ids of all servers."""
        with self._lock:
            self._called("present")
            return frozenset(self.servers)

    def survey(self) -> Survey:
        """Return all servers, the quota and our keypairs."""
        with self._lock:
            self._called("survey")
            servers = tuple(map(self._shown, self.servers.values()))
            return survey_of(servers, self.quota, sorted(self.keypairs), self._signing())

    def forget_keypair(self, name: str) -> str:
        """Delete a keypair."""
        with self._lock:
            self._called("forget_keypair")
            self.keypairs.discard(name)
            return f"req-forget-{name}"

    def catalogue(self) -> Catalogue:
        """Return what is offered."""
        self._called("catalogue")
        return self.offered

    def security_groups(self) -> Mapping[str, str]:
        """Return the names of the security groups by their ids."""
        self._called("security_groups")
        return self.groups

    def mark(self, server_id: str, marks: Marks, *, whole: bool = False) -> None:
        """Replace a server's marks."""
        with self._lock:
            self._called("mark")
            if server_id not in self.servers:
                raise InDoubt("404: there is no such server")
            # What somebody wrote beside them spoils the others, unless it is taken away.
            if self.servers[server_id].claim and not whole:
                return
            self.servers[server_id] = self.servers[server_id]._replace(marks=marks, claim=None)
            self.signed_for[server_id] = self.is_at.id

    def proves(self, claim: Claim, place: str) -> bool:
        """Whether a server's marks are signed for another place."""
        with self._lock:
            return any(
                self.signed_for.get(it.id) == place and it.marks == claim.marks
                for it in self.servers.values()
            )

    def settle(self) -> None:
        """Let time pass: what builds is built (or fails), what leaves is gone."""
        with self._lock:
            for server_id in self._leaving & self.servers.keys():
                del self.servers[server_id]
            self._leaving.clear()
            for server_id, server in self.servers.items():
                if server.status == Status.BUILD:
                    self.servers[server_id] = self._built(server)

    def _built(self, server: Server) -> Server:
        if self.build_fault:
            return server._replace(status=Status.ERROR, fault=self.build_fault)
        address = Address(address="192.0.2.1", version=4, network="net")
        return server._replace(status=Status.ACTIVE, addresses=(address,))

    def add_foreign(self, need: Resources) -> str:
        """Make a server that is not ours."""
        with self._lock:
            server_id = f"foreign-{next(_IDS)}"
            self.servers[server_id] = Server(
                id=server_id, status=Status.ACTIVE, flavor="", image="", need=need
            )
            return server_id


class FakeClouds:
    """A fleet of fakes."""

    def __init__(self, clouds: dict[str, FakeCloud]) -> None:
        self.clouds = clouds

    def region(self, name: str) -> Cloud:
        """Return a region's fake."""
        if name not in self.clouds:
            raise NotConfigured(name)
        return self.clouds[name]

    def names(self) -> Sequence[str]:
        """Return the regions there are."""
        return list(self.clouds)
