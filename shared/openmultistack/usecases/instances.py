"""The use cases of clients on what there is: list, show, destroy, renew."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from openmultistack.clouds import Attempted, Clouds
from openmultistack.domain.errors import (
    CloudError,
    Invalid,
    LedgerUnavailable,
    NotConfigured,
    NotFound,
    PlaceMoved,
    ProviderRemoved,
)
from openmultistack.domain.models import Instance, Resources, Status, rfc3339
from openmultistack.ledger import Attempt, Destroyed, EndedBy, Ledger, OnlyIf
from openmultistack.logs import in_context, tell_deletion
from openmultistack.provision.leaving import Leaver, Leaving
from openmultistack.provision.reaching import reach

if TYPE_CHECKING:  # a function that only lists needs no pydantic
    from openmultistack.fleet.config import FleetFile

# How many destroys of one command are under way at once.
DESTROYS_SIDE_BY_SIDE = 8
# An instance that moves on while it is destroyed is read again so often.
MOVES_MAX = 30
# One look at a list goes through this many instances at most, whatever its filters.
SCAN_MAX = 2000


class Page(NamedTuple):
    """A page of a list; `next` is where the following one starts."""

    instances: Sequence[Instance]
    next: str | None


class Destroying:
    """The use case destroy."""

    def __init__(self, ledger: Ledger, clouds: Clouds, leaving: Leaving) -> None:
        self._ledger = ledger
        self._clouds = clouds
        self._leaving = leaving

    def destroy_ids(self, owner: str, instance_ids: Sequence[str]) -> list[Instance]:
        """Destroy an owner's instances and return them as they are then; safe to repeat.

        Raises:
            NotFound: an id is not known, or is another owner's.
            ProviderRemoved: some cannot be reached any more; all others are being destroyed.
        """
        instances = owned(self._ledger, owner, instance_ids)
        acts = [partial(self.destroy, it, why="its owner destroyed it") for it in instances]
        if len(acts) == 1:
            acts[0]()
        else:
            with ThreadPoolExecutor(max_workers=DESTROYS_SIDE_BY_SIDE) as pool:
                list(pool.map(lambda act: act(), in_context(acts)))
        after = self._ledger.get(instance_ids)
        unreachable = [it.id for it in after if it.stranded and it.status == Status.DELETING]
        if unreachable:
            raise ProviderRemoved(unreachable)
        return after

    def destroy_labelled(self, owner: str, labels: Mapping[str, str]) -> list[Instance]:
        """Destroy all of an owner's living instances that have these labels; safe to repeat."""
        found: list[Instance] = []
        after = None
        while True:
            page = list_instances(self._ledger, owner, labels=labels, after=after, limit=1000)
            found += page.instances
            after = page.next
            if after is None:
                break
        return self.destroy_ids(owner, [it.id for it in found]) if found else []

    def destroy(
        self,
        instance: Instance,
        *,
        why: str,
        only_if: OnlyIf = "",
        ended: EndedBy = "destroyed",
    ) -> bool:
        """Mark an instance for its end and ask its cloud; what fails there the sweep repeats.

        Returns False if it is wanted on.
        """
        answer, marked = self.mark(instance, why=why, only_if=only_if, ended=ended)
        if answer == "DELETING" and marked.server_id is not None and not marked.stranded:
            self._ask(marked, marked.server_id, why)
        return answer != "WANTED"

    def _ask(self, instance: Instance, server_id: str, why: str) -> None:
        attempt = Attempt(instance.id, instance.attempt, instance.region)
        its_keypair = Attempted(instance.id, instance.attempt) if instance.has_keypair else None
        asked, failed = "", ""
        try:
            cloud = reach(self._ledger, self._clouds, instance.region)
            asked = cloud.delete(server_id, its_keypair)
        except (NotConfigured, PlaceMoved) as error:
            failed = str(error)  # this process has older files, or the next sweep tells of it
        except CloudError as error:
            self._ledger.report(instance.region, str(error), "")
            asked, failed = error.cloud_request_id, str(error)
        else:
            self._leaving.follow([Leaver(attempt, instance.owner, instance, server_id)])
        tell_deletion(
            region=instance.region,
            instance=instance.id,
            attempt=instance.attempt,
            server=server_id,
            why=why,
            cloud_request_id=asked,
            failed=failed,
        )

    def mark(
        self,
        instance: Instance,
        *,
        why: str,
        only_if: OnlyIf = "",
        ended: EndedBy = "destroyed",
    ) -> tuple[Destroyed, Instance]:
        """Mark an instance for its end; return the ledger's answer, and it as it was then."""
        answer: Destroyed = "MOVED"
        for _ in range(MOVES_MAX):
            answer = self._ledger.destroy(instance, why=why, only_if=only_if, ended=ended)
            if answer != "MOVED":
                break
            (instance,) = self._ledger.get([instance.id])
        else:
            raise LedgerUnavailable(f"{instance.id} is on the move; try again soon")
        if answer == "EMPTY":
            attempt = Attempt(instance.id, instance.attempt, instance.region)
            self._ledger.release(
                attempt, owner=instance.owner, instance=instance, why=why, end=True
            )
        return answer, instance


def owned(ledger: Ledger, owner: str, instance_ids: Sequence[str]) -> list[Instance]:
    """Return an owner's instances.

    Raises:
        NotFound: one is not known, or is another owner's: the two look alike.
    """
    found = {it.id: it for it in ledger.get(instance_ids) if it.owner == owner}
    for instance_id in instance_ids:
        if instance_id not in found:
            raise NotFound(f"there is no instance {instance_id[:64]!r}")
    return [found[instance_id] for instance_id in instance_ids]


def story(ledger: Ledger, owner: str, instance_id: str) -> list[dict[str, Any]]:
    """Return every change of state of an owner's instance, oldest first."""
    owned(ledger, owner, [instance_id])
    return [
        {"at": rfc3339(event["at_ms"])}
        | {k: v for k, v in event.items() if k != "at_ms"}
        | {"region": event["region"] or None}
        for event in ledger.events(instance_id)
    ]


class Place(NamedTuple):
    """Where in the queue an instance is, from 1, and of how many."""

    place: int
    waiting: int
    why: str


def place_in_queue(ledger: Ledger, instance: Instance) -> Place | None:
    """Return how an instance waits; None if it does not, or not any more."""
    if instance.status != Status.QUEUED:
        return None
    order = [it.instance_id for it in ledger.queue()]
    if instance.id not in order:
        return None
    used = ledger.usage([instance.owner])[instance.owner]
    bounds = instance.quota.bounds()
    reached = [
        what for what in Resources._fields if getattr(used, what) >= bounds.get(what, math.inf)
    ]
    why = (
        f"the quota of its owner is used up: {bounds[reached[0]]} {reached[0]}"
        if reached
        else "no region that can serve it has a free slot"
    )
    return Place(order.index(instance.id) + 1, len(order), why)


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


def list_instances(
    ledger: Ledger,
    owner: str,
    *,
    labels: Mapping[str, str],
    status: Status | None = None,
    region: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page:
    """Return a page of an owner's instances, newest first; DELETED ones only when asked for.

    A page can be short though `next` is set, when few of many instances pass the filters.
    """
    found: list[Instance] = []
    scanned = 0
    gone = status == Status.DELETED
    index = None if gone else ledger.rarest(owner, labels)
    # One more than fits shows that there is a next page.
    lot = limit + 1
    while scanned < SCAN_MAX:
        ids = ledger.page(owner, label=index, gone=gone, after=after, limit=lot)
        for instance in ledger.get(ids):
            if len(found) == limit:
                return Page(found, after)
            after = instance.id
            if _passes(instance, owner, labels, status, region):
                found.append(instance)
        scanned += len(ids)
        if len(ids) < lot:
            return Page(found, None)
        after = ids[-1]
    return Page(found, after)


def _passes(
    instance: Instance,
    owner: str,
    labels: Mapping[str, str],
    status: Status | None,
    region: str | None,
) -> bool:
    return (
        instance.owner == owner
        and (status is None or instance.shown_status == status)
        and (region is None or instance.region == region)
        and labels.items() <= instance.labels.items()
    )


def refuse_long_ttl(ttl: int, max_ttl: int) -> None:
    """Raise Invalid when a ttl (seconds) is beyond what the owner may have."""
    if ttl > max_ttl:
        raise Invalid([("/ttl", f"{ttl} s is more than the {max_ttl} s that the owner may have")])
