"""Who a server is: its marks from what the ledger or a command says, and the instance from them.

What is added to one of the three is added to all: what a server does not carry is lost with the
ledger.
"""

from openmultistack.clouds import Marks, Server
from openmultistack.domain.models import Instance, Status
from openmultistack.ledger import Attempt
from openmultistack.provision.planning import Wanted


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


def marks_of(instance: Instance, attempt: int, fleet: str) -> Marks:
    """Return the marks of an attempt at an instance, as the ledger has it."""
    return Marks(
        fleet=fleet,
        instance_id=instance.id,
        attempt=attempt,
        owner=instance.owner,
        name=instance.name,
        labels=instance.labels,
        created_at_ms=instance.created_at_ms,
        expires_at_ms=instance.expires_at_ms,
        has_keypair=instance.has_keypair,
        idempotency=instance.idempotency,
    )


def instance_of(server: Server, region: str) -> Instance:
    """Return the instance that a server's marks tell of."""
    if server.marks is None:
        raise ValueError("a server without marks tells of no instance")
    marks = server.marks
    return Instance(
        id=marks.instance_id,
        name=marks.name,
        status=Status.BUILD,
        owner=marks.owner,
        region=region,
        server_id=server.id,
        image=server.image,
        flavor=server.flavor,
        labels=marks.labels,
        attempt=marks.attempt,
        created_at_ms=marks.created_at_ms,
        expires_at_ms=marks.expires_at_ms,
        has_keypair=marks.has_keypair,
        idempotency=marks.idempotency,
    )
