"""Yielding: which servers of other attempts may go, as their instances are seen to live elsewhere.

A ledger may be wrong of what lives, as when it was restored from an old copy. So the cloud that an
instance's present server is in is asked for it, right before another one is deleted for it.
"""

from collections.abc import Iterator, Sequence

from openmultistack.clouds import Clouds, Server, Survey
from openmultistack.domain.cloud_errors import CloudError
from openmultistack.domain.models import Instance
from openmultistack.ledger import Ledger
from openmultistack.provision.reaching import reach
from openmultistack.usecases.judging import Case, has_taken_over

# Of so many one sweep finds out; the others wait for the next one.
ASKED_MAX = 50


class Yielding:
    """Asks for the present servers of instances that have another one in a region."""

    def __init__(self, region: str, ledger: Ledger, clouds: Clouds) -> None:
        self._region = region
        self._ledger = ledger
        self._clouds = clouds
        # Regions that did not answer: they are not asked again by this sweep.
        self._silent: set[str] = set()

    def outdone(self, survey: Survey, cases: Sequence[Case]) -> Iterator[Case]:
        """Give those of the cases whose server may go; each is asked after when it is its turn."""
        some = cases[:ASKED_MAX]
        ids = sorted({it.slot.instance_id for it in some})
        fresh = {it.id: it for it in self._ledger.get(ids)} if ids else {}
        for case in some:
            instance = fresh.get(case.slot.instance_id)
            if instance is None or case.server is None:
                continue
            present = self._present(instance, survey)
            if has_taken_over(instance, present, case.server):
                yield case

    def _present(self, instance: Instance, survey: Survey) -> Server | None:
        """Return an instance's present server as its cloud shows it; None if it does not."""
        region, server_id = instance.region, instance.server_id
        if server_id is None:
            return None
        if region == self._region:
            return next((it for it in survey.servers if it.id == server_id), None)
        if region in self._silent or region not in self._clouds.names():
            return None
        try:
            return reach(self._ledger, self._clouds, region).show(server_id)
        except CloudError:
            self._silent.add(region)
            return None
