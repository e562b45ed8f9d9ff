"""Which servers of a region are the fleet's; nothing is asked or done here.

Good marks are signed for the region's place. What anybody in the project may have written is
believed only of a server that the ledger knows by its id, or that it waits for.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from openmultistack.clouds import Attempted, Claim, Marks, Server
from openmultistack.domain.models import Instance
from openmultistack.ledger import Slot, Stranger, View
from openmultistack.provision.identity import marks_of


class Policy(NamedTuple):
    """What is adopted of servers that prove nothing, and of which the ledger knows nothing.

    `awaited`: whether an unsigned one is taken whose attempt the ledger waits for, as functions of
    before marks were signed may have made it.
    """

    unsigned: bool = False
    unverified: bool = False
    awaited: bool = True


class Recognized(NamedTuple):
    """The servers of a region: `marks` of those that are taken for the fleet's, and of no others.

    `to_sign`: ids of those whose own marks prove nothing. `strangers`: what says that it is the
    fleet's, and counts as foreign.
    """

    servers: tuple[Server, ...]
    to_sign: frozenset[str]
    # How many of these are unsigned, and not known by their id: what may be adopted concerns them
    # alone, and what the ledger knows may be one that nobody can sign (in ERROR, locked).
    unsigned: int
    strangers: Mapping[str, Stranger]


def recognize(
    servers: Iterable[Server],
    view: View,
    policy: Policy,
    fleet: str,
    is_moved: Callable[[Claim, Instance], bool],
) -> Recognized:
    """Tell the fleet's servers from others; `is_moved`: a claim was signed where its instance is.

    A server whose id a slot has is of that slot, whatever its marks say.
    """
    committed = {it.server_id: it for it in view.slots if it.server_id}
    slots = {Attempted(it.instance_id, it.attempt): it for it in view.slots}
    found, to_sign, unsigned = [], set(), 0
    strangers: dict[str, Stranger] = {}
    for it in servers:
        slot = committed.get(it.id)
        marks = _of_slot(it, slot, view, policy, fleet) if slot else it.marks
        if slot is None and it.marks is None and it.claim:
            marks = _of_claim(it, it.claim, slots, view, policy, is_moved)
        found.append(it._replace(marks=marks))
        if marks is not None and (it.marks is None or it.marks.attempted != marks.attempted):
            to_sign.add(it.id)
            known = slot is not None or _is_own(it, view.instances.get(marks.instance_id))
            unsigned += not known and it.claim is not None and it.claim.how == "unsigned"
        elif marks is None and (told := _spoilt(it, slot) if slot else _told(it)):
            strangers[it.id] = told
    return Recognized(tuple(found), frozenset(to_sign), unsigned, strangers)


def _of_slot(server: Server, slot: Slot, view: View, policy: Policy, fleet: str) -> Marks | None:
    """Return the marks of a server that the ledger has for a slot; None if nothing tells of it.

    Then an operator may vouch for it: the ledger alone has nobody's server marked or deleted.
    """
    attempted = Attempted(slot.instance_id, slot.attempt)
    if server.marks and server.marks.attempted == attempted:
        return server.marks
    if not (server.is_of(attempted) or (policy.unverified and not server.is_out_of_reach)):
        return None
    instance = view.instances.get(slot.instance_id)
    claimed = server.claim.marks if server.claim else None
    if instance is None:
        return claimed if claimed and claimed.attempted == attempted else None
    return marks_of(instance, attempted.attempt, fleet)


def _of_claim(
    server: Server,
    claim: Claim,
    slots: Mapping[Attempted, Slot],
    view: View,
    policy: Policy,
    is_moved: Callable[[Claim, Instance], bool],
) -> Marks | None:
    """Return the marks of a server that no slot has and that proves nothing; None: a stranger."""
    told = claim.marks
    slot, instance = slots.get(told.attempted), view.instances.get(told.instance_id)
    if instance is None:
        unknown = slot is None and told.instance_id not in view.unreadable
        return told if unknown and getattr(policy, claim.how) else None
    own = marks_of(instance, told.attempt, told.fleet)
    if _is_own(server, instance) and instance.attempt == told.attempt:
        return own if claim.how == "unsigned" or is_moved(claim, instance) else None
    awaited = policy.awaited and slot is not None and slot.server_id is None
    return own if awaited and claim.how == "unsigned" else None


def _is_own(server: Server, instance: Instance | None) -> bool:
    """Whether the ledger has a server for an instance's own, by its id."""
    return instance is not None and instance.server_id == server.id


def _spoilt(server: Server, slot: Slot) -> Stranger | None:
    """Return what is told of a slot's server that says nothing of its attempt any more."""
    if server.is_out_of_reach:
        return None
    return Stranger("spoilt", slot.instance_id, slot.attempt)


def _told(server: Server) -> Stranger | None:
    """Return what a server says of itself, that is not taken for ours."""
    kind: Literal["unsigned", "unverified"] = server.claim.how if server.claim else "unverified"
    of = server.claim.marks.attempted if server.claim else server.named
    of = of or (server.marks.attempted if server.marks else None)
    return Stranger(kind, of.instance_id, of.attempt) if of else None
