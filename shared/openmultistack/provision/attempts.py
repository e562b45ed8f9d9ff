"""Attempts: bring instances that hold a slot into being, moving on when a region fails.

Between `place` and `commit` stands exactly one call that makes a server. Whatever it answers, the
slot is committed, moved, or left to the sweep; a slot whose server may exist is never freed here.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import BoundedSemaphore
from typing import Literal, NamedTuple

from openmultistack.clouds import Cloud, Clouds, Marks, ServerOrder
from openmultistack.domain.errors import (
    AccountBroken,
    CatalogueStale,
    CloudError,
    InDoubt,
    NotConfigured,
    OrderRefused,
    PlaceMoved,
    RateLimited,
    RegionFull,
    TooLate,
    Unreachable,
    Unsuitable,
)
from openmultistack.domain.kinds import Asked, kind_of
from openmultistack.domain.models import Offer
from openmultistack.ledger import Attempt, Ledger, Meaning
from openmultistack.logs import in_context, tell_attempt, tell_deletion
from openmultistack.provision.arriving import Arriving
from openmultistack.provision.planning import ATTEMPTS_MAX, FAILING_REGIONS_MAX, Wanted
from openmultistack.provision.reaching import reach
from openmultistack.provision.restocking import Restocking

# Creates under way at once in one region, from one process: a burst of ours must not look like
# an attack, and clouds of this field slow down rather than speed up beyond a few.
SIDE_BY_SIDE = 5
# After that a pursuit goes on elsewhere no more: what is placed then, a sweep makes.
PURSUIT_S = 75.0
# After a lost answer the server is looked for at once, and once more a moment later.
LOOKS_S = (0.0, 1.0)

# What a region's answer means for placements to come.
MEANING: Mapping[type[CloudError], Meaning] = {
    RegionFull: "full",
    CatalogueStale: "stale",
    AccountBroken: "down",
    Unreachable: "down",
    RateLimited: "paused",
    TooLate: "",
    NotConfigured: "",
    PlaceMoved: "",
    OrderRefused: "",
    Unsuitable: "",
    InDoubt: "doubt",
}
# After these nothing more of a command is sent to the region: it would be answered alike.
ALIKE = (
    RegionFull, CatalogueStale, Unsuitable, OrderRefused, AccountBroken, Unreachable, RateLimited,
    NotConfigured, PlaceMoved,
)  # fmt: skip
# These say that this order will not do there; if all say so, it will not do at all.
REFUSING = (Unsuitable, OrderRefused)


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


class Gates:
    """Bounds what one process has under way in each region; safe to share between threads."""

    def __init__(self) -> None:
        self._made: dict[str, BoundedSemaphore] = {}

    def of(self, region: str) -> BoundedSemaphore:
        """Return a region's gate."""
        return self._made.setdefault(region, BoundedSemaphore(SIDE_BY_SIDE))


class Attempts:
    """Runs attempts side by side, bounded in each region; safe to share between threads."""

    def __init__(
        self,
        ledger: Ledger,
        clouds: Clouds,
        arriving: Arriving,
        *,
        lease_ms: int,
        call_budget_s: float,
    ) -> None:
        self._ledger = ledger
        self._clouds = clouds
        self._arriving = arriving
        # What is sent later than that might be answered when its lease is over and its slot freed.
        self._start_within_s = lease_ms / 1000 - call_budget_s
        self._gates = Gates()

    def pursue_all(self, pursuits: Sequence[Pursuit]) -> list[Ending]:
        """Pursue every attempt to its end, in the order given; see `_Chase`."""
        learned = _Learned({}, Restocking(self._ledger, self._clouds))
        chases = [
            _Chase(self._ledger, self._clouds, self._gates, self._start_within_s, learned, it)
            for it in pursuits
        ]
        endings = _run(chases)
        self._arriving.follow(
            {it.attempt: it.server_id for it in endings if it.how == "made" and it.server_id}
        )
        return endings


class _Learned(NamedTuple):
    """What a region answered to one of a command's attempts, which spares the others the same."""

    answered: dict[str, CloudError]
    restocking: Restocking


class _Chase:
    """Tries an attempt, and others elsewhere after it, until one is made or none is left."""

    def __init__(
        self,
        ledger: Ledger,
        clouds: Clouds,
        gates: "Gates",
        start_within_s: float,
        learned: _Learned,
        pursuit: Pursuit,
    ) -> None:
        self._ledger = ledger
        self._clouds = clouds
        self._gates = gates
        self._start_within_s = start_within_s
        self._answered, self._restocking = learned
        self._wanted = pursuit.wanted
        self._attempt = pursuit.attempt
        self._placed_at = pursuit.placed_at
        # Where its slot is held, whatever the region's name stands for by the time of an answer.
        self._place = ledger.place_of(pursuit.attempt.region)
        self._until = time.monotonic() + PURSUIT_S
        self._blamed = 0
        self._said: dict[str, CloudError] = {}
        # What the order means by now, where that changed; regions whose catalogue was read anew,
        # and those that need a slot of another size.
        self._fresh: dict[str, Offer] = {}
        self._renewed: set[str] = set()
        self._again: set[str] = set()

    @cached_property
    def _left(self) -> dict[str, Offer]:
        """Where it may still go to; most never ask."""
        return {it.region: it for it in self._wanted.offers}

    def _offer(self, region: str) -> Offer:
        offered = (it for it in self._wanted.offers if it.region == region)
        return self._fresh.get(region) or next(offered)

    def run(self) -> Ending:
        """Return how it ended."""
        while True:
            region = self._attempt.region
            try:
                server_id = self._create(region)
            except CloudError as error:
                how = self._leave(error)
                if how is not None:
                    return self._ending(how, self._offer(region))
            else:
                offer = self._offer(region)
                kept = self._commit(offer, server_id)
                return self._ending("made" if kept else "unwanted", offer, server_id)

    def _ending(self, how: How, offer: Offer, server_id: str | None = None) -> Ending:
        said = {region: str(error) for region, error in self._said.items()}
        ids = {it: error.cloud_request_id for it, error in self._said.items()}
        told = {region: its_id for region, its_id in ids.items() if its_id}
        return Ending(how, self._attempt, offer, server_id, said, self._only_full(), told)

    def _only_full(self) -> bool:
        """Whether regions were full, and those that were not will not do for this order."""
        said = self._said.values()
        return any(isinstance(it, RegionFull) for it in said) and all(
            isinstance(it, RegionFull | Unsuitable) for it in said
        )

    def _create(self, region: str) -> str:
        with self._gates.of(region):
            if region in self._answered:
                raise self._answered[region]
            try:
                return self._create_there(region)
            except CloudError as error:
                self._learn(region, error)
                raise

    def _create_there(self, region: str) -> str:
        """Have a server made; where the catalogue is stale it is read, and the POST sent anew."""
        if self._restocking.was_read(region):
            self._renew(region, CatalogueStale("what it offers has changed"))
        try:
            return self._send(region)
        except CatalogueStale as stale:
            if self._wanted.reoffer is None:
                raise
            before = self._offer(region)
            if region not in self._renewed:
                self._renew(region, stale)
            if self._offer(region) == before:
                # It is listed, and yet refused: for whom else is not to be known.
                about = ("flavor", "image", "network", "groups")
                unsuitable = Unsuitable(str(stale), about=about)
                unsuitable.cloud_request_id = stale.cloud_request_id
                raise unsuitable from stale
            return self._send(region)

    def _renew(self, region: str, stale: CatalogueStale) -> None:
        """Learn what the order means in a region by now, once.

        Raises:
            CatalogueStale: nothing; or it takes another slot than the one that is held.
        """
        if region in self._renewed or self._wanted.reoffer is None:
            return
        self._renewed.add(region)
        before = self._offer(region)
        fresh = self._restocking.offer(region, self._wanted.reoffer, stale)
        self._fresh[region] = fresh
        if _footprint(fresh) != _footprint(before):
            self._left[region] = fresh
            self._again.add(region)
            raise stale

    def _send(self, region: str) -> str:
        order = server_order(self._attempt, self._offer(region), self._wanted)
        order = order._replace(place=self._place)
        cloud = self._clouds.region(region)
        try:
            made = cloud.create(order, not_after=self._placed_at + self._start_within_s)
        except CloudError as error:
            found = self._look_for(cloud, order.marks) if isinstance(error, InDoubt) else None
            self._tell(error.word, server=found, said=str(error), by=error.cloud_request_id)
            if found is None:
                raise
            return found
        if self._wanted.promised:  # who asked for it has their answer: no other line tells of it
            self._tell("made", server=made)
        return made

    def _tell(self, outcome: str, *, server: str | None, said: str = "", by: str = "") -> None:
        tell_attempt(
            region=self._attempt.region,
            instance=self._attempt.instance_id,
            attempt=self._attempt.number,
            outcome=outcome,
            server=server,
            said=said or None,
            cloud_request_id=by or None,
        )

    def _learn(self, region: str, error: CloudError) -> None:
        """Tell the rest of the command, and all others whom it concerns, what a region said."""
        if region in self._again:
            return
        if isinstance(error, ALIKE):
            self._answered[region] = error
        if isinstance(error, Unsuitable):
            asked = Asked(self._offer(region), self._wanted.command, self._wanted.owner)
            self._ledger.unsuit(self._place, kind_of(error.about, asked), str(error))
        self._report(error)

    def _look_for(self, cloud: Cloud, marks: Marks) -> str | None:
        """Return the server of an attempt whose answer was lost; None is no proof of the contrary.

        A region that does not even answer this is left alone by the rest of the command.
        """
        for pause_s in LOOKS_S:
            time.sleep(pause_s)
            try:
                found = cloud.find(marks)
            except CloudError as error:
                self._answered[self._attempt.region] = Unreachable(str(error))
                return None
            if found:
                return found.id
        return None

    def _report(self, error: CloudError) -> None:
        pause_s = error.retry_after_s if isinstance(error, RateLimited) else 0
        meaning = next(MEANING[it] for it in type(error).__mro__ if it in MEANING)
        self._ledger.report(self._place, str(error), meaning, pause_s=pause_s)

    def _leave(self, error: CloudError) -> How | None:
        """Move on to another region; return how it ended if there is none."""
        attempt, region = self._attempt, self._attempt.region
        self._said[region] = error
        if region in self._again:
            self._again.discard(region)
        elif not isinstance(error, TooLate):  # our own delay: the region is not to blame
            self._left.pop(region, None)
        blame = isinstance(error, OrderRefused | InDoubt)
        self._blamed += blame
        late = time.monotonic() > self._until
        tired = attempt.number >= ATTEMPTS_MAX or self._blamed >= FAILING_REGIONS_MAX
        refused = (not self._left or self._blamed >= FAILING_REGIONS_MAX) and all(
            isinstance(it, REFUSING) for it in self._said.values()
        )
        self._placed_at = time.monotonic()
        moved = self._ledger.move(
            self._held(),
            owner=self._wanted.owner,
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
        self._attempt = moved.attempt
        self._place = self._ledger.place_of(moved.attempt.region)
        return "later" if late else None

    def _held(self) -> Attempt:
        """Return the attempt as the ledger holds it: by its place."""
        return self._attempt._replace(region=self._place)

    def _commit(self, offer: Offer, server_id: str) -> bool:
        """Commit a server; one that is not wanted any more is deleted, else by the next sweep."""
        attempt = self._attempt
        if self._ledger.commit(self._held(), server_id):
            return True
        marks = server_order(attempt, offer, self._wanted).marks
        asked, failed = "", ""
        try:
            cloud = reach(self._ledger, self._clouds, attempt.region, self._place)
            asked = cloud.delete(server_id, marks.attempted if marks.has_keypair else None)
        except CloudError as error:
            self._ledger.report(self._place, str(error), "")
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


def _footprint(offer: Offer) -> tuple[object, ...]:
    """Return what an offer takes of a region, and what the instance's record says of it."""
    return offer.flavor.vcpus, offer.flavor.ram_mb, offer.flavor.name, offer.image.name


def _run(chases: Sequence[_Chase]) -> list[Ending]:
    if len(chases) <= 1:
        return [chase.run() for chase in chases]
    with ThreadPoolExecutor(max_workers=len(chases)) as pool:
        return list(pool.map(lambda act: act(), in_context([chase.run for chase in chases])))


def server_order(attempt: Attempt, offer: Offer, wanted: Wanted) -> ServerOrder:
    """Return the order for an attempt's server, with the marks that make it known for ours."""
    command = wanted.command
    marks = Marks(
        fleet=wanted.fleet,
        instance_id=attempt.instance_id,
        attempt=attempt.number,
        owner=wanted.owner,
        name=command.name,
        labels=command.labels,
        created_at_ms=wanted.created_at_ms,
        expires_at_ms=wanted.expires_at_ms,
        has_keypair=command.ssh_public_key is not None,
        idempotency=wanted.idempotency.get(attempt.instance_id, ""),
    )
    return ServerOrder(
        marks=marks,
        offer=offer,
        ssh_public_key=command.ssh_public_key,
        user_data=command.user_data,
    )
