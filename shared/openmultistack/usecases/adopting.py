"""Adopting: servers with the fleet's marks get a slot in the ledger, whatever it knew of them."""

from openmultistack.clouds import Server
from openmultistack.domain.models import Instance, Status
from openmultistack.ledger import View
from openmultistack.provision.identity import instance_of
from openmultistack.usecases.judging import Marked, may_be_adopted
from openmultistack.usecases.swept import Swept


class Adopting:
    """Adopts servers of one region, in one sweep of it."""

    def __init__(self, swept: Swept) -> None:
        self._swept = swept

    def hold_unknown(self, view: View, marked: Marked, started_ms: int) -> bool:
        """Give every marked server a slot, so that it counts; adopt what the ledger does not know.

        One may have gone since it was listed, and its slot with it: the cloud is asked again.
        """
        slots = {(it.instance_id, it.attempt): it for it in view.slots}
        unknown = [
            (key, server)
            for key, server in marked.by_attempt.items()
            if may_be_adopted(
                self._swept.region, slots.get(key), view.instances.get(key[0]), server, started_ms
            )
            # It is known, whatever is known of it.
            and key[0] not in view.unreadable
        ]
        present = self._swept.cloud.present() if unknown else ()
        strays = [it for it in unknown if it[1].id in present or self._swept.cloud.show(it[1].id)]
        for key, server in strays:
            self._swept.done["adopted"] += self._swept.ledger.hold(
                instance_of(server, self._swept.region),
                server.need,
                building=server.status == Status.BUILD,
                failed=_failure(server),
                was_in=_was_in(self._swept.region, view.instances.get(key[0]), server),
            )
        return bool(strays)

    def reach_again(self, view: View) -> None:
        """Take back what was said of instances while no entry of clouds.yaml led here."""
        region = self._swept.region
        stranded = [it.id for it in view.instances.values() if it.stranded and it.region == region]
        if stranded:
            self._swept.ledger.unstrand(region, stranded)


def _failure(server: Server) -> str | None:
    return (server.fault or "the cloud shows ERROR") if server.status == Status.ERROR else None


def _was_in(region: str, instance: Instance | None, server: Server) -> str | None:
    """Return the other region in which the ledger has this very server."""
    moved = instance and instance.server_id == server.id and instance.region != region
    return instance.region if instance and moved else None
