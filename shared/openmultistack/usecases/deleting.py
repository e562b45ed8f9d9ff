"""Deleting: servers that are known to be unwanted go, and their slots once they are gone."""

import time
from functools import partial

from openmultistack.clouds import Attempted, Server
from openmultistack.domain.cloud_errors import CloudError
from openmultistack.domain.models import Instance
from openmultistack.domain.pace import Pace
from openmultistack.ledger import Slot
from openmultistack.logs import tell_deletion
from openmultistack.provision.leaving import Leaver, Leaving
from openmultistack.usecases.judging import Case
from openmultistack.usecases.swept import Swept


class Deleting:
    """Deletes servers of one region, in one sweep of it."""

    def __init__(self, swept: Swept, leaving: Leaving, pace: Pace) -> None:
        self._swept = swept
        self._pace = pace
        self._leaving = leaving
        self._leavers: list[Leaver] = []

    @property
    def server_ids(self) -> set[str]:
        """The servers whose end this sweep asked for."""
        return {it.server_id for it in self._leavers}

    def delete_certain(self, case: Case) -> None:
        """Delete a case's server, if the cloud shows it as that very attempt's."""
        if case.server and self._is_certain(case.slot, case.server):
            self._delete(case.slot, case.instance, case.server, case.act.why)

    def _is_certain(self, slot: Slot, server: Server) -> bool:
        """Whether the cloud shows a server as this very attempt's: else it may be anybody's."""
        attempted = Attempted(slot.instance_id, slot.attempt)
        marked = server.marks is not None and server.marks.attempted == attempted
        certain = marked or (server.id == slot.server_id and server.is_of(attempted))
        if not certain:
            said = f"server {server.id} lacks the marks of {slot.instance_id}/{slot.attempt}"
            self._swept.ledger.report(self._swept.region, f"{said}: it is not deleted", "")
        return certain

    def _delete(self, slot: Slot, instance: Instance | None, server: Server, why: str) -> None:
        attempt = self._swept.attempt(slot)
        if slot.server_id is None:
            # Found: its slot comes back when the server is gone, and waits for no lease.
            self._swept.ledger.observe(
                attempt, server_id=server.id, status=server.status, addresses=server.addresses
            )
        tell = partial(
            tell_deletion,
            region=self._swept.region,
            instance=attempt.instance_id,
            attempt=attempt.number,
            server=server.id,
            why=why,
        )
        try:
            keyed = server.marks is None or server.marks.identity.has_keypair
            its_keypair = Attempted(slot.instance_id, slot.attempt) if keyed else None
            asked = self._swept.cloud.delete(server.id, its_keypair)
        except CloudError as error:
            tell(cloud_request_id=error.cloud_request_id, failed=str(error))
            raise
        self._leavers.append(Leaver(attempt, slot.owner, instance, server.id))
        self._swept.done["deleted"] += 1
        tell(cloud_request_id=asked)

    def see_them_gone(self) -> None:
        """Stay a moment, so that slots of servers deleted by this sweep come back with it."""
        until = time.monotonic() + self._pace.gone_within_s
        waiting = self._leavers
        while waiting and time.monotonic() < until:
            time.sleep(self._pace.gone_poll_s)
            gone = self._leaving.release(self._swept.region, waiting)
            self._swept.done["released"] += len(gone)
            waiting = [it for it in waiting if it not in gone]
        self._leaving.follow(waiting)
