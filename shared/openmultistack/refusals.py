"""Why a create is refused: what was asked for, what there is, and what each region says."""

import math
from collections.abc import Sequence

from openmultistack.attempts import Ending
from openmultistack.errors import (
    CapacityExhausted,
    IdempotencyConflict,
    Invalid,
    NoRegionReady,
    NoRegionWorked,
    OwnerQuotaExceeded,
    Problem,
    QueueFull,
)
from openmultistack.fleet import Offers
from openmultistack.ledger import Admitted, Ledger, Wish
from openmultistack.models import RegionState

# For an owner who has all that they may have: until one of their instances may have ended.
QUOTA_RETRY_S = 15


class Refusals:
    """What can be said to one command when it is not admitted."""

    def __init__(self, ledger: Ledger, wish: Wish, found: Offers) -> None:
        self._ledger = ledger
        self._wish = wish
        self._found = found

    def refuse_what_never_fits(self) -> None:
        """Raise OwnerQuotaExceeded for what would not be admitted at any time."""
        quota, count = self._wish.quota, self._wish.command.count
        if quota.creates_per_minute is not None and count > quota.creates_per_minute:
            raise self._quota(f"at most {quota.creates_per_minute} may be created in a minute")
        fits = (
            (1 if quota.instances is None else quota.instances) >= 1
            and offer.flavor.vcpus <= _bound(quota.vcpus)
            and offer.flavor.ram_mb <= _bound(quota.ram_mb)
            for offer in self._wish.offers
        )
        if self._wish.offers and not any(fits):
            raise self._quota("one instance of this size is more than the owner may have")

    def of(self, admitted: Admitted) -> Problem:
        """Return why nothing was placed."""
        count = self._wish.command.count
        match admitted.outcome:
            case "conflict":
                return IdempotencyConflict("this Idempotency-Key came with another command before")
            case "queue_full":
                most = self._wish.waiting.max_queued if self._wish.waiting else 0
                return QueueFull(f"at most {most} instances may wait; nothing was made")
            case "rate":
                rate = self._wish.quota.creates_per_minute
                retry_s = math.ceil(admitted.retry_ms / 1000)
                return self._quota(f"at most {rate} may be created in a minute", retry_s)
            case "quota":
                return self._quota(f"{count} more would be over the owner's quota", QUOTA_RETRY_S)
        return self._no_room()

    def _quota(self, detail: str, retry_after_s: int | None = None) -> Problem:
        owner = self._wish.owner
        return OwnerQuotaExceeded(
            f"{detail}; nothing was made",
            quota=self._wish.quota.bounds(),
            used=self._ledger.usage([owner])[owner]._asdict(),
            retry_after_s=retry_after_s,
        )

    def _no_room(self) -> Problem:
        """Return why: no free slots, or no region that is up."""
        states = self._ledger.regions([offer.region for offer in self._wish.offers])
        said = dict(self._found.unable) | {it.region: _why_no_room(it) for it in states}
        if all(it.state != "up" for it in states):
            return NoRegionReady("no region that can serve this is up", said)
        count = self._wish.command.count
        return CapacityExhausted(
            f"there are not {count} free slots for this; nothing was made", said
        )


def _bound(value: int | None) -> float:
    return math.inf if value is None else value


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
    for ending in lost:
        if ending.how == "refused":
            return Invalid(
                [("", f"the cloud refuses this request: {' '.join(ending.said.values())}")]
            )
    said = {region: text for ending in lost for region, text in ending.said.items()}
    if all(ending.only_full for ending in lost):
        return CapacityExhausted("every region that had free slots was full after all", said)
    return NoRegionWorked("every region that had free slots was tried, and none worked", said)
