"""What can be asked of the ledger: readings change nothing, and may be stale at once."""

from openmultistack.ledger.instances import InstanceReadings
from openmultistack.ledger.offered import OfferReadings
from openmultistack.ledger.regions import RegionReadings
from openmultistack.ledger.waiting import QueueReadings


class Readings(RegionReadings, OfferReadings, InstanceReadings, QueueReadings):
    """The readings of one fleet's ledger; raises LedgerUnavailable when Redis does not answer."""
