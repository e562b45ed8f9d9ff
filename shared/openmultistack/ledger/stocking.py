"""The acts on what a region offers: read anew, or not suited for a kind of order."""

from openmultistack.domain.models import Catalogue
from openmultistack.ledger.acts import Acting
from openmultistack.ledger.catalogues import encode_catalogue

# So many kinds of orders that a region refuses are remembered, so long at most.
KINDS_KEPT = 64
KINDS_KEPT_MS = 3600 * 1000


class Stocking(Acting):
    """The acts on what a region offers."""

    def restock(self, region: str, catalogue: Catalogue) -> None:
        """Write down what a region offers by now, and forget what it refused; see restock.lua."""
        keys = self._keys
        self._scripts.run(
            "restock",
            [
                keys.region(region),
                keys.catalogue(region),
                keys.versions,
                keys.unsuited,
                keys.refused(region),
                keys.version,
            ],
            self.place_of(region),
            encode_catalogue(catalogue),
        )

    def unsuit(self, region: str, kind: str, why: str) -> None:
        """Have orders of a kind go elsewhere until what the region offers is read again."""
        keys = [self._keys.unsuited, self._keys.refused(region), self._keys.version]
        self._scripts.run(
            "unsuit", keys, self.place_of(region), kind, why, KINDS_KEPT, KINDS_KEPT_MS
        )
