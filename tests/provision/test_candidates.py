"""What commands mean in a fleet is found once, while its regions offer the same."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import pytest

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.errors import Invalid
from openmultistack.domain.models import Catalogue, Flavor, Image, Network
from openmultistack.fleet.config import Fleet, FleetFile, Region
from openmultistack.ledger.shares import Numbers, Shares
from openmultistack.provision.planning import Candidates

if TYPE_CHECKING:
    from openmultistack.ledger import Ledger

SMALL = Flavor(id="f1", name="small", vcpus=1, ram_mb=512, disk_gb=1)
OFFERED = Catalogue(
    flavors=(SMALL,),
    images=(Image(id="i1", name="debian-12"),),
    networks=(Network(id="n1", name="net"),),
)
COMMAND = CreateInstances(image="debian-12", size="small")


class Catalogues:
    """A ledger of which only the catalogues are asked for."""

    def __init__(self, names: Sequence[str]) -> None:
        self.offers = dict.fromkeys(names, OFFERED)
        self.refused: dict[str, dict[str, str]] = {}

    def offered(self, regions: Sequence[str]) -> tuple[dict[str, Catalogue], Shares]:
        there = {it: self.offers[it] for it in regions if it in self.offers}
        return there, Shares(Numbers({}), "")

    def unsuited(self) -> dict[str, dict[str, str]]:
        return self.refused


def asked_of(*names: str) -> tuple[Catalogues, Candidates]:
    ledger = Catalogues(names)
    regions = {it: Region(name=it, provider="p", region=it) for it in names}
    return ledger, Candidates(cast("Ledger", ledger), Fleet(regions=regions, file=FleetFile()))


def test_alike_commands_are_looked_up_once_whatever_else_they_say() -> None:
    _, candidates = asked_of("p/a", "p/b")
    first = candidates.of(COMMAND)
    assert [it.region for it in first.able] == ["p/a", "p/b"]
    assert candidates.of(COMMAND.model_copy(update={"name": "other", "count": 3})) is first


@pytest.mark.parametrize("more", [{"regions": ("p/b",)}, {"size": {"vcpus": 1}}])
def test_commands_that_ask_for_another_thing_are_looked_up_anew(more: dict[str, object]) -> None:
    _, candidates = asked_of("p/a", "p/b")
    first = candidates.of(COMMAND)
    other = CreateInstances.model_validate({"image": "debian-12", "size": "small"} | more)
    assert candidates.of(other) is not first
    assert all(it.region != "p/a" for it in candidates.of(other).able) == ("regions" in more)


def test_what_a_region_offers_anew_counts_at_once() -> None:
    ledger, candidates = asked_of("p/a", "p/b")
    candidates.of(COMMAND)
    ledger.offers["p/a"] = OFFERED._replace(flavors=(SMALL._replace(id="new"),))
    assert [it.flavor.id for it in candidates.of(COMMAND).able] == ["new", "f1"]
    del ledger.offers["p/b"]
    assert [it.region for it in candidates.of(COMMAND).able] == ["p/a"]
    assert set(candidates.of(COMMAND).unable) == {"p/b"}


def test_a_refusal_is_not_remembered() -> None:
    ledger, candidates = asked_of("p/a")
    ledger.offers["p/a"] = Catalogue()
    with pytest.raises(Invalid):
        candidates.of(COMMAND)
    ledger.offers["p/a"] = OFFERED
    assert candidates.of(COMMAND).able
