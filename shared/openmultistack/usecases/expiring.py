"""Expiring: instances whose time is up are ended, and those that ended long ago are forgotten."""

from collections.abc import Sequence

from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.domain.models import Instance, Status
from openmultistack.domain.pace import Pace
from openmultistack.fleet.config import Fleet
from openmultistack.ledger import Ledger
from openmultistack.logs import tell
from openmultistack.usecases.destroy import Destroying


class Expiring:
    """Ends what is due; safe to repeat and to race."""

    def __init__(self, ledger: Ledger, fleet: Fleet, destroying: Destroying, pace: Pace) -> None:
        self._ledger = ledger
        self._pace = pace
        self._fleet = fleet
        self._destroying = destroying

    def end_due(self) -> tuple[int, int]:
        """End what is due; return how many instances expired, and how many were forgotten."""
        expired = forgotten = 0
        for _ in range(self._pace.due_lots):
            ids = self._ledger.due(self._pace.due_at_once)
            due = self._ledger.get(ids)
            self._ledger.put_off(set(ids) - {it.id for it in due})
            ended = [it for it in due if it.status == Status.DELETED]
            self._expire([it for it in due if it.status != Status.DELETED])
            if ended:
                self._ledger.forget(ended)
            expired, forgotten = expired + len(due) - len(ended), forgotten + len(ended)
            if len(ids) < self._pace.due_at_once:
                break
        return expired, forgotten

    def _expire(self, instances: Sequence[Instance]) -> None:
        """Mark for their end those whose time is up; the sweeps that follow delete them.

        Those out of reach are seen to by `Retiring`, once the sweeps have shown who they are.
        """
        for instance in instances:
            unknown = instance.region and instance.region not in self._fleet.configured
            if instance.stranded or unknown:
                continue
            waited = instance.status == Status.QUEUED
            why = "it waited in vain for a slot" if waited else "its time is up"
            try:
                self._destroying.mark(instance, why=why, only_if="due", ended="expired")
            except LedgerUnavailable:
                raise
            except Exception:  # noqa: BLE001  a fault about one must not stop the others
                tell("expiry failed", "exception", instance=instance.id)
