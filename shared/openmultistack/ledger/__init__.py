"""The ledger: the only code that speaks Redis."""

from openmultistack.ledger.acts import Attempt, Pick
from openmultistack.ledger.address import Address, read_address
from openmultistack.ledger.binding import DISABLED_RANK, UNREACHABLE, Bound
from openmultistack.ledger.connect import connect
from openmultistack.ledger.decode import Slot, Stranger, View
from openmultistack.ledger.ending import Destroyed, EndedBy, Gone, OnlyIf
from openmultistack.ledger.idempotency import KEYS_MAX, Key
from openmultistack.ledger.ledger import Ledger
from openmultistack.ledger.moving import Moved
from openmultistack.ledger.observing import MarksSeen, Meaning, Seen
from openmultistack.ledger.queue import Queued
from openmultistack.ledger.shares import Shares
from openmultistack.ledger.wish import Admitted, Served, Waiting, Wish

__all__ = [
    "DISABLED_RANK",
    "KEYS_MAX",
    "UNREACHABLE",
    "Address",
    "Admitted",
    "Attempt",
    "Bound",
    "Destroyed",
    "EndedBy",
    "Gone",
    "Key",
    "Ledger",
    "MarksSeen",
    "Meaning",
    "Moved",
    "OnlyIf",
    "Pick",
    "Queued",
    "Seen",
    "Served",
    "Shares",
    "Slot",
    "Stranger",
    "View",
    "Waiting",
    "Wish",
    "connect",
    "read_address",
]
