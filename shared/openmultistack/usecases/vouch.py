"""The use case of operators for servers that say they are the fleet's and are let alone."""

from collections.abc import Sequence
from typing import Any

from openmultistack.clouds import Clouds
from openmultistack.domain.errors import Invalid, LedgerUnavailable, NotFound
from openmultistack.domain.pace import Pace
from openmultistack.fleet.config import Fleet
from openmultistack.fleet.offers import regions_matching
from openmultistack.ledger import Ledger, Stranger
from openmultistack.logs import tell_deletion
from openmultistack.provision.reaching import reach
from openmultistack.usecases.reap import Reaping

_IS_NO_COPY = (
    "server {} is {}, not a copy: adopt it (`oms adopt --unverified`), or delete it with its"
    " cloud's own tools"
)


class Vouching:
    """Adopts what an operator vouches for, and ends copies."""

    def __init__(
        self, ledger: Ledger, fleet: Fleet, clouds: Clouds, reaping: Reaping, pace: Pace
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._clouds = clouds
        self._reaping = reaping
        self._pace = pace

    def adopt(self, patterns: Sequence[str]) -> list[dict[str, Any]]:
        """Sweep regions, and adopt servers there whose marks nothing proves; safe to repeat.

        Raises Invalid: a pattern matches no region.
        """
        return self._reaping.adopt([it.name for it in regions_matching(self._fleet, patterns)])

    def end(self, server_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Have copies deleted, and tell whose each was; safe to repeat while sweeps show them.

        Raises:
            NotFound: no sweep has found such a copy.
            Invalid: it is one of another kind.
            CloudError: its cloud does not delete it.
        """
        self._ledger.look_up_names()
        known = {
            server_id: (region, it)
            for region in self._fleet.configured
            for server_id, it in self._ledger.strangers(region).items()
        }
        for position, server_id in enumerate(server_ids):
            if server_id not in known:
                raise NotFound(f"no sweep has found a copy {server_id[:64]!r}; see `oms regions`")
            kind = known[server_id][1].kind
            if kind != "copy":
                why = _IS_NO_COPY.format(server_id[:64], kind)
                raise Invalid([(f"/servers/{position}", why)])
        return [self._end(it, *known[it]) for it in server_ids]

    def _end(self, server_id: str, region: str, it: Stranger) -> dict[str, Any]:
        """Delete a copy, under its region's lock: no sweep takes it for anything else meanwhile."""
        with self._ledger.sweeping(region, budget_s=self._pace.sweep_budget_s) as mine:
            if not mine:
                raise LedgerUnavailable(f"{region} is being swept; try again soon")
            view = self._ledger.view(region, [it.instance_id])
            own = {slot.server_id for slot in view.slots}
            own |= {instance.server_id for instance in view.instances.values()}
            if server_id in own:
                raise NotFound(f"server {server_id[:64]} is an instance's own by now")
            asked = reach(self._ledger, self._clouds, region).delete(server_id)
        why = "its operator ended it: it is a copy"
        tell_deletion(
            region=region,
            instance=it.instance_id,
            attempt=it.attempt,
            server=server_id,
            why=why,
            cloud_request_id=asked,
        )
        return {"server": server_id, "region": region, "instance": it.instance_id}
