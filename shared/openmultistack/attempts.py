"""Attempts: bring instances that hold a slot into being, moving on when a region fails.

Between `place` and `commit` stands exactly one call that makes a server. Whatever it answers, the
slot is committed, moved, or left to the sweep; a slot whose server may exist is never freed here.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Literal, NamedTuple

from openmultistack.clouds import Clouds, Marks, ServerOrder
from openmultistack.errors import (
    AccountBroken,
    CatalogueStale,
    CloudError,
    InDoubt,
    OrderRefused,
    RegionFull,
    TooLate,
    Unreachable,
)
from openmultistack.fleet import Fleet, Offers, offers, regions_matching
from openmultistack.ledger import Attempt, Ledger, Moved, Pick
from openmultistack.models import CreateInstances, Instance, Offer, RegionState

# Creates under way at once in one region, from one process: a burst of ours must not look like
# an attack, and clouds of this field slow down rather than speed up beyond a few.
SIDE_BY_SIDE = 5
# Attempts at one instance, over its whole life: regions that all fail must not be a merry-go-round.
ATTEMPTS_MAX = 6

# What a region's answer means for placements to come.
MEANING: Mapping[type[CloudError], Literal["down", "full", "stale", ""]] = {
    RegionFull: "full",
    CatalogueStale: "stale",
    AccountBroken: "down",
    Unreachable: "down",
    TooLate: "",
    InDoubt: "",
}


class Wanted(NamedTuple):
    """What all instances of one command have in common."""

    fleet: str
    owner: str
    command: CreateInstances
    offers: Sequence[Offer]
    pick: Pick
    created_at_ms: int
    expires_at_ms: int
    # The client has been told of these instances already.
    promised: bool = False


How = Literal["made", "unwanted", "nowhere", "refused"]
_HOW: Mapping[str, How] = {"ended": "unwanted", "none": "nowhere"}


class Ending(NamedTuple):
    """How the pursuit of one instance ended.

    `made`: a server was accepted, its id is there. `unwanted`: destroyed meanwhile. `nowhere`: no
    region is left. `refused`: the client's own input is at fault.
    """

    how: How
    attempt: Attempt
    offer: Offer
    server_id: str | None
    # What each region said, by name; and whether all of them were only full.
    said: Mapping[str, str]
    only_full: bool


def candidates(
    ledger: Ledger, fleet: Fleet, command: CreateInstances
) -> tuple[list[RegionState], Offers]:
    """Return the state of the regions a command may go to, and what it means in each.

    Raises:
        Invalid, NoRegionReady: there is no candidate; says why.
    """
    regions = regions_matching(fleet, command.regions)
    states = ledger.regions([region.name for region in regions])
    catalogues = ledger.catalogues(states)
    return states, offers(fleet, regions, catalogues, command.image, command.size)


class Attempts:
    """Runs attempts side by side, bounded in each region; safe to share between threads."""

    def __init__(
        self, ledger: Ledger, clouds: Clouds, *, lease_ms: int, call_budget_s: float
    ) -> None:
        self._ledger = ledger
        self._clouds = clouds
        # What is sent later than that might be answered when its lease is over and its slot freed.
        self._start_within_s = lease_ms / 1000 - call_budget_s
        self._gates = {name: BoundedSemaphore(SIDE_BY_SIDE) for name in clouds.names()}

    def pursue_all(
        self, attempts: Sequence[Attempt], wanted: Wanted, *, placed_at: float
    ) -> list[Ending]:
        """Pursue every attempt to its end, in the order given; see `pursue`."""
        if len(attempts) == 1:
            return [self.pursue(attempts[0], wanted, placed_at=placed_at)]
        with ThreadPoolExecutor(max_workers=len(attempts)) as pool:
            runs = [pool.submit(self.pursue, it, wanted, placed_at=placed_at) for it in attempts]
            return [run.result() for run in runs]

    def pursue(self, attempt: Attempt, wanted: Wanted, *, placed_at: float) -> Ending:
        """Try an attempt, and others elsewhere after it, until one is made or none is left.

        `placed_at`: the monotonic clock just before the attempt's lease began.
        """
        said: dict[str, str] = {}
        failed: set[str] = set()
        only_full = True
        while True:
            offer = next(it for it in wanted.offers if it.region == attempt.region)
            try:
                server_id = self._create(attempt, offer, wanted, placed_at=placed_at)
            except OrderRefused as error:
                self._leave(attempt, str(error), wanted, offers=(), keep=False)
                said[attempt.region] = str(error)
                return Ending("refused", attempt, offer, None, said, only_full=False)
            except CloudError as error:
                said[attempt.region] = str(error)
                if not isinstance(error, TooLate):  # our own delay: the region is not to blame
                    failed.add(attempt.region)
                only_full = only_full and isinstance(error, RegionFull)
                self._ledger.report(attempt.region, str(error), MEANING[type(error)])
                left = [it for it in wanted.offers if it.region not in failed]
                in_doubt = isinstance(error, InDoubt)
                placed_at = time.monotonic()
                moved = self._leave(attempt, str(error), wanted, offers=left, keep=in_doubt)
                if moved.attempt is None:
                    how = _HOW[moved.outcome]
                    return Ending(how, attempt, offer, None, said, only_full)
                attempt = moved.attempt
            else:
                kept = self._commit(attempt, offer, server_id, wanted)
                how = "made" if kept else "unwanted"
                return Ending(how, attempt, offer, server_id, said, only_full)

    def _leave(
        self, attempt: Attempt, why: str, wanted: Wanted, *, offers: Sequence[Offer], keep: bool
    ) -> Moved:
        return self._ledger.move(
            attempt,
            why=why,
            keep=keep,
            promised=wanted.promised,
            offers=offers if attempt.number < ATTEMPTS_MAX else (),
            pick=wanted.pick,
        )

    def _create(self, attempt: Attempt, offer: Offer, wanted: Wanted, *, placed_at: float) -> str:
        order = server_order(attempt, offer, wanted)
        not_after = placed_at + self._start_within_s
        with self._gates[attempt.region]:
            return self._clouds.region(attempt.region).create(order, not_after=not_after)

    def _commit(self, attempt: Attempt, offer: Offer, server_id: str, wanted: Wanted) -> bool:
        """Commit a server; one that is not wanted any more is deleted, else by the next sweep."""
        if self._ledger.commit(attempt, server_id):
            return True
        marks = server_order(attempt, offer, wanted).marks
        try:
            self._clouds.region(attempt.region).delete(server_id, marks.keypair)
        except CloudError as error:
            self._ledger.report(attempt.region, str(error), "")
        return False


def server_order(attempt: Attempt, offer: Offer, wanted: Wanted) -> ServerOrder:
    """Return the order for an attempt's server, with the marks that make it known for ours."""
    command = wanted.command
    name = f"oms-{attempt.instance_id}-{attempt.number}"
    marks = Marks(
        fleet=wanted.fleet,
        instance_id=attempt.instance_id,
        attempt=attempt.number,
        owner=wanted.owner,
        name=command.name,
        labels=command.labels,
        created_at_ms=wanted.created_at_ms,
        expires_at_ms=wanted.expires_at_ms,
        keypair=name if command.ssh_public_key else None,
    )
    return ServerOrder(
        marks=marks,
        offer=offer,
        ssh_public_key=command.ssh_public_key,
        user_data=command.user_data,
    )


def keypair_of(instance: Instance, attempt: int) -> str | None:
    """Return the name of the keypair that an attempt's server has of its own, if any."""
    return f"oms-{instance.id}-{attempt}" if instance.has_keypair else None
