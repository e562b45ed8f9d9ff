"""The ledger: every count, slot and instance of a fleet, changed only by atomic scripts."""

from openmultistack.ledger.binding import Binding
from openmultistack.ledger.counting import Counting
from openmultistack.ledger.ending import Ending
from openmultistack.ledger.idempotency import Idempotency
from openmultistack.ledger.moving import Moving
from openmultistack.ledger.observing import Observing
from openmultistack.ledger.placing import Placing
from openmultistack.ledger.shelf import Shelf
from openmultistack.ledger.stocking import Stocking
from openmultistack.ledger.strangers import Strangers
from openmultistack.ledger.sweeping import Sweeping
from openmultistack.ledger.tokens import Tokens


class Ledger(
    Placing,
    Moving,
    Idempotency,
    Ending,
    Observing,
    Sweeping,
    Binding,
    Stocking,
    Counting,
    Shelf,
    Strangers,
    Tokens,
):
    """All acts on one fleet's ledger, beside the readings; safe to share between threads.

    Every method raises LedgerUnavailable when Redis does not answer; then nothing may be asked
    of a cloud.
    """
