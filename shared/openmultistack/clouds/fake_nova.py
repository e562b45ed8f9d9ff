"""What a fake cloud has: servers, keypairs and quotas; and how time passes there.

It counts like Nova does: every server holds its quota until it is gone, those in ERROR too.
"""

import itertools
import threading
from collections.abc import Callable

from openmultistack.clouds.keyring import Keyring, MarksKey
from openmultistack.clouds.marks import metadata_of
from openmultistack.clouds.names import name_of, named
from openmultistack.clouds.port import Attempted, Claim, Server, ServerOrder
from openmultistack.clouds.signing import Signing
from openmultistack.domain.cloud_errors import (
    CatalogueStale,
    CloudError,
    PlaceMoved,
    RegionFull,
    Unsuitable,
)
from openmultistack.domain.models import Address, Catalogue, Resources, Status
from openmultistack.domain.regions import Place

KEYRING = Keyring([MarksKey("fake", bytes(32))])
# A server's id is of one region alone, as in real clouds.
_IDS = itertools.count(1)

Fault = Callable[[str], CloudError | None]
"""Asked with the name of each call; what it returns is raised instead of doing the call."""


class FakeNova:
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

    def _refuse(self, order: ServerOrder) -> None:
        """Refuse an order as a cloud would that is not there, has not what it names, or is full."""
        if order.place not in ("", self.is_at.id):
            raise PlaceMoved("the region is another one now")
        offer, here = order.offer, self.offered
        if (
            offer.flavor not in here.flavors
            or offer.image not in here.images
            or offer.network not in here.networks
        ):
            raise CatalogueStale("400: flavor, image or network could not be found")
        self._refuse_unsuitable(order)
        used = sum((it.need for it in self.servers.values()), order.offer.need)
        if any(getattr(used, what) > getattr(self.quota, what) for what in Resources._fields):
            raise RegionFull("403: Quota exceeded")

    def _refuse_unsuitable(self, order: ServerOrder) -> None:
        """Refuse what others' orders may have, and this one may not."""
        if order.marks.identity.has_keypair and len(self.keypairs) >= self.keypair_quota:
            raise Unsuitable("403: Quota exceeded, too many key pairs.", about=("keyed",))
        if len(metadata_of(order.marks, self._signing())) > self.metadata_items:
            text = f"403: Maximum number of metadata items exceeds {self.metadata_items}"
            raise Unsuitable(text, about=("metadata",))
        if order.offer.flavor.disk_gb == 0:
            text = "403: Only volume-backed servers are allowed for flavors with zero disk."
            raise Unsuitable(text, about=("flavor",))

    def _add(self, order: ServerOrder) -> str:
        """Have a server that was ordered, and its keypair."""
        number = next(_IDS)
        server_id = f"server-{number}"
        self.servers[server_id] = Server(
            id=server_id,
            status=Status.BUILD,
            flavor=order.offer.flavor.name,
            image=order.offer.image.id,
            need=order.offer.need,
            marks=order.marks if self.fleet in (None, order.marks.fleet) else None,
            created_at=f"{number:012}",
            named=order.marks.attempted,
        )
        self.signed_for[server_id] = self.is_at.id
        if order.marks.identity.has_keypair:
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
