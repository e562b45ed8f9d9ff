"""The port to one region, over openstacksdk: which part of this room does what is asked."""

import math
from collections.abc import Mapping, Sequence

from openmultistack.clouds.keyring import Keys
from openmultistack.clouds.marks import verifies
from openmultistack.clouds.openstack.asking import delete, segment_of
from openmultistack.clouds.openstack.catalogue import read_catalogue, read_security_groups
from openmultistack.clouds.openstack.create import ServerMaker
from openmultistack.clouds.openstack.keypairs import forget_keypair, forget_keypairs
from openmultistack.clouds.openstack.servers import Servers, mark_server
from openmultistack.clouds.openstack.session import Connect, Sessions
from openmultistack.clouds.port import Attempted, Claim, Marks, Server, ServerOrder, Survey
from openmultistack.clouds.signing import Signing
from openmultistack.domain.models import Catalogue
from openmultistack.domain.regions import Place
from openmultistack.logs import ANSWERED


class OpenStackCloud:
    """One region over openstacksdk; safe to share between threads."""

    def __init__(self, connect: Connect, *, fleet: str, keys: Keys) -> None:
        self._fleet = fleet
        self._keys = keys
        self._sessions = Sessions(connect, fleet=fleet, keys=keys)
        self._maker = ServerMaker(self._sessions, keys)
        self._servers = Servers(self._sessions)

    def create(self, order: ServerOrder, *, not_after: float = math.inf) -> str:
        """Make a server and return its id; sends the POST once, and not after its time."""
        return self._maker.create(order, not_after=not_after)

    def close(self) -> None:
        """Give up the connections that nothing goes over now."""
        self._sessions.close()

    def forgive(self) -> None:
        """Have a login that was refused tried at once."""
        self._sessions.forgive()

    def place(self) -> Place:
        """Return what the region is by itself: where its Nova is, and for which project."""
        with self._sessions.opened() as session:
            return session.place()

    def delete(self, server_id: str, keypair_of: Attempted | None = None) -> str:
        """Ask for a server's end, and that of its own keypair; one that is gone is no error."""
        with self._sessions.opened() as session:
            delete(session.nova, f"/servers/{segment_of(server_id)}")
            own_id = ANSWERED.get()
            if keypair_of:
                forget_keypairs(session, session.signing(), keypair_of)
            return own_id

    def forget_keypair(self, name: str) -> str:
        """Delete a keypair; one that is gone is no error."""
        with self._sessions.opened() as session:
            forget_keypair(session, name)
            return ANSWERED.get()

    def show(self, server_id: str) -> Server | None:
        """Return a server; None if the cloud has none of this id."""
        return self._servers.show(server_id)

    def find(self, marks: Marks) -> Server | None:
        """Return the server that carries these marks' instance and attempt, if there is one yet."""
        return self._servers.find(marks, self._fleet)

    def active(self) -> Sequence[Server]:
        """Return the project's servers that the cloud shows ACTIVE."""
        return self._servers.active()

    def present(self) -> frozenset[str]:
        """Return the ids of all servers of the project."""
        return self._servers.present()

    def survey(self) -> Survey:
        """Return all there is and the quota, in three calls (more pages aside)."""
        return self._servers.survey()

    def catalogue(self) -> Catalogue:
        """Return what the region offers to servers."""
        with self._sessions.opened() as session:
            return read_catalogue(session.services)

    def security_groups(self) -> Mapping[str, str]:
        """Return the names of the project's security groups by their ids."""
        with self._sessions.opened() as session:
            return read_security_groups(session.services)

    def mark(self, server_id: str, marks: Marks, *, whole: bool = False) -> None:
        """Write a server's marks anew: beside what is there, or in place of other marks."""
        with self._sessions.opened() as session:
            mark_server(session, server_id, marks, whole=whole)

    def proves(self, claim: Claim, place: str) -> bool:
        """Whether a claim is signed for another place."""
        return verifies(claim, Signing(self._keys(), self._fleet, place), place)
