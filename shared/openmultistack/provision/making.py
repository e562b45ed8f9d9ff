"""Making: have one region make an instance's server, in the slot that is held for it there.

Exactly one call makes a server. Where its answer is lost the server is looked for; where the
catalogue is stale it is read, and the order sent anew.
"""

import time
from threading import BoundedSemaphore
from typing import NamedTuple

from openmultistack.clouds import Cloud, Clouds, Marks
from openmultistack.domain.cloud_errors import (
    CatalogueStale,
    CloudError,
    InDoubt,
    Unreachable,
    Unsuitable,
)
from openmultistack.domain.kinds import Asked, kind_of
from openmultistack.domain.models import Offer
from openmultistack.ledger import Attempt, Ledger
from openmultistack.logs import tell_attempt
from openmultistack.provision.answers import ALIKE, report_answer
from openmultistack.provision.order import server_order
from openmultistack.provision.planning import Wanted
from openmultistack.provision.restocking import Restocking


class HeldSlot(NamedTuple):
    """A slot that an attempt holds.

    `place`: where, whatever the region's name stands for by the time of an answer. `placed_at`:
    the monotonic clock just before its lease began.
    """

    attempt: Attempt
    place: str
    placed_at: float

    @property
    def in_ledger(self) -> Attempt:
        """The attempt as the ledger holds it: by its place."""
        return self.attempt._replace(region=self.place)


class Gates:
    """Bounds what one process has under way in each region; safe to share between threads."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._made: dict[str, BoundedSemaphore] = {}

    def of(self, region: str) -> BoundedSemaphore:
        """Return a region's gate."""
        return self._made.setdefault(region, BoundedSemaphore(self._at_once))


class Regions(NamedTuple):
    """What all attempts of a process reach regions by: bounded in each, and in time."""

    ledger: Ledger
    clouds: Clouds
    gates: Gates
    # What is sent later than that might be answered when its lease is over and its slot freed.
    start_within_s: float
    # When a server whose answer was lost is looked for: pauses, one after another.
    looks_s: tuple[float, ...]


class Learned(NamedTuple):
    """What a region answered to one of a command's attempts, which spares the others the same."""

    answered: dict[str, CloudError]
    restocking: Restocking


class Making:
    """Has the server of one instance made, in one region after another."""

    def __init__(self, regions: Regions, learned: Learned, wanted: Wanted) -> None:
        self._ledger, self._clouds, self._gates, self._start_within_s, self._looks_s = regions
        self._answered, self._restocking = learned
        self._wanted = wanted
        # What the order means by now, where that changed; regions whose catalogue was read anew,
        # and those that need a slot of another size.
        self._fresh: dict[str, Offer] = {}
        self._renewed: set[str] = set()
        self._outgrown: set[str] = set()

    def offer(self, region: str) -> Offer:
        """Return what the order means in a region by now."""
        offered = (it for it in self._wanted.offers if it.region == region)
        return self._fresh.get(region) or next(offered)

    def take_outgrown(self, region: str) -> Offer | None:
        """Return what takes a slot of another size in a region, where that was found; only once."""
        if region not in self._outgrown:
            return None
        self._outgrown.discard(region)
        return self._fresh[region]

    def make(self, slot: HeldSlot) -> str:
        """Have a server made in a slot, and return its id.

        Raises:
            CloudError: what the region said, or would say once more.
        """
        region = slot.attempt.region
        with self._gates.of(region):
            if region in self._answered:
                raise self._answered[region]
            try:
                return self._make_there(slot)
            except CloudError as error:
                self._learn(slot, error)
                raise

    def _make_there(self, slot: HeldSlot) -> str:
        """Have a server made; where the catalogue is stale it is read, and the POST sent anew."""
        region = slot.attempt.region
        if self._restocking.was_read(region):
            self._renew(region, CatalogueStale("what it offers has changed"))
        try:
            return self._send(slot)
        except CatalogueStale as stale:
            if self._wanted.reoffer is None:
                raise
            before = self.offer(region)
            if region not in self._renewed:
                self._renew(region, stale)
            if self.offer(region) == before:
                raise _refused_though_listed(stale) from stale
            return self._send(slot)

    def _renew(self, region: str, stale: CatalogueStale) -> None:
        """Learn what the order means in a region by now, once.

        Raises:
            CatalogueStale: nothing; or it takes another slot than the one that is held.
        """
        if region in self._renewed or self._wanted.reoffer is None:
            return
        self._renewed.add(region)
        before = self.offer(region)
        fresh = self._restocking.offer(region, self._wanted.reoffer, stale)
        self._fresh[region] = fresh
        if fresh.footprint != before.footprint:
            self._outgrown.add(region)
            raise stale

    def _send(self, slot: HeldSlot) -> str:
        order = server_order(slot.attempt, self.offer(slot.attempt.region), self._wanted)
        order = order._replace(place=slot.place)
        cloud = self._clouds.region(slot.attempt.region)
        try:
            made = cloud.create(order, not_after=slot.placed_at + self._start_within_s)
        except CloudError as error:
            lost = isinstance(error, InDoubt)
            found = self._look_for(cloud, order.marks, slot.attempt.region) if lost else None
            _tell(slot.attempt, error.word, server=found, failed=error)
            if found is None:
                raise
            return found
        if self._wanted.promised:  # who asked for it has their answer: no other line tells of it
            _tell(slot.attempt, "made", server=made)
        return made

    def _look_for(self, cloud: Cloud, marks: Marks, region: str) -> str | None:
        """Return the server of an attempt whose answer was lost; None is no proof of the contrary.

        A region that does not even answer this is left alone by the rest of the command.
        """
        for pause_s in self._looks_s:
            time.sleep(pause_s)
            try:
                found = cloud.find(marks)
            except CloudError as error:
                self._answered[region] = Unreachable(str(error))
                return None
            if found:
                return found.id
        return None

    def _learn(self, slot: HeldSlot, error: CloudError) -> None:
        """Tell the rest of the command, and all others whom it concerns, what a region said."""
        region = slot.attempt.region
        if region in self._outgrown:
            return
        if isinstance(error, ALIKE):
            self._answered[region] = error
        if isinstance(error, Unsuitable):
            asked = Asked(self.offer(region), self._wanted.command, self._wanted.identity)
            self._ledger.unsuit(slot.place, kind_of(error.about, asked), str(error))
        report_answer(self._ledger, slot.place, error)


def _refused_though_listed(stale: CatalogueStale) -> Unsuitable:
    """Return what a region means that lists something and refuses it: for whom else is unknown."""
    unsuitable = Unsuitable(str(stale), about=("flavor", "image", "network", "groups"))
    unsuitable.cloud_request_id = stale.cloud_request_id
    return unsuitable


def _tell(
    attempt: Attempt, outcome: str, *, server: str | None, failed: CloudError | None = None
) -> None:
    tell_attempt(
        region=attempt.region,
        instance=attempt.instance_id,
        attempt=attempt.number,
        outcome=outcome,
        server=server,
        said=(str(failed) or None) if failed else None,
        cloud_request_id=(failed.cloud_request_id or None) if failed else None,
    )
