"""What follows from what ledger and cloud each show of one slot; nothing is asked or done here."""

from collections.abc import Container, Iterable, Mapping
from typing import Literal, NamedTuple

from openmultistack.clouds import Attempted, Server
from openmultistack.domain.models import Instance, Status
from openmultistack.ledger import Slot

# How far a server has come: one that is as far as another may take its place.
STAGE = {Status.ERROR: 0, Status.BUILD: 1, Status.ACTIVE: 2}


# Why the server of an instance goes that has ended, or is ending.
_WHY_OVER: Mapping[str, str] = {
    "destroyed": "its owner destroyed it",
    "expired": "its time is up",
    "refused": "its command as a whole could not be served",
}


class Act(NamedTuple):
    """One thing that a sweep does about one slot.

    `yield`: the server of another attempt is deleted once the instance's present one is seen.
    """

    what: Literal["observe", "delete", "release", "retry", "fail", "mark", "prolong", "yield"]
    why: str


class Case(NamedTuple):
    """A slot with what ledger and cloud show of it, and what is to be done."""

    slot: Slot
    instance: Instance | None
    server: Server | None
    act: Act


def judge(
    region: str,
    slot: Slot,
    instance: Instance | None,
    server: Server | None,
    started_ms: int,
    build_timeout_ms: int,
) -> Act | None:
    """Return what to do about a slot, from what ledger and cloud each show; None: nothing.

    `started_ms` is when the cloud was asked, by Redis' clock: what is younger than that cannot be
    missing from the answer.
    """
    if server is None:
        return _judge_missing(region, slot, instance, started_ms)
    if instance is None or server.status == Status.DELETED:
        return None
    if instance.is_over:
        lives = instance.ended == "expired" and tells_later(instance, server, started_ms)
        return (
            None
            if lives
            else Act("delete", _WHY_OVER.get(instance.ended or "", "its instance is over"))
        )
    if not is_present(region, slot.attempt, instance):
        return _judge_other(region, slot, instance, server)
    if instance.status == Status.DELETED:
        return None  # it had vanished: it is adopted again
    if instance.status == Status.ERROR:
        # Failed while it was built: of no use to anybody. Failed later: its owner decides.
        return Act("delete", "it failed there") if region in instance.tried else None
    return _judge_present(slot, instance, server, started_ms, build_timeout_ms)


def _judge_present(
    slot: Slot, instance: Instance, server: Server, started_ms: int, build_timeout_ms: int
) -> Act | None:
    """Judge the server of the present attempt at an instance that is to be there."""
    if server.status == Status.ERROR:
        what: Literal["retry", "fail"] = "retry" if instance.status == Status.BUILD else "fail"
        return Act(what, server.fault or "the cloud shows ERROR")
    if _news(slot, instance, server):
        return Act("observe", "")
    if server.status == instance.status == Status.BUILD:
        # As when the cloud's own message to build it got lost.
        late = started_ms - slot.since_ms > build_timeout_ms
        # What its cloud has built is given up only where it can be made elsewhere.
        given_up = late and not (server.cloud_status and instance.order is None)
        return Act("retry", _too_late(server, build_timeout_ms // 1000)) if given_up else None
    if tells_later(instance, server, started_ms):
        return Act("prolong", "its server tells of a later expiry than the ledger knew")
    if server.marks and server.marks.identity != instance.identity:
        return Act("mark", "its marks say otherwise than the ledger, as where its expiry moved")
    return None


def _judge_other(region: str, slot: Slot, instance: Instance, server: Server) -> Act | None:
    """Judge the server of an attempt that the ledger does not have as the present one."""
    if server.id == instance.server_id:
        return None  # the present one, met under another name of its region
    superseded = slot.attempt < instance.attempt or instance.status == Status.QUEUED
    failed = server.status == Status.ERROR and superseded
    if failed or has_failed(region, slot, instance, server):
        return Act("delete", "it failed there")
    return Act("yield", "another attempt took its place")


def _judge_missing(
    region: str, slot: Slot, instance: Instance | None, started_ms: int
) -> Act | None:
    if slot.lease_until_ms is None:
        young = slot.since_ms >= started_ms
        return None if young else Act("release", "the cloud has no such server")
    if slot.lease_until_ms > started_ms:
        return None
    present = instance is not None and is_present(region, slot.attempt, instance)
    if instance and present and instance.promised and instance.status == Status.BUILD:
        return Act("retry", "nothing was made within its lease")
    return Act("release", "its creation was cut short; nothing was made")


def _news(slot: Slot, instance: Instance, server: Server) -> bool:
    return (
        slot.server_id != server.id
        or instance.server_id != server.id
        or (instance.status == Status.BUILD and server.status == Status.ACTIVE)
        or (server.addresses not in ((), instance.addresses))
        or instance.cloud_status != server.cloud_status
    )


def _too_late(server: Server, build_timeout_s: int) -> str:
    if server.cloud_status == Status.ACTIVE:
        return f"the cloud shows it ACTIVE, and no address within {build_timeout_s} s"
    return f"was not built within {build_timeout_s} s"


def is_present(region: str, attempt: int, instance: Instance) -> bool:
    """Return whether an attempt, a number and a region, is the one that the ledger goes by."""
    return (instance.attempt, instance.region) == (attempt, region)


def has_failed(region: str, slot: Slot, instance: Instance, server: Server) -> bool:
    """Return whether the ledger knows of this very server that it failed its instance."""
    return region in instance.tried and slot.server_id == server.id


def tells_later(instance: Instance, server: Server, now_ms: int) -> bool:
    """Return whether a server's marks tell of a renewal that the ledger never knew."""
    at_ms = server.marks.identity.expires_at_ms if server.marks else 0
    return at_ms > max(now_ms, instance.identity.expires_at_ms) and at_ms not in instance.was_due_ms


def may_be_adopted(
    region: str, slot: Slot | None, instance: Instance | None, server: Server, now_ms: int
) -> bool:
    """Return whether the ledger is to be asked if what it has gives way to a server."""
    if slot is None or instance is None:
        return True
    if server.status == Status.DELETED:
        return False
    if instance.is_over:
        return instance.ended == "expired" and tells_later(instance, server, now_ms)
    if instance.status == Status.DELETED:
        return not has_failed(region, slot, instance, server)
    other = not is_present(region, slot.attempt, instance)
    return other and not has_failed(region, slot, instance, server)


def has_taken_over(instance: Instance, present: Server | None, other: Server) -> bool:
    """Return whether an instance's present server, as its cloud shows it now, is worth the other.

    Nothing is deleted for one that may still come to nothing, or is leaving.
    """
    if present is None or present.id == other.id:
        return False
    return present.is_of(Attempted(instance.id, instance.attempt)) and STAGE.get(
        present.status, -1
    ) >= STAGE.get(other.status, STAGE[Status.ACTIVE])


class Marked(NamedTuple):
    """The servers of a region that carry our marks: one of each attempt, and copies of these."""

    by_attempt: Mapping[tuple[str, int], Server]
    copies: tuple[Server, ...]


def sort_marked(
    region: str,
    servers: Iterable[Server],
    slots: Iterable[Slot],
    instances: Mapping[str, Instance],
    *,
    unproven: Container[str] = (),
    known: Container[str] = (),
) -> Marked:
    """Tell an attempt's server from copies of it: it is the ledger's, else the original.

    That is one whose marks name it; else one that was made as they were signed; else the oldest.

    `unproven`: ids of those whose own marks prove nothing; they come after all others. `known`: ids
    of what was a copy before; it stays one.
    """
    # Since an old copy of the ledger came back an attempt elsewhere may have the same number.
    its_own = {
        (it.id, attempt): server_id
        for it in instances.values()
        for (attempt, of), server_id in it.had.items()
        if of == region
    }
    its_own |= {
        (it.id, it.attempt): it.server_id
        for it in instances.values()
        if it.server_id and it.region == region
    }
    its_own |= {it[:2]: it.server_id for it in slots if it.server_id}
    chosen: dict[tuple[str, int], Server] = {}
    copies = []
    for it in sorted(
        servers, key=lambda it: (it.id in unproven, it.status == Status.DELETED, *it.originality)
    ):
        if it.marks is None:
            continue
        key = it.marks.attempted
        is_copy = its_own[key] != it.id if key in its_own else it.id in known
        if is_copy or key in chosen:
            copies.append(it)
        else:
            chosen[key] = it
    return Marked(chosen, tuple(copies))
