"""The servers of one region as their cloud shows them, and what they carry of marks."""

from collections.abc import Sequence
from typing import Any

from openstack import exceptions

from openmultistack.clouds.marks import is_ours, metadata_of
from openmultistack.clouds.names import pattern_of, survey_of
from openmultistack.clouds.openstack.asking import Document, asked, listed, segment_of
from openmultistack.clouds.openstack.connections import CONNECT_TIMEOUT_S
from openmultistack.clouds.openstack.documents import flavor_of, quota_of, server_of
from openmultistack.clouds.openstack.microversions import FLAVOR_NUMBERS_SINCE
from openmultistack.clouds.openstack.session import Session, Sessions
from openmultistack.clouds.port import Marks, Server, Survey
from openmultistack.clouds.signing import Signing
from openmultistack.domain.models import Flavor

# Of a look after a server whose answer was lost: somebody waits, and a sweep looks as well.
LOOK_TIMEOUT_S = 10.0


class Servers:
    """Reads the servers of one region; safe to share between threads."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        # By id, where servers do not tell their flavor's numbers; None: it is there no more.
        self._flavors: dict[str, Flavor | None] = {}

    def show(self, server_id: str) -> Server | None:
        """Return a server; None if the cloud has none of this id."""
        with self._sessions.opened() as session:
            path = f"/servers/{segment_of(server_id)}"
            try:
                found = asked(session.nova, path, microversion=session.version)
            except exceptions.NotFoundException:
                return None
            return self._server(session, found["server"], session.signing())

    def find(self, marks: Marks, fleet: str) -> Server | None:
        """Return the server that carries these marks' instance and attempt, if there is one yet.

        Nova takes the name for a regular expression; the marks decide, not the name. Of several it
        is one that is signed, and that was made as it was signed.
        """
        attempted = marks.attempted
        found = self._listed(name=pattern_of(fleet, attempted))
        its = [it for it in found if it.tells_of(attempted)]
        return min(its, key=lambda it: (it.marks is None, *it.originality), default=None)

    def active(self) -> Sequence[Server]:
        """Return the project's servers that the cloud shows ACTIVE."""
        return self._listed(status="ACTIVE")

    def _listed(self, **filters: str) -> list[Server]:
        with self._sessions.opened() as session:
            found = listed(
                session.nova,
                "/servers/detail",
                params=filters,
                microversion=session.version,
                timeout=(CONNECT_TIMEOUT_S, LOOK_TIMEOUT_S),
            )
            signing = session.signing()
            return [self._server(session, it, signing) for it in found]

    def present(self) -> frozenset[str]:
        """Return the ids of all servers of the project."""
        with self._sessions.opened() as session:
            return frozenset(it["id"] for it in listed(session.nova, "/servers"))

    def survey(self) -> Survey:
        """Return all there is and the quota, in three calls (more pages aside)."""
        with self._sessions.opened() as session:
            nova, signing = session.nova, session.signing()
            found = listed(nova, "/servers/detail", microversion=session.version)
            servers = tuple(self._server(session, it, signing) for it in found)
            keypairs = [it["keypair"]["name"] for it in listed(nova, "/os-keypairs")]
            quota = quota_of(asked(nova, "/limits"))
        return survey_of(servers, quota, keypairs, signing)

    def _server(self, session: Session, document: Document, signing: Signing) -> Server:
        """Return a server; below 2.47 it tells its flavor's id only."""
        server = server_of(document, signing)
        if session.supports(FLAVOR_NUMBERS_SINCE) or not server.flavor:
            return server
        flavor = self._flavor(session.nova, server.flavor)
        if flavor is None:
            return server
        return server._replace(flavor=flavor.name, need=flavor.need)

    def _flavor(self, nova: Any, flavor_id: str) -> Flavor | None:  # noqa: ANN401  untyped
        """Return a flavor by its id; asked for once, as an id never means another."""
        if flavor_id not in self._flavors:
            try:
                found = asked(nova, f"/flavors/{segment_of(flavor_id)}")
            except exceptions.NotFoundException:
                self._flavors[flavor_id] = None
            else:
                self._flavors[flavor_id] = flavor_of(found["flavor"])
        return self._flavors[flavor_id]


def mark_server(session: Session, server_id: str, marks: Marks, *, whole: bool) -> None:
    """Write a server's marks anew: beside what is there, or (PUT) in place of other marks."""
    nova, path = session.nova, f"/servers/{segment_of(server_id)}/metadata"
    items = metadata_of(marks, session.signing(), server_id)
    if whole:
        others = asked(nova, path)["metadata"]
        items = {k: v for k, v in others.items() if not is_ours(k)} | items
    answer = (nova.put if whole else nova.post)(path, json={"metadata": items})
    exceptions.raise_from_response(answer)
