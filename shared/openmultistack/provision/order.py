"""The order for an attempt's server, with the marks that make it known for ours."""

from openmultistack.clouds import Marks, ServerOrder
from openmultistack.domain.models import Offer
from openmultistack.ledger import Attempt
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


def marks_for(attempt: Attempt, wanted: Wanted) -> Marks:
    """Return what an attempt's server carries: what the command says, and which attempt it is."""
    command = wanted.command
    return Marks(
        fleet=wanted.fleet,
        instance_id=attempt.instance_id,
        attempt=attempt.number,
        owner=wanted.owner,
        name=command.name,
        labels=command.labels,
        created_at_ms=wanted.created_at_ms,
        expires_at_ms=wanted.expires_at_ms,
        has_keypair=command.ssh_public_key is not None,
        idempotency=wanted.idempotency.get(attempt.instance_id, ""),
    )
