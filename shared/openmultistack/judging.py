"""What follows from what ledger and cloud each show of one slot; nothing is asked or done here."""

from typing import Literal, NamedTuple

from openmultistack.clouds import Server
from openmultistack.ledger import Slot
from openmultistack.models import Instance, Status


class Act(NamedTuple):
    """One thing that a sweep does about one slot."""

    what: Literal["observe", "delete", "release", "retry", "fail", "mark"]
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
    if (instance.attempt, instance.region) != (slot.attempt, region):
        return Act("delete", "a later attempt took its place")
    if instance.status in (Status.DELETING, Status.DELETED):
        return Act("delete", "its instance is wanted no more")
    if instance.status == Status.ERROR:
        # Failed while it was built: of no use to anybody. Failed later: its owner decides.
        return Act("delete", "it failed there") if region in instance.tried else None
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
    if server.marks and server.marks.expires_at_ms != instance.expires_at_ms:
        return Act("mark", "its expiry moved")
    return None


def _judge_missing(
    region: str, slot: Slot, instance: Instance | None, started_ms: int
) -> Act | None:
    if slot.lease_until_ms is None:
        young = slot.since_ms >= started_ms
        return None if young else Act("release", "the cloud has no such server")
    if slot.lease_until_ms > started_ms:
        return None
    current = instance and (instance.attempt, instance.region) == (slot.attempt, region)
    if instance and current and instance.promised and instance.status == Status.BUILD:
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
