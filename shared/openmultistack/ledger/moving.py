"""The acts on an attempt that holds a slot: it is proven, moves on elsewhere, or fails for good."""

import secrets
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from openmultistack.domain.models import Offer, Status
from openmultistack.ledger.acts import Acting, Attempt, Pick, candidates


class Moved(NamedTuple):
    """What `move` answered; `attempt` is there only when it moved."""

    outcome: Literal["moved", "queued", "none", "ended"]
    attempt: Attempt | None = None


class Moving(Acting):
    """The acts on attempts."""

    def commit(self, attempt: Attempt, server_id: str) -> bool:
        """Record an accepted server; False: it is not wanted any more, delete it."""
        answer = self._scripts.run(
            "commit",
            [
                *self._story(attempt.instance_id),
                *self._place_keys(attempt),
                self._keys.shares,
            ],
            attempt.instance_id,
            attempt.number,
            self.place_of(attempt.region),
            server_id,
        )
        return answer != "UNWANTED"

    def move(
        self,
        attempt: Attempt,
        *,
        owner: str,
        why: str,
        keep: bool,
        blame: bool,
        promised: bool,
        wait: bool,
        offers: Sequence[Offer],
        pick: Pick,
    ) -> Moved:
        """Leave the attempt's region and reserve a slot elsewhere; see move.lua.

        With `keep` the old slot is held on, as a server of that attempt may exist. With
        `promised` the client has been told of the instance: it must not be lost with the caller.
        """
        ask = {
            "id": attempt.instance_id,
            "attempt": attempt.number,
            "from": self.place_of(attempt.region),
            "from_name": self._places.name_of(self.place_of(attempt.region)),
            "owner": owner,
            "keep": keep,
            "blame": blame,
            "promised": promised,
            "wait": wait,
            "why": why,
            "pick": pick,
            "lease_ms": self._lease_ms,
            "nonce": secrets.token_hex(8),
            "of": len(offers),
        }
        answer = self._move(attempt, ask, self._short_list(offers, pick, 1))
        if answer["outcome"] == "short":
            answer = self._move(attempt, ask, offers)
        if answer["outcome"] != "moved":
            return Moved(answer["outcome"])
        (region,) = self._names_of([answer["region"]], offers).values()
        return Moved("moved", Attempt(attempt.instance_id, attempt.number + 1, region))

    def _move(
        self, attempt: Attempt, ask: dict[str, object], offers: Sequence[Offer]
    ) -> dict[str, Any]:
        keys, owner = self._keys, str(ask["owner"])
        return self._ask(
            "move",
            [
                *self._story(attempt.instance_id),
                keys.usage(owner),
                keys.queue,
                *self._place_keys(attempt),
                keys.shares,
                keys.heads,
                keys.line(owner),
                keys.orders,
                *self._region_keys(offers),
            ],
            ask | candidates(offers, self.place_of),
        )

    def fail(self, attempt: Attempt, error: str) -> Status | None:
        """The instance's server failed for good: ERROR, until destroyed or expired."""
        keys = [*self._story(attempt.instance_id), self._keys.orders]
        place = self.place_of(attempt.region)
        answer = self._scripts.run("fail", keys, attempt.number, place, error)
        return Status(str(answer)) if answer else None
