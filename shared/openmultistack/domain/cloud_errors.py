"""What a region answers to one call, when it says no.

CloudError               one region's answer to one call
├── RegionFull           quota: someone else used it; nothing was made
├── CatalogueStale       flavor, image or network is gone there; nothing was made
├── Unsuitable           this kind of order cannot be served there; nothing was made
├── OrderRefused         the client's own input is refused there; nothing was made
├── AccountBroken        login or policy; nothing was made
│   └── NoSuchRegion     the catalogue of the login has no such region
├── Unreachable          no connection came about; nothing was made
│   └── BadAnswer        a list or an answer that is none, or does not end
├── RateLimited          the provider asks for a pause; nothing was made
├── TooLate              we were too slow to send it; nothing was made
├── NotConfigured        no entry of clouds.yaml leads there (any more); nothing was made
├── PlaceMoved           the name leads to another cloud or project now; nothing was made
└── InDoubt              no answer that can be trusted: a server may exist
"""

import math
from collections.abc import Sequence
from typing import ClassVar

from openmultistack.domain.errors import OmsError, RegionsSaid, Retriable


class CloudError(OmsError):
    """One region's answer to one call; the message is safe to show.

    `word` is what the log calls it; `cloud_request_id` what the cloud calls the call, if it said.
    """

    word: ClassVar[str] = "failed"
    cloud_request_id = ""


class RegionFull(CloudError):
    """A quota there is used up, by someone else as well; nothing was made."""

    word = "full"


class CatalogueStale(CloudError):
    """A flavor, image or network is not there any more; nothing was made."""

    word = "stale"


class Unsuitable(CloudError):
    """An order of this kind cannot be served there, others can; nothing was made.

    `about` names what of an order the kind is told by (`models.About`).
    """

    word = "unsuitable"

    def __init__(self, message: str, *, about: tuple[str, ...]) -> None:
        self.about = about
        super().__init__(message)


class OrderRefused(CloudError):
    """The client's own input is refused there, and maybe in any region; nothing was made."""

    word = "refused"


class AccountBroken(CloudError):
    """The login does not work there, or may not do this; nothing was made."""

    word = "account broken"


class NoSuchRegion(AccountBroken):
    """The login works, and its catalogue has no compute service in the region of this name."""

    def __init__(self, region: str, offered: Sequence[str]) -> None:
        has = f"it has: {', '.join(offered)}" if offered else "it has none in any region"
        named = f"region {region}" if region else "a region, as clouds.yaml names none"
        super().__init__(f"the service catalog has no compute service for {named}; {has}")
        self.offered = tuple(offered)


class Unreachable(CloudError):
    """No connection came about: certainly nothing was made."""

    word = "unreachable"


class BadAnswer(Unreachable):
    """What no OpenStack answers; to what makes a server it leaves a doubt."""


class RateLimited(CloudError):
    """The provider's API asks for a pause (429, or 413 with Retry-After); nothing was made."""

    word = "rate limited"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class TooLate(CloudError):
    """We were too slow to send it within its lease: certainly nothing was made."""

    word = "too late"


class NotConfigured(CloudError):
    """No entry of clouds.yaml leads there, or not any more; nothing was asked."""

    word = "not configured"

    def __init__(self, region: str) -> None:
        super().__init__(f"no entry of clouds.yaml leads to {region}")


class PlaceMoved(CloudError):
    """The name leads to another cloud or project than before; certainly nothing was made."""

    word = "place moved"


class InDoubt(CloudError):
    """No answer that can be trusted: a server may exist, or come to exist."""

    word = "in doubt"


class RegionFailed(Retriable, RegionsSaid):
    """What was to be read in a region was not to be had; nothing was changed."""

    status, slug, title = 502, "region-failed", "Region failed"

    def __init__(self, region: str, error: CloudError) -> None:
        pause_s = error.retry_after_s if isinstance(error, RateLimited) else None
        self.retry_after_s = None if pause_s is None else math.ceil(pause_s)
        if error.cloud_request_id:
            self.cloud_request_ids = {region: error.cloud_request_id}
        super().__init__(f"{region}: {error}", {region: str(error)})
