"""The use cases of clients on what there is: list, show, destroy, renew."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from openmultistack.attempts import keypair_of
from openmultistack.clouds import Clouds
from openmultistack.errors import CloudError, Invalid, NotFound
from openmultistack.fleet import FleetFile
from openmultistack.ledger import Attempt, Ledger
from openmultistack.models import Instance, Status, rfc3339

# How many destroys of one command are under way at once.
DESTROYS_SIDE_BY_SIDE = 8
# One look at a list goes through this many instances at most, whatever its filters.
SCAN_MAX = 2000


class Page(NamedTuple):
    """A page of a list; `next` is where the following one starts."""

    instances: Sequence[Instance]
    next: str | None


class Destroying:
    """The use case destroy."""

    def __init__(self, ledger: Ledger, clouds: Clouds) -> None:
        self._ledger = ledger
        self._clouds = clouds

    def destroy_ids(self, owner: str, instance_ids: Sequence[str]) -> list[Instance]:
        """Destroy an owner's instances and return them as they are then; safe to repeat.

        Raises:
            NotFound: an id is not known, or is another owner's.
        """
        instances = owned(self._ledger, owner, instance_ids)
        if len(instances) == 1:
            self.destroy(instances[0], why="its owner destroyed it")
        else:
            with ThreadPoolExecutor(max_workers=DESTROYS_SIDE_BY_SIDE) as pool:
                list(pool.map(lambda it: self.destroy(it, why="its owner destroyed it"), instances))
        return self._ledger.get(instance_ids)

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

    def destroy(self, instance: Instance, *, why: str) -> None:
        """Mark an instance for its end and ask its cloud; what fails there the sweep repeats."""
        marked = self.mark(instance, why=why)
        if marked is None or marked.server_id is None:
            return
        try:
            self._clouds.region(marked.region).delete(
                marked.server_id, keypair_of(marked, marked.attempt)
            )
        except CloudError as error:
            self._ledger.report(marked.region, str(error), "")

    def mark(self, instance: Instance, *, why: str, only_if_due: bool = False) -> Instance | None:
        """Mark an instance for its end; return it if it still holds a slot, and so a server."""
        answer = self._ledger.destroy(instance, why=why, only_if_due=only_if_due)
        while answer == "MOVED":
            (instance,) = self._ledger.get([instance.id])
            answer = self._ledger.destroy(instance, why=why, only_if_due=only_if_due)
        if answer == "EMPTY":
            attempt = Attempt(instance.id, instance.attempt, instance.region)
            self._ledger.release(attempt, instance, why=why, end=True)
        return instance if answer == "DELETING" else None


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
        {"at": rfc3339(event["at_ms"])} | {k: v for k, v in event.items() if k != "at_ms"}
        for event in ledger.events(instance_id)
    ]


def renew(ledger: Ledger, fleet: FleetFile, owner: str, instance_id: str, ttl: int) -> Instance:
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
    index = next(iter(sorted(labels.items())), None)
    gone = status == Status.DELETED
    while scanned < SCAN_MAX:
        ids = ledger.page(owner, label=index, gone=gone, after=after, limit=limit)
        for instance in ledger.get(ids):
            if len(found) == limit:
                return Page(found, after)
            after = instance.id
            if _passes(instance, owner, labels, status, region):
                found.append(instance)
        scanned += len(ids)
        if len(ids) < limit:
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
        and (status is None or instance.status == status)
        and (region is None or instance.region == region)
        and labels.items() <= instance.labels.items()
    )


def refuse_long_ttl(ttl: int, max_ttl: int) -> None:
    """Raise Invalid when a ttl (seconds) is beyond what the owner may have."""
    if ttl > max_ttl:
        raise Invalid([("/ttl", f"{ttl} s is more than the {max_ttl} s that the owner may have")])
