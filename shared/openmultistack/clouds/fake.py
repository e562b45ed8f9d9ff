"""A cloud in memory, for tests: the same port, the same contract, and faults on demand."""

import math
import time
from collections.abc import Mapping, Sequence

from openmultistack.clouds.fake_nova import FakeNova
from openmultistack.clouds.names import survey_of
from openmultistack.clouds.port import (
    Attempted,
    Claim,
    Cloud,
    Marks,
    Server,
    ServerOrder,
    Survey,
)
from openmultistack.domain.cloud_errors import InDoubt, NotConfigured, TooLate
from openmultistack.domain.models import Catalogue, Status
from openmultistack.domain.regions import Place


class FakeCloud(FakeNova):
    """One region as the port has it; each call is noted, and may be made to fail."""

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
            self._refuse(order)
            return self._add(order)

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

    def close(self) -> None:
        """There is nothing to give up."""
