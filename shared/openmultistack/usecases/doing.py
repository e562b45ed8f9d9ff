"""Doing: what a sweep does of what follows: first in the ledger, all at once; then in the cloud."""

import time
from collections.abc import Sequence

from openmultistack.clouds import Server
from openmultistack.clouds.meanings import is_quota
from openmultistack.domain.errors import UnreadableOrder
from openmultistack.domain.models import Instance, Status
from openmultistack.ledger import Gone, Seen
from openmultistack.provision.planning import wanted_again
from openmultistack.provision.pursuing import Pursuit
from openmultistack.usecases.deleting import Deleting
from openmultistack.usecases.judging import Case
from openmultistack.usecases.swept import Swept


class Doing:
    """Does what was judged about the slots of one region, in one sweep of it."""

    def __init__(self, swept: Swept, deleting: Deleting) -> None:
        self._swept = swept
        self._deleting = deleting
        # Attempts elsewhere at what failed here: the caller pursues them, out of the lock.
        self.retries: list[Pursuit] = []

    def do_all(self, cases: Sequence[Case]) -> None:
        """Do first what concerns the ledger alone, all at once; then ask the cloud, one by one."""
        self._observe([it for it in cases if it.act.what == "observe"])
        self._release([it for it in cases if it.act.what == "release"])
        for it in cases:
            with self._swept.one_of_many():
                self._do(it)

    def _observe(self, cases: Sequence[Case]) -> None:
        self._swept.ledger.observe_all([self._seen(it, it.server) for it in cases if it.server])
        for slot, instance, server, _ in cases:
            active = server is not None and server.status == Status.ACTIVE
            built = active and instance is not None and instance.status == Status.BUILD
            self._swept.done["adopted"] += slot.server_id is None
            self._swept.done["activated"] += built

    def _seen(self, case: Case, server: Server) -> Seen:
        attempt = self._swept.attempt(case.slot)
        return Seen(attempt, server.id, server.status, server.addresses, server.cloud_status)

    def _release(self, cases: Sequence[Case]) -> None:
        gone = [(self._swept.attempt(it.slot), it) for it in cases]
        freed = self._swept.ledger.release_all(
            [Gone(attempt, it.slot.owner, it.instance, it.act.why) for attempt, it in gone]
        )
        self._swept.done["released"] += sum(freed)

    def _do(self, case: Case) -> None:
        slot, instance, server, act = case
        if server and server.status == Status.ERROR and is_quota(server.fault or ""):
            self._swept.ledger.report(self._swept.region, act.why, "full")
        if act.what == "retry" and instance:
            self._retry(case, instance)
        elif act.what == "fail":
            self._swept.ledger.fail(self._swept.attempt(slot), act.why)
            self._swept.done["failed"] += 1
        elif act.what == "delete":
            self._deleting.delete_certain(case)
        elif act.what == "prolong" and server and server.marks:
            self._swept.ledger.prolong(
                self._swept.attempt(slot), server.marks.identity.expires_at_ms
            )
        elif act.what == "mark" and server and server.marks and instance:
            was, marks = server.marks, server.marks._replace(identity=instance.identity)
            # A label that is one no more would spoil the signature.
            whole = was.identity.labels != marks.identity.labels
            self._swept.cloud.mark(server.id, marks, whole=whole)

    def _retry(self, case: Case, instance: Instance) -> None:
        """Try an instance elsewhere; the slot of a failed server is held until it is gone."""
        server, why = case.server, case.act.why
        if server:
            # Not here again. Where nothing was made, nothing failed: our own end came between.
            tried = {**instance.tried, self._swept.region: why}
            instance = instance._replace(tried=tried)
        swept = self._swept
        try:
            wanted = wanted_again(swept.ledger, swept.fleet, swept.fleet_name, instance, {})
        except UnreadableOrder:
            return  # a version that can read it goes on with it; else its time ends
        placed_at = time.monotonic()
        moved = self._swept.ledger.move(
            self._swept.attempt(case.slot),
            owner=instance.identity.owner,
            why=why,
            keep=server is not None,
            blame=server is not None,
            promised=True,
            wait=wanted is not None and wanted.command.on_full == "queue",
            offers=wanted.offers if wanted else (),
            pick=wanted.pick if wanted else "freest",
        )
        if moved.attempt and wanted:
            self.retries.append(Pursuit(moved.attempt, wanted, placed_at))
        self._swept.done["retried"] += moved.outcome in ("moved", "queued")
        self._swept.done["failed"] += moved.outcome == "none"
        self._deleting.delete_certain(case._replace(instance=instance))
