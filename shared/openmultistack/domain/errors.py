"""Every error of ours, in one tree.

OmsError
├── Problem                  has an HTTP status and a problem type (RFC 9457)
│   ├── Malformed            400  the request is not what HTTP or JSON allow
│   ├── Unauthenticated      401  no token, or one that proves nothing
│   ├── InsufficientScope    403  a good token that does not allow this
│   ├── NotFound             404  no such thing, or not this owner's
│   ├── IdempotencyConflict  409  the same key came with another command
│   ├── ProviderRemoved      409  an instance's cloud cannot be reached any more
│   ├── MethodNotAllowed     405
│   ├── TooSlow              408  the body did not arrive in time
│   ├── InstancesEnded       410  the same key and command, and all that it made has ended
│   ├── TooLarge             413
│   ├── Invalid              422  understood, and wrong; a JSON pointer for each fault
│   ├── OwnerQuotaExceeded   429  Retriable: the owner has, or asks for, too much
│   ├── NoRegionWorked       502  every candidate was tried; what each one said
│   ├── CapacityExhausted    503  Retriable: no free slot now
│   ├── QueueFull            503  Retriable: too many wait already
│   ├── NoRegionReady        503  Retriable: no candidate is up
│   ├── LedgerUnavailable    503  Retriable: Redis does not answer
│   └── RegionFailed         502  Retriable: a read there failed; beside CloudError
├── CloudError               one region's answer to one call: see `cloud_errors`
├── UnreadableOrder          what an instance was ordered as cannot be read, or not by this version
└── ConfigurationError       a file or variable of the operator's, refused at start
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

# A body of 256 KB can have 30,000 faults; who mends the first is helped.
FAULTS_SHOWN = 20


class OmsError(Exception):
    """What every error of ours is."""


class Retriable:
    """Mixin: the same request may succeed later, unchanged."""

    # None: nobody can say when.
    retry_after_s: int | None = 5


class Problem(OmsError):
    """An answer to the client that says no; the message is shown as it is."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    # By region, what its cloud calls the request that it refused: its operators find it by that.
    cloud_request_ids: Mapping[str, str] = {}
    # What the log has of it, beside what the client is told.
    told: Mapping[str, object] = {}

    def members(self) -> dict[str, object]:
        """Return what the problem document says beyond title and detail."""
        return {}


class Malformed(Problem):
    """The request is not what HTTP or JSON allow."""

    status, slug, title = 400, "malformed", "Malformed request"


class Unauthenticated(Problem):
    """No token, or one that proves nothing."""

    status, slug, title = 401, "unauthenticated", "Unauthenticated"


class InsufficientScope(Problem):
    """A good token that does not allow this."""

    status, slug, title = 403, "insufficient-scope", "Insufficient scope"


class NotFound(Problem):
    """No such thing, or not this owner's: the two look alike on purpose."""

    status, slug, title = 404, "not-found", "Not found"


class IdempotencyConflict(Problem):
    """An idempotency key came again, with another command."""

    status, slug, title = 409, "idempotency-conflict", "Idempotency conflict"


class ProviderRemoved(Problem):
    """Some instances' provider is not in clouds.yaml any more; all others were seen to."""

    status, slug, title = 409, "provider-removed", "Provider removed"

    def __init__(self, unreachable: Sequence[str]) -> None:
        self._unreachable = list(unreachable)
        super().__init__(
            f"the provider of {len(self._unreachable)} of these instances was removed from the"
            " fleet: their servers cannot be asked to go, and may run on; all others are being"
            " destroyed"
        )

    def members(self) -> dict[str, object]:
        """Return the ids of those that cannot be reached."""
        return {"unreachable": self._unreachable}


class MethodNotAllowed(Problem):
    """The path exists, the method there does not."""

    status, slug, title = 405, "method-not-allowed", "Method not allowed"


class InstancesEnded(Problem):
    """An idempotency key came again, and all that was made under it has ended."""

    status, slug, title = 410, "instances-ended", "All instances have ended"

    def __init__(self, detail: str, instance_ids: Sequence[str]) -> None:
        self._ids = list(instance_ids)
        super().__init__(detail)

    def members(self) -> dict[str, object]:
        """Return which instances they were."""
        return {"instances": self._ids}


class TooSlow(Problem):
    """The body did not arrive in time."""

    status, slug, title = 408, "timeout", "Timeout"


class TooLarge(Problem):
    """The body is over what any valid request needs."""

    status, slug, title = 413, "too-large", "Request too large"


class Invalid(Problem):
    """Understood, and wrong: says where (a JSON pointer) and what was expected."""

    status, slug, title = 422, "invalid", "Invalid request"

    def __init__(
        self,
        faults: Sequence[tuple[str, str]],
        *,
        more: int = 0,
        nearest: Sequence[str] = (),
        regions: Mapping[str, str] | None = None,
    ) -> None:
        shown = list(faults[:FAULTS_SHOWN])
        more += len(faults) - len(shown)
        self.faults = tuple(shown + ([("", f"and {more} more")] if more > 0 else []))
        self.nearest = list(nearest)
        self.regions = dict(regions or {})
        super().__init__("; ".join(": ".join(filter(None, fault)) for fault in self.faults))

    def members(self) -> dict[str, object]:
        """Return each fault, and where they help near names and what each region lacks."""
        faults = [{"pointer": pointer, "detail": detail} for pointer, detail in self.faults]
        more = {"nearest": self.nearest, "regions": self.regions}
        return {"errors": faults} | {name: value for name, value in more.items() if value}


class OwnerQuotaExceeded(Retriable, Problem):
    """The owner has, or asks for, more than their quota; nothing was made."""

    status, slug, title = 429, "owner-quota-exceeded", "Owner's quota exceeded"

    def __init__(
        self,
        detail: str,
        *,
        quota: Mapping[str, int],
        used: Mapping[str, int],
        retry_after_s: int | None,
    ) -> None:
        self._more = {"quota": dict(quota), "used": dict(used)}
        self.retry_after_s = retry_after_s
        super().__init__(detail)

    def members(self) -> dict[str, object]:
        """Return the quota, and what of it is used."""
        return dict(self._more)


class RegionsSaid(Problem):
    """A refusal that stands on what each region said."""

    def __init__(self, detail: str, regions: Mapping[str, str]) -> None:
        self.regions = dict(regions)
        super().__init__(detail)

    def members(self) -> dict[str, object]:
        """Return what each region said."""
        return {"regions": self.regions}


class NoRegionWorked(RegionsSaid):
    """Every candidate was tried."""

    status, slug, title = 502, "no-region-worked", "No region worked"


class CapacityExhausted(Retriable, RegionsSaid):
    """No free slot for this request now."""

    status, slug, title = 503, "capacity-exhausted", "Capacity exhausted"
    retry_after_s = 15


class QueueFull(Retriable, Problem):
    """As many wait as may wait; nothing was made."""

    status, slug, title = 503, "queue-full", "Queue full"
    retry_after_s = 60


class NoRegionReady(Retriable, RegionsSaid):
    """Regions could serve the request, and none of them is up."""

    status, slug, title = 503, "no-region-ready", "No region is ready"
    retry_after_s = 15


class LedgerUnavailable(Retriable, Problem):
    """Redis does not answer: nothing is done without the ledger."""

    status, slug, title = 503, "ledger-unavailable", "The ledger does not answer"


class UnreadableOrder(OmsError):
    """What an instance was ordered as cannot be read, or not by this version."""


class ConfigurationError(OmsError):
    """Refused at start: names the file, the key and what was expected."""

    def __init__(self, source: str, key: str, expected: str) -> None:
        super().__init__(f"{source}: {key}: {expected}" if key else f"{source}: {expected}")
        # What else is wrong, for who tells of all at once; and how many more there are.
        self.others: tuple[ConfigurationError, ...] = ()
        self.more = 0

    def along_with(self, others: "Sequence[ConfigurationError]", more: int = 0) -> Self:
        """Return this with others, and with what goes along with those."""
        self.others += tuple(it for other in others for it in (other, *other.others))
        self.more += more + sum(it.more for it in others)
        return self
