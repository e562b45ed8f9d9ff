"""Swept: the region that a sweep is of, by what all parts of the sweep reach it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from openmultistack.clouds import Cloud
from openmultistack.domain.cloud_errors import CloudError, RateLimited, Unreachable
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.fleet.config import Fleet, RegionRule
from openmultistack.ledger import Attempt, Ledger, Slot
from openmultistack.logs import tell


class Swept(NamedTuple):
    """One region in one sweep of it; `done` counts what was done there, by action."""

    region: str
    ledger: Ledger
    fleet: Fleet
    # What fleet.yaml says of the region.
    rule: RegionRule
    fleet_name: str
    cloud: Cloud
    done: Counter[str]

    def attempt(self, slot: Slot) -> Attempt:
        """Return the attempt that holds a slot of the region."""
        return Attempt(slot.instance_id, slot.attempt, self.region)

    @contextmanager
    def one_of_many(self) -> Iterator[None]:
        """Leave what is refused to the next sweep; an outage or a rate limit ends this one.

        So does the ledger's. A fault of our own about one instance keeps nothing from the others.
        """
        try:
            yield
        except (Unreachable, RateLimited, LedgerUnavailable):
            raise
        except CloudError as error:
            self.ledger.report(self.region, str(error), "")
        except Exception:  # noqa: BLE001  as with the sweep as a whole
            tell("sweep failed", "exception", region=self.region)
            self.done["faults"] += 1
