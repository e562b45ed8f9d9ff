"""The order for an attempt's server, with the marks that make it known for ours."""

from openmultistack.clouds import ServerOrder
from openmultistack.domain.models import Offer
from openmultistack.ledger import Attempt
from openmultistack.provision.identity import marks_for
from openmultistack.provision.planning import Wanted


def server_order(attempt: Attempt, offer: Offer, wanted: Wanted) -> ServerOrder:
    """Return the order for an attempt's server."""
    command = wanted.command
    return ServerOrder(
        marks=marks_for(attempt, wanted),
        offer=offer,
        ssh_public_key=command.ssh_public_key,
        user_data=command.user_data,
    )
