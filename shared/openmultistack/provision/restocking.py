"""What a region offers by now, where what was known of it proved stale: read once for a command."""

from collections.abc import Callable
from threading import Lock

from openmultistack.clouds import Clouds
from openmultistack.domain.cloud_errors import CatalogueStale, CloudError
from openmultistack.domain.models import Catalogue, Offer
from openmultistack.ledger import Ledger
from openmultistack.provision.reaching import reach

Reoffer = Callable[[str, Catalogue], Offer]
"""Returns what an order means in a region that offers this; raises CatalogueStale if nothing."""


class Restocking:
    """The catalogues that were read anew for a command; shared by the threads of its attempts."""

    def __init__(self, ledger: Ledger, clouds: Clouds) -> None:
        self._ledger = ledger
        self._clouds = clouds
        self._locks: dict[str, Lock] = {}
        self._read: dict[str, Catalogue] = {}

    def was_read(self, region: str) -> bool:
        """Whether a region's catalogue was read for this command."""
        return region in self._read

    def offer(self, region: str, reoffer: Reoffer, stale: CatalogueStale) -> Offer:
        """Return what the order means in a region by now; the ledger knows it from here on.

        Raises:
            CatalogueStale: nothing, or the catalogue cannot be read.
        """
        with self._locks.setdefault(region, Lock()):
            if region not in self._read:
                place = self._ledger.place_of(region)
                try:
                    catalogue = reach(self._ledger, self._clouds, region, place).catalogue()
                except CloudError as error:
                    raise CatalogueStale(f"{stale}; what it offers by now: {error}") from error
                self._ledger.restock(place, catalogue)
                self._read[region] = catalogue
        return reoffer(region, self._read[region])
