"""Who a server is: its marks from what the ledger or a plan says, and the instance from them."""

from openmultistack.clouds import Marks, Server
from openmultistack.domain.models import Instance, Status
from openmultistack.ledger import Attempt
from openmultistack.provision.planning import Wanted


def marks_for(attempt: Attempt, wanted: Wanted) -> Marks:
    """Return what an attempt's server carries: who its instance is, and which attempt it is."""
    of, number, _ = attempt
    return Marks(wanted.fleet, of, number, wanted.identity_of(of))


def marks_of(instance: Instance, attempt: int, fleet: str) -> Marks:
    """Return the marks of an attempt at an instance, as the ledger has it."""
    return Marks(fleet, instance.id, attempt, instance.identity)


def instance_of(server: Server, region: str) -> Instance:
    """Return the instance that a server's marks tell of."""
    if server.marks is None:
        raise ValueError("a server without marks tells of no instance")
    marks = server.marks
    return Instance(
        id=marks.instance_id,
        identity=marks.identity,
        status=Status.BUILD,
        region=region,
        server_id=server.id,
        image=server.image,
        flavor=server.flavor,
        attempt=marks.attempt,
    )
