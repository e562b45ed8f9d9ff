"""Planning: what a command means in the regions that it may go to, at first and once more.

Nothing is placed or asked of a cloud here: catalogues and refusals are read from the ledger.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from openmultistack.domain.cloud_errors import CatalogueStale
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.errors import Invalid, NoRegionReady, UnreadableOrder
from openmultistack.domain.identity import Identity
from openmultistack.domain.kinds import Asked, why_unsuited
from openmultistack.domain.models import Catalogue, Instance, Offer
from openmultistack.domain.placement import STRATEGIES, Ranked
from openmultistack.fleet.config import Fleet
from openmultistack.fleet.offers import CannotServe, Offers, offer_of, offers, regions_matching
from openmultistack.ledger import Ledger, Pick, Shares
from openmultistack.logs import tell
from openmultistack.provision.restocking import Reoffer

# Regions that may fail one instance, and attempts at it whatever came of them, over its life.
FAILING_REGIONS_MAX = 6
ATTEMPTS_MAX = 24
# So many different texts of regions go into one sentence; all are told by region.
REASONS_SHOWN = 3
# What of a command does not change which regions are its candidates: those that agree in all else
# have the same, and so many such are remembered.
IRRELEVANT = {
    "count", "ttl", "partial", "on_full", "ssh_public_key", "user_data", *Identity._fields,
}  # fmt: skip
ASKED_KEPT = 200


class Wanted(NamedTuple):
    """What all instances of one command have in common."""

    fleet: str
    identity: Identity
    command: CreateInstances
    offers: Sequence[Offer]
    pick: Pick
    # The client has been told of these instances already.
    promised: bool = False
    # What each carries of its client's idempotency key, where that is not said by the identity.
    idempotency: Mapping[str, str] = {}
    # What the order means in a region whose catalogue was read anew.
    reoffer: Reoffer | None = None

    def identity_of(self, instance_id: str) -> Identity:
        """Return who one of its instances is."""
        if instance_id not in self.idempotency:
            return self.identity
        return self.identity._replace(idempotency=self.idempotency[instance_id])


class Candidates:
    """What commands mean in each of the regions that they may go to.

    A fleet of many regions takes milliseconds to look through, and most commands want one of a few
    images and sizes: for those alike it is done once, while the regions offer the same. Safe to
    share between threads.
    """

    def __init__(self, ledger: Ledger, fleet: Fleet) -> None:
        self._ledger = ledger
        self._fleet = fleet
        # By what is asked for: what the regions offered then, and what was found.
        self._known: dict[str, tuple[Mapping[str, Catalogue], Offers]] = {}

    def of(self, command: CreateInstances, owner: str = "") -> Offers:
        """Return a command's candidates, in the order of its strategy.

        Regions that refused orders of this kind are none, until they are asked anew.

        Raises:
            Invalid, NoRegionReady: there is none; says why.
        """
        return self.look(command, owner)[0]

    def look(self, command: CreateInstances, owner: str = "") -> tuple[Offers, Shares]:
        """Return a command's candidates as `of`, and how free the regions are at this moment."""
        offered, shares = self._ledger.offered(list(self._fleet.regions))
        return self._meant(command, owner, offered), shares

    def _meant(
        self, command: CreateInstances, owner: str, offered: Mapping[str, Catalogue]
    ) -> Offers:
        asked = command.model_dump_json(exclude=IRRELEVANT)
        refused = self._ledger.unsuited()
        known = self._known.get(asked)
        # A catalogue that has not changed is the same object, as all are while none has: no
        # contents are compared.
        if known and (known[0] is offered or known[0] == offered):
            return suited(known[1], refused, command, command.identity(owner))
        found = candidates(self._fleet, offered, command)
        if len(self._known) >= ASKED_KEPT:
            self._known.clear()
        self._known[asked] = (offered, found)
        return suited(found, refused, command, command.identity(owner))


def suited(
    found: Offers,
    refused: Mapping[str, Mapping[str, str]],
    command: CreateInstances,
    identity: Identity,
) -> Offers:
    """Return offers without those of regions that refused orders of this kind.

    Raises:
        Invalid: none is left, and all that could serve refused.
        NoRegionReady: the same, but some were not looked at yet.
    """
    if not refused:
        return found
    said = {
        offer.region: why
        for offer in found.able
        if (why := _why_not(offer, refused, command, identity))
    }
    if said and len(said) == len(found.able):
        told = {**found.unable, **said}
        if found.unseen:
            raise NoRegionReady("no region that was looked at takes this order", told)
        raise Invalid([("", no_region_takes(said))], regions=told)
    return found._replace(
        able=tuple(it for it in found.able if it.region not in said),
        unable={**found.unable, **said},
        unsuited=tuple(it for it in found.able if it.region in said),
    )


def no_region_takes(said: Mapping[str, str]) -> str:
    """Return what regions said to an order in one sentence."""
    texts = sorted(set(said.values()))
    return f"no region takes this order: {'; '.join(texts[:REASONS_SHOWN])}"


def _why_not(
    offer: Offer,
    refused: Mapping[str, Mapping[str, str]],
    command: CreateInstances,
    identity: Identity,
) -> str | None:
    kinds = refused.get(offer.region)
    return why_unsuited(kinds, Asked(offer, command, identity)) if kinds else None


def reoffering(fleet: Fleet, command: CreateInstances) -> Reoffer:
    """Return what tells a command's offer in a region whose catalogue was read anew."""

    def reoffer(region: str, catalogue: Catalogue) -> Offer:
        there = fleet.regions[region]
        try:
            return offer_of(fleet, there, catalogue, command.image, command.size)
        except CannotServe as why:
            raise CatalogueStale(str(why)) from None

    return reoffer


def candidates(fleet: Fleet, offered: Mapping[str, Catalogue], command: CreateInstances) -> Offers:
    """Return what a command means where it may go to, in the order of its strategy; see above."""
    regions = regions_matching(fleet, command.regions)
    there = {it.name: offered[it.name] for it in regions if it.name in offered}
    found = offers(fleet, regions, there, command.image, command.size)
    return found._replace(able=tuple(ranked(fleet, command, found.able)))


def wanted_again(
    ledger: Ledger,
    fleet: Fleet,
    fleet_name: str,
    instance: Instance,
    known: dict[str, Sequence[Offer]],
    found: Candidates | None = None,
) -> Wanted | None:
    """Return what a promised instance was ordered as, without the regions that failed it.

    None: it cannot be ordered any more, or has been tried often enough. `known` keeps what each
    order means, for those that come with the same one; `found` what it meant to others before.

    Raises:
        UnreadableOrder: its order may be of a version to come; nobody else is to be held up by it.
    """
    tired = instance.attempt >= ATTEMPTS_MAX or len(instance.tried) >= FAILING_REGIONS_MAX
    order = None if tired else ledger.order_of(instance)
    if order is None or instance.order is None:
        return None
    command = _ordered(order, instance)
    if instance.order not in known:
        known[instance.order] = _able(found or Candidates(ledger, fleet), command)
    return Wanted(
        fleet=fleet_name,
        identity=instance.identity,
        command=command,
        offers=_untried(known[instance.order], instance, ledger.unsuited(), command),
        pick=STRATEGIES[command.strategy].pick,
        promised=True,
        reoffer=reoffering(fleet, command),
    )


def _ordered(order: str, instance: Instance) -> CreateInstances:
    """Return what an instance was ordered as, beside its identity.

    Raises:
        UnreadableOrder: nobody can read that, or not here.
    """
    try:
        command = CreateInstances.model_validate_json(order)
    except ValidationError:
        command = None
    if command is None or command.strategy not in STRATEGIES:
        tell("unreadable", "warning", what="order", count=1, names=[instance.id])
        raise UnreadableOrder(instance.id)
    return command


def _able(found: Candidates, command: CreateInstances) -> Sequence[Offer]:
    try:
        return found.of(command).able
    except (Invalid, NoRegionReady):
        return ()


def _untried(
    offers: Sequence[Offer],
    instance: Instance,
    refused: Mapping[str, Mapping[str, str]],
    command: CreateInstances,
) -> Sequence[Offer]:
    tried, identity = instance.tried, instance.identity
    if not (tried or refused):
        return offers
    return [
        it
        for it in offers
        if it.region not in tried and not _why_not(it, refused, command, identity)
    ]


def ranked(fleet: Fleet, command: CreateInstances, able: Sequence[Offer]) -> list[Offer]:
    """Return offers in the order of the command's strategy."""
    rules = {offer.region: fleet.regions[offer.region].rule for offer in able}
    order = STRATEGIES[command.strategy].order
    return [
        it.offer
        for it in order(
            [
                Ranked(offer=o, priority=rules[o.region].priority, price=rules[o.region].price)
                for o in able
            ]
        )
    ]
