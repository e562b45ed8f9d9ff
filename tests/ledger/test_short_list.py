"""Of many regions a decision looks at a few; the choice is that of all, no free slot is lost."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openmultistack.domain.models import Offer, Resources
from openmultistack.ledger.shares import BY_CHANCE, SHORT
from tests.support.desk import Desk

MANY = [f"p{it % 3}/R{it:02}" for it in range(2 * (SHORT + BY_CHANCE))]
PICKS = ["freest", "first", "fullest"]


class Fleet:
    """Regions by the rule for all of them: the best share, or the first, of those with room."""

    def __init__(self, caps: Sequence[int], taken: Sequence[int]) -> None:
        self.caps = caps
        self.left = [cap - used for cap, used in zip(caps, taken, strict=True)]

    def take(self, pick: str) -> int | None:
        """Return which region is taken next, and take a slot there."""
        able = [at for at, left in enumerate(self.left) if left > 0]
        sign = {"freest": -1, "fullest": 1, "first": 0}[pick]
        chosen = min(able, key=lambda at: (sign * self.left[at] / self.caps[at], at), default=None)
        if chosen is not None:
            self.left[chosen] -= 1
        return chosen


def lay_out(desk: Desk, names: Sequence[str], caps: Sequence[int], taken: Sequence[int]) -> Fleet:
    """Let regions be up with these caps, and so many slots of each used by others."""
    for name, cap, used in zip(names, caps, taken, strict=True):
        desk.ledger.survey(
            name, cap=Resources(cap, 9999, 9999), foreign=Resources(instances=used), catalogue=None
        )
    return Fleet(caps, taken)


def places(desk: Desk, names: Sequence[str | Offer], **more: object) -> list[int]:
    """Place, and return which of the regions were taken, in order."""
    order = [it if isinstance(it, str) else it.region for it in names]
    return [order.index(it.region) for it in desk.place(*names, **more).attempts]


@pytest.mark.parametrize("pick", PICKS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    regions=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12),
    count=st.integers(1, 40),
)
def test_many_at_once_go_where_they_would_go_one_after_another(
    desk: Desk, pick: str, regions: list[tuple[int, int]], count: int
) -> None:
    desk.redis.flushdb()
    names = MANY[: len(regions)]
    caps, taken = zip(*((cap, min(used, cap)) for cap, used in regions), strict=True)
    fleet = lay_out(desk, names, caps, taken)
    expected = [it for it in (fleet.take(pick) for _ in range(count)) if it is not None]
    assert places(desk, names, count=count, pick=pick, partial=True) == expected


@pytest.mark.parametrize("pick", PICKS)
@pytest.mark.parametrize("count", [1, 7, SHORT + 1])
def test_a_short_list_gives_the_choice_that_all_regions_give(
    desk: Desk, pick: str, count: int
) -> None:
    dice = random.Random(count)
    caps = [dice.randint(2, 6) for _ in MANY]
    fleet = lay_out(desk, MANY, caps, [dice.randint(0, cap) for cap in caps])
    while (total := sum(fleet.left)) >= count:
        found = places(desk, MANY, count=count, pick=pick)
        assert found == [fleet.take(pick) for _ in range(count)], total
    assert len(places(desk, MANY, count=count, pick=pick, partial=True)) == total
    assert desk.place(*MANY, pick=pick).outcome == "full"


def looked_at(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return, as they come, how many candidates each run of a script is given."""
    seen: list[int] = []
    ask = desk.ledger._ask  # noqa: SLF001  what it is given is the cost

    def noting(script: str, keys: Sequence[str], told: dict[str, Any]) -> dict[str, Any]:
        seen.append(len(told["regions"]))
        return ask(script, keys, told)

    monkeypatch.setattr(desk.ledger, "_ask", noting)
    return seen


def test_few_are_looked_at_and_all_only_when_these_are_full(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(desk, MANY, [1] * len(MANY), [0] * len(MANY))
    seen = looked_at(desk, monkeypatch)
    places(desk, MANY)
    assert SHORT <= seen.pop() <= SHORT + BY_CHANCE
    places(desk, MANY, count=SHORT + 3)
    assert SHORT + 3 <= seen.pop() <= SHORT + 3 + BY_CHANCE
    assert seen == []
    assert desk.place(*MANY, count=len(MANY)).outcome == "full"
    assert seen == [len(MANY)]


@pytest.mark.parametrize("act", ["place", "move"])
def test_full_is_said_only_when_all_were_looked_at(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """The shares say that nothing is free, as after a pause that is over, and one region is."""
    lay_out(desk, MANY, [1] * len(MANY), [1] * (len(MANY) - 1) + [0])
    desk.open("x/elsewhere")
    moving = desk.placed("x/elsewhere")
    desk.redis.set(desk.keys.shares, "\0" * len(desk.redis.get(desk.keys.shares)))
    monkeypatch.setattr("openmultistack.ledger.shares.secrets.randbelow", lambda _: 0)
    seen = looked_at(desk, monkeypatch)
    if act == "place":
        assert desk.placed(*MANY).region == MANY[-1]
    else:
        assert desk.move(moving, *MANY).attempt.region == MANY[-1]
        assert desk.events(moving) == ["placed", "failed", "placed"]
    assert len(seen) == 2
    assert seen[1] == len(MANY)
    desk.check(*MANY)


def test_a_region_that_is_found_free_by_chance_is_seen_again(desk: Desk) -> None:
    lay_out(desk, MANY, [20] * len(MANY), [0] * len(MANY))
    desk.ledger.report(MANY[0], "slow down", "paused", pause_s=1)
    desk.later(desk.keys.region(MANY[0]), "paused_until_ms", 2000)
    taken: Counter[int] = Counter()
    while not taken[0]:
        taken.update(places(desk, MANY))
    assert max(taken.values()) <= 20, "or never"
    assert desk.ledger.shares().of(desk.offers(MANY))[0] > 0


@pytest.mark.parametrize("means", ["down", "full", "paused", "drained", "doubt"])
def test_a_region_that_takes_nothing_has_no_place_in_a_short_list(desk: Desk, means: str) -> None:
    desk.open(*MANY)
    before = desk.ledger.shares().of(desk.offers(MANY))
    if means == "drained":
        desk.ledger.drain(MANY[3], "repairs")
    else:
        for _ in range(3):
            desk.ledger.report(MANY[3], "no", means, pause_s=60)
    shares = desk.ledger.shares().of(desk.offers(MANY))
    assert (before[3] > 0, shares[3]) == (True, 0)
    assert all(it > 0 for at, it in enumerate(shares) if at != 3)
    desk.ledger.open(MANY[3])
    desk.redis.hdel(desk.keys.region(MANY[3]), "open_until_ms", "paused_until_ms")
    desk.open(MANY[3])
    assert desk.ledger.shares().of(desk.offers(MANY)) == before


def test_one_that_was_never_swept_has_no_share_and_is_no_error(desk: Desk) -> None:
    desk.open(MANY[1])
    shares = desk.ledger.shares().of(desk.offers(MANY))
    assert [at for at, it in enumerate(shares) if it] == [1]
    desk.redis.flushdb()
    assert set(desk.ledger.shares().of(desk.offers(MANY))) == {0}


def test_what_is_remembered_of_regions_is_read_anew_after_the_ledger_was_lost(desk: Desk) -> None:
    desk.open(*MANY)
    desk.ledger.shares()
    desk.redis.flushdb()
    desk.open(*reversed(MANY))
    desk.ledger.report(MANY[0], "no", "down")
    shares = desk.ledger.shares().of(desk.offers(MANY))
    assert [at for at, it in enumerate(shares) if not it] == [0]


@pytest.mark.parametrize("builds", [True, False])
def test_the_bound_on_those_that_build_counts_in_the_shares(desk: Desk, *, builds: bool) -> None:
    desk.open(*MANY, max_building=1)
    attempt = desk.placed(*MANY[:1]) if builds else desk.active(*MANY[:1])
    assert (desk.ledger.shares().of(desk.offers(MANY))[0] == 0) == builds
    desk.end(attempt)
    assert desk.ledger.shares().of(desk.offers(MANY))[0] > 0
