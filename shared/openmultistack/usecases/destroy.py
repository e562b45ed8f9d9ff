"""The use case destroy: mark instances for their end, and ask their clouds for it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from openmultistack.clouds import Attempted, Clouds
from openmultistack.domain.cloud_errors import CloudError, NotConfigured, PlaceMoved
from openmultistack.domain.errors import LedgerUnavailable, ProviderRemoved
from openmultistack.domain.models import Instance, Status
from openmultistack.ledger import Attempt, Destroyed, EndedBy, Ledger, OnlyIf
from openmultistack.logs import in_context, tell_deletion
from openmultistack.provision.leaving import Leaver, Leaving
from openmultistack.provision.reaching import reach
from openmultistack.usecases.read import list_instances, owned

# How many destroys of one command are under way at once.
DESTROYS_SIDE_BY_SIDE = 8
# An instance that moves on while it is destroyed is read again so often.
MOVES_MAX = 30


class Destroying:
    """The use case destroy."""

    def __init__(self, ledger: Ledger, clouds: Clouds, leaving: Leaving) -> None:
        self._ledger = ledger
        self._clouds = clouds
        self._leaving = leaving

    def destroy_ids(self, owner: str, instance_ids: Sequence[str]) -> list[Instance]:
        """Destroy an owner's instances and return them as they are then; safe to repeat.

        Raises:
            NotFound: an id is not known, or is another owner's.
            ProviderRemoved: some cannot be reached any more; all others are being destroyed.
        """
        instances = owned(self._ledger, owner, instance_ids)
        acts = [partial(self.destroy, it, why="its owner destroyed it") for it in instances]
        if len(acts) == 1:
            acts[0]()
        else:
            with ThreadPoolExecutor(max_workers=DESTROYS_SIDE_BY_SIDE) as pool:
                list(pool.map(lambda act: act(), in_context(acts)))
        after = self._ledger.get(instance_ids)
        unreachable = [it.id for it in after if it.stranded and it.status == Status.DELETING]
        if unreachable:
            raise ProviderRemoved(unreachable)
        return after

    def destroy_labelled(self, owner: str, labels: Mapping[str, str]) -> list[Instance]:
        """Destroy all of an owner's living instances that have these labels; safe to repeat."""
        found: list[Instance] = []
        after = None
        while True:
            page = list_instances(self._ledger, owner, labels=labels, after=after, limit=1000)
            found += page.instances
            after = page.next
            if after is None:
                break
        return self.destroy_ids(owner, [it.id for it in found]) if found else []

    def destroy(
        self,
        instance: Instance,
        *,
        why: str,
        only_if: OnlyIf = "",
        ended: EndedBy = "destroyed",
    ) -> bool:
        """Mark an instance for its end and ask its cloud; what fails there the sweep repeats.

        Returns False if it is wanted on.
        """
        answer, marked = self.mark(instance, why=why, only_if=only_if, ended=ended)
        if answer == "DELETING" and marked.server_id is not None and not marked.stranded:
            self._ask(marked, marked.server_id, why)
        return answer != "WANTED"

    def _ask(self, instance: Instance, server_id: str, why: str) -> None:
        attempt = Attempt(instance.id, instance.attempt, instance.region)
        its_keypair = (
            Attempted(instance.id, instance.attempt) if instance.identity.has_keypair else None
        )
        asked, failed = "", ""
        try:
            cloud = reach(self._ledger, self._clouds, instance.region)
            asked = cloud.delete(server_id, its_keypair)
        except (NotConfigured, PlaceMoved) as error:
            failed = str(error)  # this process has older files, or the next sweep tells of it
        except CloudError as error:
            self._ledger.report(instance.region, str(error), "")
            asked, failed = error.cloud_request_id, str(error)
        else:
            self._leaving.follow([Leaver(attempt, instance.identity.owner, instance, server_id)])
        tell_deletion(
            region=instance.region,
            instance=instance.id,
            attempt=instance.attempt,
            server=server_id,
            why=why,
            cloud_request_id=asked,
            failed=failed,
        )

    def mark(
        self,
        instance: Instance,
        *,
        why: str,
        only_if: OnlyIf = "",
        ended: EndedBy = "destroyed",
    ) -> tuple[Destroyed, Instance]:
        """Mark an instance for its end; return the ledger's answer, and it as it was then."""
        answer: Destroyed = "MOVED"
        for _ in range(MOVES_MAX):
            answer = self._ledger.destroy(instance, why=why, only_if=only_if, ended=ended)
            if answer != "MOVED":
                break
            (instance,) = self._ledger.get([instance.id])
        else:
            raise LedgerUnavailable(f"{instance.id} is on the move; try again soon")
        if answer == "EMPTY":
            attempt = Attempt(instance.id, instance.attempt, instance.region)
            self._ledger.release(
                attempt, owner=instance.identity.owner, instance=instance, why=why, end=True
            )
        return answer, instance
