"""Why a create is refused: what was asked for, what there is, and what each region says."""

import math
from collections.abc import Collection, Sequence

from openmultistack.domain.errors import (
    CapacityExhausted,
    IdempotencyConflict,
    Invalid,
    NoRegionReady,
    NoRegionWorked,
    OwnerQuotaExceeded,
    Problem,
    QueueFull,
)
from openmultistack.domain.models import Offer, Resources
from openmultistack.domain.regions import RegionState
from openmultistack.domain.resources import AMOUNTS, say
from openmultistack.fleet.offers import Offers
from openmultistack.ledger import KEYS_MAX, Admitted, Ledger, Wish
from openmultistack.provision.planning import no_region_takes
from openmultistack.provision.pursuing import Ending

# For an owner who has all that they may have: until one of their instances may have ended.
QUOTA_RETRY_S = 15


class Refusals:
    """What can be said to one command when it is not admitted."""

    def __init__(self, ledger: Ledger, wish: Wish, found: Offers) -> None:
        self._ledger = ledger
        self._wish = wish
        self._found = found

    @property
    def unseen(self) -> Collection[str]:
        """The regions that may serve the command, and that nobody has looked at."""
        return self._found.unseen

    def refuse_what_never_fits(self) -> None:
        """Raise OwnerQuotaExceeded for what would not be admitted at any time."""
        quota, count = self._wish.quota, self._wish.command.count
        if quota.creates_per_minute is not None and count > quota.creates_per_minute:
            raise self._quota(f"at most {quota.creates_per_minute} may be created in a minute")
        if self._wish.offers and not any(quota.allows(it.need) for it in self._wish.offers):
            raise self._quota("one instance of this size is more than the owner may have")

    def refuse_what_no_cap_allows(self, admitted: Admitted) -> None:
        """Raise Invalid for what waits and could wait for ever; one that fits some day may."""
        if admitted.queued and not admitted.attempts:
            self._refuse_oversized(self._states())

    def of(self, admitted: Admitted) -> Problem:
        """Return why nothing was placed."""
        count = self._wish.command.count
        match admitted.outcome:
            case "conflict":
                return IdempotencyConflict("this Idempotency-Key came with another command before")
            case "queue_full":
                most = self._wish.waiting.max_queued if self._wish.waiting else 0
                return QueueFull(f"at most {most} instances may wait; nothing was made")
            case "owner_queue_full":
                most = self._wish.waiting.max_of_owner if self._wish.waiting else 0
                detail = f"at most {most} of one owner's instances may wait"
                return _over_a_bound(f"{detail}; nothing was made")
            case "keys_full":
                detail = (
                    f"at most {KEYS_MAX} idempotency keys of one owner are remembered, each counted"
                    " once for every ten of its instances"
                )
                return _over_a_bound(f"{detail}; nothing was made")
            case "rate":
                rate = self._wish.quota.creates_per_minute
                retry_s = math.ceil(admitted.retry_ms / 1000)
                return self._quota(f"at most {rate} may be created in a minute", retry_s)
            case "command_rate":
                rate = self._wish.commands_per_minute or 0
                return OwnerQuotaExceeded(
                    f"at most {rate} creates of one owner are taken in a minute; nothing was made",
                    quota={"commands_per_minute": rate},
                    used={},
                    retry_after_s=math.ceil(admitted.retry_ms / 1000),
                )
            case "quota":
                return self._quota(f"{count} more would be over the owner's quota", QUOTA_RETRY_S)
        return self._no_room()

    def _quota(self, detail: str, retry_after_s: int | None = None) -> Problem:
        owner = self._wish.owner
        self._ledger.doubt_usage(owner)
        return OwnerQuotaExceeded(
            f"{detail}; nothing was made",
            quota=self._wish.quota.bounds(),
            used=self._ledger.usage([owner])[owner]._asdict(),
            retry_after_s=retry_after_s,
        )

    def _states(self) -> list[RegionState]:
        return self._ledger.regions([offer.region for offer in self._matching()])

    def _matching(self) -> Sequence[Offer]:
        """Return all offers there are, of regions that are no candidates for a while as well."""
        return (*self._found.able, *self._found.unsuited)

    def _refuse_oversized(self, states: Sequence[RegionState]) -> None:
        """Raise Invalid if the caps allow no single instance, or all or nothing never comes."""
        by_region = {it.region: it for it in states}
        most = {it.region: fits_in_all(it, by_region[it.region]) for it in self._matching()}
        command = self._wish.command
        # What was not looked at yet may allow anything.
        if self._found.unseen or any(it is None for it in most.values()):
            return
        total = sum(it or 0 for it in most.values())
        if total == 0:
            said = {it.region: _too_big(it, by_region[it.region]) for it in self._matching()}
            fault = ("/size", "one instance of this size is more than any region's quota allows")
            raise Invalid([fault], regions={**self._found.unable, **said})
        if command.count > total and not command.partial and command.on_full != "queue":
            detail = (
                f"{command.count} instances of this size are more than all regions together allow,"
                f" which is {total}: ask for fewer, or with `partial` or `on_full: queue`"
            )
            said = {region: f"allows {allowed}" for region, allowed in most.items()}
            raise Invalid([("/count", detail)], regions={**self._found.unable, **said})

    def _no_room(self) -> Problem:
        """Return why: no free slots, or no region that is up.

        Raises:
            Invalid: nor will there ever be.
        """
        states = self._states()
        self._refuse_oversized(states)
        candidates = {offer.region for offer in self._found.able}
        states = [it for it in states if it.region in candidates]
        said = dict(self._found.unable) | {it.region: _why_no_room(it) for it in states}
        if all(it.state != "up" for it in states):
            return NoRegionReady("no region that can serve this is up", said)
        count = self._wish.command.count
        return CapacityExhausted(f"there {_so_many(count)} for this; nothing was made", said)


def fits_in_all(offer: Offer, state: RegionState) -> int | None:
    """Return how many of an offer's instances an empty region takes; None: nobody can say.

    A quota of no instance at all is that of a closed account: it says nothing of the order.
    """
    if state.swept_at_ms is None or state.cap.instances == 0:
        return None
    return max(0, state.cap.fits(offer.need))


def _too_big(offer: Offer, state: RegionState) -> str:
    takes, allowed = say(offer.need, AMOUNTS), say(state.cap, Resources._fields)
    return f"flavor {offer.flavor.name} takes {takes}, the quota is {allowed}"


def _why_no_room(state: RegionState) -> str:
    if state.state == "drained":
        return f"is drained: {state.drained}" if state.drained else "is drained"
    if state.state != "up":
        return f"is {state.state}: {state.last_error or 'not looked at yet'}"
    if state.max_building is not None and state.building >= state.max_building:
        return f"builds {state.building} already, as many as it may at once"
    return "has too few free slots"


def why_not(lost: Sequence[Ending]) -> Problem:
    """Return why a command that had its slots came to nothing."""
    problem = _why_not(lost)
    problem.cloud_request_ids = {k: v for it in lost for k, v in it.cloud_request_ids.items()}
    attempts = [it.attempt for it in lost]
    problem.told = {
        "instances": [
            {"id": it.instance_id, "region": it.region, "attempt": it.number} for it in attempts
        ]
    }
    return problem


def _why_not(lost: Sequence[Ending]) -> Problem:
    for ending in lost:
        if ending.how == "refused":
            return Invalid([("", no_region_takes(ending.said))], regions=ending.said)
    said = {region: text for ending in lost for region, text in ending.said.items()}
    if all(ending.only_full for ending in lost):
        return CapacityExhausted("every region that had free slots was full after all", said)
    return NoRegionWorked("every region that had free slots was tried, and none worked", said)


def _so_many(count: int) -> str:
    return "is no free slot" if count == 1 else f"are not {count} free slots"


def _over_a_bound(detail: str) -> Problem:
    """Return what is no matter of the owner's quota."""
    retry_s = QueueFull.retry_after_s
    return OwnerQuotaExceeded(detail, quota={}, used={}, retry_after_s=retry_s)
