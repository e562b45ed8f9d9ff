"""The use cases of clients on what there is: list, show, the place in the queue."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from openmultistack.domain.errors import NotFound
from openmultistack.domain.models import Instance, Resources, Status
from openmultistack.domain.times import rfc3339
from openmultistack.ledger import Ledger

# One look at a list goes through this many instances at most, whatever its filters.
SCAN_MAX = 2000


class Page(NamedTuple):
    """A page of a list; `next` is where the following one starts."""

    instances: Sequence[Instance]
    next: str | None


def owned(ledger: Ledger, owner: str, instance_ids: Sequence[str]) -> list[Instance]:
    """Return an owner's instances.

    Raises:
        NotFound: one is not known, or is another owner's: the two look alike.
    """
    found = {it.id: it for it in ledger.get(instance_ids) if it.identity.owner == owner}
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


class QueuePlace(NamedTuple):
    """Where in the queue an instance is, from 1, and of how many."""

    place: int
    waiting: int
    why: str


def place_in_queue(ledger: Ledger, instance: Instance) -> QueuePlace | None:
    """Return how an instance waits; None if it does not, or not any more."""
    if instance.status != Status.QUEUED:
        return None
    order = [it.instance_id for it in ledger.queue()]
    if instance.id not in order:
        return None
    owner = instance.identity.owner
    used = ledger.usage([owner])[owner]
    bounds = instance.quota.bounds()
    reached = [
        what for what in Resources._fields if getattr(used, what) >= bounds.get(what, math.inf)
    ]
    why = (
        f"the quota of its owner is used up: {bounds[reached[0]]} {reached[0]}"
        if reached
        else "no region that can serve it has a free slot"
    )
    return QueuePlace(order.index(instance.id) + 1, len(order), why)


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
        instance.identity.owner == owner
        and (status is None or instance.shown_status == status)
        and (region is None or instance.region == region)
        and labels.items() <= instance.identity.labels.items()
    )
