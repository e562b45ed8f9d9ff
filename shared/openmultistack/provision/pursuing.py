"""Pursuing: try an instance that holds a slot, and elsewhere after it, until a server is made.

Whatever a region answers, the slot is committed, moved, or left to the sweep; a slot whose server
may exist is never freed here.
"""

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Literal, NamedTuple

from openmultistack.domain.cloud_errors import CloudError, InDoubt, OrderRefused, TooLate
from openmultistack.domain.models import Offer
from openmultistack.ledger import Attempt
from openmultistack.logs import tell_deletion
from openmultistack.provision.answers import all_refuse, are_only_full
from openmultistack.provision.identity import marks_for
from openmultistack.provision.making import HeldSlot, Learned, Making, Regions
from openmultistack.provision.planning import ATTEMPTS_MAX, FAILING_REGIONS_MAX, Wanted
from openmultistack.provision.reaching import reach

# After that a pursuit goes on elsewhere no more: what is placed then, a sweep makes.
PURSUIT_S = 75.0


class Pursuit(NamedTuple):
    """An attempt that holds a slot, and is to be made.

    `placed_at`: the monotonic clock just before the attempt's lease began.
    """

    attempt: Attempt
    wanted: Wanted
    placed_at: float


How = Literal["made", "unwanted", "nowhere", "refused", "later"]
_HOW: Mapping[str, How] = {"ended": "unwanted", "none": "nowhere", "queued": "later"}


class Ending(NamedTuple):
    """How the pursuit of one instance ended.

    `made`: a server was accepted, its id is there. `unwanted`: destroyed meanwhile. `nowhere`: no
    region is left. `refused`: the order will not do anywhere. `later`: it waits for a slot, or
    a sweep goes on with it.
    """

    how: How
    attempt: Attempt
    offer: Offer
    server_id: str | None
    # What each region said, by name; and whether all of them were only full.
    said: Mapping[str, str]
    only_full: bool
    # What the cloud of each calls the request that it refused, where it told that.
    cloud_request_ids: Mapping[str, str] = {}


class Pursuing:
    """Tries an attempt, and others elsewhere after it, until one is made or none is left."""

    def __init__(self, regions: Regions, learned: Learned, pursuit: Pursuit) -> None:
        self._ledger, self._clouds = regions.ledger, regions.clouds
        self._wanted = pursuit.wanted
        self._making = Making(regions, learned, pursuit.wanted)
        self._slot = self._held(pursuit.attempt, pursuit.placed_at)
        self._until = time.monotonic() + PURSUIT_S
        self._blamed = 0
        self._said: dict[str, CloudError] = {}

    def _held(self, attempt: Attempt, placed_at: float) -> HeldSlot:
        return HeldSlot(attempt, self._ledger.place_of(attempt.region), placed_at)

    @cached_property
    def _left(self) -> dict[str, Offer]:
        """Where it may still go to; most never ask."""
        return {it.region: it for it in self._wanted.offers}

    def run(self) -> Ending:
        """Return how it ended."""
        while True:
            region = self._slot.attempt.region
            try:
                server_id = self._making.make(self._slot)
            except CloudError as error:
                how = self._leave(error)
                if how is not None:
                    return self._ending(how, self._making.offer(region))
            else:
                kept = self._commit(server_id)
                offer = self._making.offer(region)
                return self._ending("made" if kept else "unwanted", offer, server_id)

    def _ending(self, how: How, offer: Offer, server_id: str | None = None) -> Ending:
        said = {region: str(error) for region, error in self._said.items()}
        ids = {it: error.cloud_request_id for it, error in self._said.items()}
        told = {region: its_id for region, its_id in ids.items() if its_id}
        only_full = are_only_full(self._said.values())
        return Ending(how, self._slot.attempt, offer, server_id, said, only_full, told)

    def _leave(self, error: CloudError) -> How | None:
        """Move on to another region; return how it ended if there is none."""
        attempt, region = self._slot.attempt, self._slot.attempt.region
        self._said[region] = error
        if outgrown := self._making.take_outgrown(region):
            self._left[region] = outgrown
        elif not isinstance(error, TooLate):  # our own delay: the region is not to blame
            self._left.pop(region, None)
        blame = isinstance(error, OrderRefused | InDoubt)
        self._blamed += blame
        late = time.monotonic() > self._until
        tired = attempt.number >= ATTEMPTS_MAX or self._blamed >= FAILING_REGIONS_MAX
        last = not self._left or self._blamed >= FAILING_REGIONS_MAX
        refused = last and all_refuse(self._said.values())
        placed_at = time.monotonic()
        moved = self._ledger.move(
            self._slot.in_ledger,
            owner=self._wanted.identity.owner,
            why=str(error),
            keep=isinstance(error, InDoubt),
            blame=blame,
            promised=self._wanted.promised or late,
            wait=self._wanted.command.on_full == "queue" and not (refused or tired),
            offers=() if refused or tired else list(self._left.values()),
            pick=self._wanted.pick,
        )
        if moved.attempt is None:
            return "refused" if refused else _HOW[moved.outcome]
        self._slot = self._held(moved.attempt, placed_at)
        return "later" if late else None

    def _commit(self, server_id: str) -> bool:
        """Commit a server; one that is not wanted any more is deleted, else by the next sweep."""
        attempt, place = self._slot.attempt, self._slot.place
        if self._ledger.commit(self._slot.in_ledger, server_id):
            return True
        marks = marks_for(attempt, self._wanted)
        asked, failed = "", ""
        try:
            cloud = reach(self._ledger, self._clouds, attempt.region, place)
            asked = cloud.delete(server_id, marks.attempted if marks.identity.has_keypair else None)
        except CloudError as error:
            self._ledger.report(place, str(error), "")
            asked, failed = error.cloud_request_id, str(error)
        tell_deletion(
            region=attempt.region,
            instance=attempt.instance_id,
            attempt=attempt.number,
            server=server_id,
            why="its instance was wanted no more when it was made",
            cloud_request_id=asked,
            failed=failed,
        )
        return False
