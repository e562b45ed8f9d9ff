"""The ledger: the only code that speaks Redis."""

from openmultistack.ledger.address import Address, read_address
from openmultistack.ledger.connect import connect
from openmultistack.ledger.decode import Slot, View
from openmultistack.ledger.ledger import Admitted, Attempt, Destroyed, Ledger, Moved, Pick

__all__ = [
    "Address",
    "Admitted",
    "Attempt",
    "Destroyed",
    "Ledger",
    "Moved",
    "Pick",
    "Slot",
    "View",
    "connect",
    "read_address",
]
