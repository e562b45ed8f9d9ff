"""The ledger: the only code that speaks Redis."""

from openmultistack.ledger.decode import Slot, View
from openmultistack.ledger.ledger import Admitted, Attempt, Destroyed, Ledger, Moved, Pick

__all__ = ["Admitted", "Attempt", "Destroyed", "Ledger", "Moved", "Pick", "Slot", "View"]
