"""What a region's answer to an order means: for placements to come, and for its command."""

from collections.abc import Collection, Mapping

from openmultistack.domain.cloud_errors import (
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
from openmultistack.ledger import Ledger, Meaning

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


def report_answer(ledger: Ledger, place: str, error: CloudError) -> None:
    """Have the ledger know what a region answered, and what that means for placements to come."""
    pause_s = error.retry_after_s if isinstance(error, RateLimited) else 0
    meaning = next(MEANING[it] for it in type(error).__mro__ if it in MEANING)
    ledger.report(place, str(error), meaning, pause_s=pause_s)


def are_only_full(said: Collection[CloudError]) -> bool:
    """Whether regions were full, and those that were not will not do for this order."""
    return any(isinstance(it, RegionFull) for it in said) and all(
        isinstance(it, RegionFull | Unsuitable) for it in said
    )


def all_refuse(said: Collection[CloudError]) -> bool:
    """Whether this order will not do anywhere."""
    return all(isinstance(it, REFUSING) for it in said)
