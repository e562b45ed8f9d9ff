"""The use case renew: move an instance's expiry."""

from typing import TYPE_CHECKING

from openmultistack.domain.errors import Invalid, NotFound
from openmultistack.domain.models import Instance
from openmultistack.ledger import Ledger
from openmultistack.usecases.read import owned

if TYPE_CHECKING:  # a function that only lists needs no pydantic
    from openmultistack.fleet.config import FleetFile


def renew(ledger: Ledger, fleet: "FleetFile", owner: str, instance_id: str, ttl: int) -> Instance:
    """Move an instance's expiry to `ttl` seconds from now.

    Raises:
        NotFound: it lives no more, or is another owner's.
        Invalid: beyond the owner's maximum.
    """
    owned(ledger, owner, [instance_id])
    refuse_long_ttl(ttl, fleet.owner_rule(owner).max_ttl)
    if not ledger.renew(instance_id, ttl * 1000):
        raise NotFound(f"instance {instance_id!r} lives no more")
    return owned(ledger, owner, [instance_id])[0]


def refuse_long_ttl(ttl: int, max_ttl: int) -> None:
    """Raise Invalid when a ttl (seconds) is beyond what the owner may have."""
    if ttl > max_ttl:
        raise Invalid([("/ttl", f"{ttl} s is more than the {max_ttl} s that the owner may have")])
