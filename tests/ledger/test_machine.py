"""The books always balance: the real scripts against a simple model, in any order of acts."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Instance, Resources, Status
from openmultistack.domain.resources import AMOUNTS, LEAST
from openmultistack.ledger import Attempt
from tests.support.desk import Desk

REGIONS = ("alpha/One", "alpha/Two", "beta/One")
OWNERS = ("alice", "alice:job")
LABEL = {"job": "7"}

# Each resource there is; of what not every server takes some take none.
needs = st.builds(Resources, st.just(1), *(st.integers(getattr(LEAST, it), 4) for it in AMOUNTS))
picks = st.sampled_from(["freest", "first", "fullest"])
orders = st.permutations(REGIONS).flatmap(lambda it: st.integers(0, 3).map(lambda n: it[:n]))
anyone = st.integers(0, 10**6)
counts = st.builds(Resources, st.integers(0, 5), *(st.integers(0, 12) for _ in AMOUNTS))
USUAL = Resources(4, *(9 for _ in AMOUNTS))


class Held(NamedTuple):
    """A slot in the model."""

    need: Resources
    leased: bool
    building: bool


class Place:
    """A region in the model."""

    def __init__(self) -> None:
        self.up = self.full = False
        self.cap = self.foreign = Resources()
        self.slots: dict[tuple[str, int], Held] = {}
        # By how much held + foreign may be over the cap, as the cloud itself showed it.
        self.excused = Resources()

    def held(self) -> Resources:
        """Return what the slots sum up to."""
        return sum((slot.need for slot in self.slots.values()), Resources())

    def over(self) -> Resources:
        """Return by how much held + foreign is over the cap."""
        taken = zip(self.held() + self.foreign, self.cap, strict=True)
        return Resources(*(max(0, held - cap) for held, cap in taken))

    def room(self, need: Resources) -> tuple[int, int]:
        """Return how many more of this need fit, and how many would in all."""
        if not self.up or self.full:
            return 0, 1
        taken = zip(self.cap, self.held() + self.foreign, need, strict=True)
        free = min((cap - held) // one for cap, held, one in taken if one)
        caps = zip(self.cap, need, strict=True)
        return max(0, free), max(1, min(cap // one for cap, one in caps if one))


class Life:
    """An instance in the model."""

    def __init__(self, owner: str, attempt: int, region: str) -> None:
        self.owner, self.attempt, self.region = owner, attempt, region
        self.status = "BUILD"
        self.server = False
        # An end that justifies deleting its servers.
        self.for_good = False

    def gives_way(self, number: int) -> bool:
        """Return whether it gives way to a living server of another attempt."""
        if self.status == "DELETING" or (self.status == "DELETED" and self.for_good):
            return False
        lost = self.status == "DELETED" or (self.status == "ERROR" and not self.server)
        return number > self.attempt or lost


def choose(pick: str, rooms: Sequence[list[int]]) -> int | None:
    """Return which candidate is next, from [left, all] of each."""
    able = [i for i, (left, _) in enumerate(rooms) if left > 0]
    if not able or pick == "first":
        return able[0] if able else None
    sign = 1 if pick == "fullest" else -1
    return min(able, key=lambda i: (sign * rooms[i][0] / rooms[i][1], i))


class Books(RuleBasedStateMachine):
    """Every act of the ledger, in any order, on anything that ever was."""

    desk: ClassVar[Desk]

    def __init__(self) -> None:
        super().__init__()
        self.desk.redis.flushdb()
        self.places = {name: Place() for name in REGIONS}
        self.lives: dict[str, Life] = {}
        self.attempts: list[Attempt] = []
        self.owners: dict[str, str] = {}
        self.due: set[str] = set()
        # Instances whose slot was given up though they were ACTIVE, or over.
        self.stranded: set[str] = set()
        for name in REGIONS:
            self.survey(name, USUAL, Resources())

    # ------------------------------------------------------------ regions

    @rule(region=st.sampled_from(REGIONS), cap=counts, foreign=counts)
    def survey(self, region: str, cap: Resources, foreign: Resources) -> None:
        place = self.places[region]
        foreign = Resources(*(it // 2 for it in foreign))
        self.desk.ledger.survey(region, cap=cap, foreign=foreign, catalogue=None)
        place.up, place.full, place.cap, place.foreign = True, False, cap, foreign
        place.excused = place.over()

    @rule(region=st.sampled_from(REGIONS), means=st.sampled_from(["down", "full", "stale", ""]))
    def report(self, region: str, means: Any) -> None:
        self.desk.ledger.report(region, "no", means)
        place = self.places[region]
        place.up, place.full = place.up and means != "down", place.full or means == "full"

    # ------------------------------------------------------------ acts of a create

    @rule(
        count=st.integers(1, 6), order=orders, need=needs, pick=picks, partial=st.booleans(),
        owner=st.sampled_from(OWNERS), again=st.booleans(),
    )  # fmt: skip
    def place(
        self, *, count: int, order: Sequence[str], need: Resources, pick: str, partial: bool,
        owner: str, again: bool,
    ) -> None:  # fmt: skip
        ids = self.desk.new_ids(count)
        rooms = [list(self.places[region].room(need)) for region in order]
        free = sum(left for left, _ in rooms)
        expected = []
        if free >= count or partial:
            for instance_id in ids[:free]:
                chosen = choose(pick, rooms)
                assert chosen is not None
                rooms[chosen][0] -= 1
                expected.append(Attempt(instance_id, 1, order[chosen]))
        offers = [self.desk.offer(region, *need[1:]) for region in order]
        for _ in range(1 + (again and bool(expected))):
            admitted = self.desk.place(
                *offers, ids=ids, pick=pick, partial=partial, owner=owner, labels=LABEL
            )
            assert list(admitted.attempts) == expected
        for attempt in expected:
            self.owners[attempt.instance_id] = owner
            self.take(attempt, need)
            self.lives[attempt.instance_id] = Life(owner, 1, attempt.region)
            self.due.add(attempt.instance_id)

    @precondition(lambda self: self.attempts)
    @rule(which=anyone, keep=st.booleans(), order=orders, need=needs, pick=picks)
    def move(
        self, *, which: int, keep: bool, order: Sequence[str], need: Resources, pick: str
    ) -> None:
        attempt, life, current = self.known(which)
        failed = self.places[attempt.region].slots
        slot = attempt.instance_id, attempt.number
        if not keep and slot in failed:
            if current and life and life.status == "DELETING":
                failed[slot] = failed[slot]._replace(leased=True)
            else:
                del failed[slot]
        rooms = [list(self.places[region].room(need)) for region in order]
        offers, owner = [self.desk.offer(it, *need[1:]) for it in order], self.owner(attempt)
        moved = self.desk.move(attempt, *offers, keep=keep, pick=pick, owner=owner)
        if not (life and current and life.status == "BUILD"):
            assert moved.outcome == "ended"
            if not keep and life and current and life.status in ("ACTIVE", "ERROR"):
                self.stranded.add(attempt.instance_id)
            return
        chosen = choose(pick, rooms)
        if chosen is None:
            assert moved.outcome == "none"
            life.status, life.server = "ERROR", False
            return
        following = Attempt(attempt.instance_id, attempt.number + 1, order[chosen])
        assert moved.attempt == following
        self.take(following, need)
        life.attempt, life.region, life.server = following.number, following.region, False
        self.stranded.discard(attempt.instance_id)

    @precondition(lambda self: self.attempts)
    @rule(which=anyone)
    def commit(self, which: int) -> None:
        attempt, life, current = self.known(which)
        slots = self.places[attempt.region].slots
        slot = attempt.instance_id, attempt.number
        wanted = slot in slots and current and life and life.status in ("BUILD", "ACTIVE")
        # Of what it does not know the ledger does not say that it is unwanted: it may be lost.
        expected = bool(wanted) or life is None
        if life and not (current and slot in slots):
            expected = life.gives_way(attempt.number)
        assert self.desk.ledger.commit(attempt, server_of(attempt)) == expected
        if life:
            seen = self.prove(attempt)
            life.server = life.server or (seen and current)

    @precondition(lambda self: self.attempts)
    @rule(which=anyone, status=st.sampled_from([Status.BUILD, Status.ACTIVE]))
    def observe(self, which: int, status: Status) -> None:
        attempt, life, current = self.known(which)
        self.desk.ledger.observe(attempt, server_id=server_of(attempt), status=status, addresses=())
        seen = self.prove(attempt, active=status == Status.ACTIVE)
        if not seen or not current or life is None:
            return
        life.server = True
        if life.status == "BUILD" and status == Status.ACTIVE:
            life.status = "ACTIVE"

    @precondition(lambda self: self.attempts)
    @rule(which=anyone)
    def fail(self, which: int) -> None:
        attempt, life, current = self.known(which)
        if life and current and life.status in ("BUILD", "ACTIVE"):
            life.status = "ERROR"
        expected = life.status if life else None
        assert self.desk.ledger.fail(attempt, "broken") == expected

    # ------------------------------------------------------------ acts of the end

    @precondition(lambda self: self.attempts)
    @rule(which=anyone)
    def destroy(self, which: int) -> None:
        instance_id = self.known(which)[0].instance_id
        life = self.lives.get(instance_id)
        if life is None:
            return
        answer = self.desk.ledger.destroy(self.desk.get(instance_id), why="its owner")
        life.for_good = True
        if life.status == "DELETED":
            assert answer == "DELETED"
            return
        life.status = "DELETING"
        held = (instance_id, life.attempt) in self.places[life.region].slots
        assert answer == ("DELETING" if held else "EMPTY")
        self.due = self.due - {instance_id} if held else self.due | {instance_id}

    @precondition(lambda self: self.attempts)
    @rule(which=anyone, end=st.booleans())
    def release(self, which: int, *, end: bool) -> None:
        attempt, life, current = self.known(which)
        known = self.desk.ledger.get([attempt.instance_id])
        freed = self.desk.ledger.release(
            attempt, owner=self.owner(attempt), instance=known[0] if known else None, why="gone",
            end=end,
        )  # fmt: skip
        held = self.places[attempt.region].slots.pop((attempt.instance_id, attempt.number), None)
        assert freed == (held is not None)
        if life and current and life.status != "DELETED" and (life.status != "ERROR" or end):
            life.status = "DELETED"
            self.due.add(attempt.instance_id)
        elif life and current and life.status == "ERROR":
            life.server = False

    @precondition(lambda self: self.attempts)
    @rule(which=anyone)
    def renew(self, which: int) -> None:
        instance_id = self.known(which)[0].instance_id
        life = self.lives.get(instance_id)
        lives = life is not None and life.status not in ("DELETING", "DELETED")
        assert self.desk.ledger.renew(instance_id, 60_000) == lives
        self.due |= {instance_id} if lives else set()

    @rule()
    def forget(self) -> None:
        over = [it for it, life in self.lives.items() if life.status == "DELETED"]
        self.desk.ledger.forget(self.desk.ledger.get(over))
        self.lives = {it: life for it, life in self.lives.items() if it not in over}
        self.due -= set(over)

    # ------------------------------------------------------------ acts of a sweep

    @precondition(lambda self: self.attempts)
    @rule(
        which=anyone, need=needs, newer=st.none() | st.sampled_from(REGIONS),
        building=st.booleans(), more=st.integers(0, 1),
    )  # fmt: skip
    def hold(
        self, *, which: int, need: Resources, newer: str | None, building: bool, more: int
    ) -> None:
        """A server is found, of whatever attempt; maybe of the same number elsewhere."""
        attempt, life, _ = self.known(which)
        if newer:
            tried = [it.number for it in self.attempts if it.instance_id == attempt.instance_id]
            attempt = Attempt(attempt.instance_id, max(tried) + more, newer)
        owner = self.owner(attempt)
        adopted = self.desk.ledger.hold(found(attempt, owner), need, building=building)
        place = self.places[attempt.region]
        if (attempt.instance_id, attempt.number) not in place.slots:
            self.take(attempt, need, leased=False, building=building)
        place.excused = place.over()
        wanted = life is None or life.gives_way(attempt.number)
        assert adopted == wanted
        if wanted:
            self.prove(attempt)
            self.lives[attempt.instance_id] = Life(owner, attempt.number, attempt.region)
            self.lives[attempt.instance_id].server = True
            self.due.add(attempt.instance_id)
            self.stranded.discard(attempt.instance_id)

    # ------------------------------------------------------------ within the model

    def known(self, which: int) -> tuple[Attempt, Life | None, bool]:
        """Return an attempt that once was, its instance, and whether it is the current one."""
        attempt = self.attempts[which % len(self.attempts)]
        life = self.lives.get(attempt.instance_id)
        current = life is not None and (life.attempt, life.region) == attempt[1:]
        return attempt, life, current

    def owner(self, attempt: Attempt) -> str:
        return self.owners[attempt.instance_id]

    def take(
        self, attempt: Attempt, need: Resources, *, leased: bool = True, building: bool = True
    ) -> None:
        slot = attempt.instance_id, attempt.number
        self.places[attempt.region].slots[slot] = Held(need, leased, building)
        if attempt not in self.attempts:
            self.attempts.append(attempt)

    def prove(self, attempt: Attempt, *, active: bool = False) -> bool:
        slots, slot = self.places[attempt.region].slots, (attempt.instance_id, attempt.number)
        if slot in slots:
            building = slots[slot].building and not active
            slots[slot] = slots[slot]._replace(leased=False, building=building)
        return slot in slots

    # ------------------------------------------------------------ what always holds

    @invariant()
    def a_counter_is_the_sum_over_its_slots_and_the_slots_are_the_expected_ones(self) -> None:
        for state in self.desk.ledger.regions(REGIONS):
            slots, place = self.desk.slots(state.region), self.places[state.region]
            shown = {it: (s.need, s.lease_until_ms is not None) for it, s in slots.items()}
            assert shown == {it: (held.need, held.leased) for it, held in place.slots.items()}
            building = sum(held.building for held in place.slots.values())
            assert state.building == self.desk.building(state.region) == building
            assert state.held == place.held()
            assert state.held == sum((it.need for it in slots.values()), Resources())

    @invariant()
    def what_owners_use_is_the_sum_over_their_slots(self) -> None:
        used = dict.fromkeys(OWNERS, Resources())
        for place in self.places.values():
            for (instance_id, _), held in place.slots.items():
                used[self.owners[instance_id]] += held.need
        assert self.desk.ledger.usage(OWNERS) == used

    @invariant()
    def held_and_foreign_never_pass_the_cap_but_by_what_the_cloud_itself_showed(self) -> None:
        for place in self.places.values():
            over = place.over()
            assert all(now <= was for now, was in zip(over, place.excused, strict=True))
            place.excused = over

    @invariant()
    def every_instance_is_in_the_state_and_the_indices_that_it_should_be(self) -> None:
        ledger, keys, members = self.desk.ledger, self.desk.keys, self.desk.members
        shown = {
            it.id: (it.status, it.identity.owner, it.attempt, it.region)
            for it in ledger.get([*self.lives, *{it.instance_id for it in self.attempts}])
        }
        assert shown == {
            it: (life.status, life.owner, life.attempt, life.region)
            for it, life in self.lives.items()
        }
        for owner in OWNERS:
            own = {it: life for it, life in self.lives.items() if life.owner == owner}
            living = sorted(it for it, life in own.items() if life.status != "DELETED")
            assert members(keys.live(owner)) == living
            assert members(keys.labelled(owner, "job", "7")) == living
            assert members(keys.gone(owner)) == sorted(set(own) - set(living))
        assert set(members(keys.due)) == self.due

    @invariant()
    def no_instance_is_lost_from_sight(self) -> None:
        """What lives has its slot, for a sweep to meet, or comes up when it is due."""
        for instance_id, life in self.lives.items():
            slotted = (instance_id, life.attempt) in self.places[life.region].slots
            if life.status in ("BUILD", "ACTIVE"):
                assert slotted or instance_id in self.stranded
            assert slotted or instance_id in self.due


def server_of(attempt: Attempt) -> str:
    """Return the id of the one server that an attempt can have."""
    return f"srv-{attempt.instance_id}-{attempt.number}-{attempt.region}"


def found(attempt: Attempt, owner: str) -> Instance:
    """Return what an attempt's server tells by its marks."""
    return Instance(
        id=attempt.instance_id,
        identity=Identity(owner, "n", LABEL, 1, 4_000_000_000_000),
        status=Status.BUILD,
        region=attempt.region,
        server_id=server_of(attempt),
        image="i",
        flavor="f",
        attempt=attempt.number,
    )


def test_the_books_balance_after_any_acts_in_any_order(desk: Desk) -> None:
    machine = type("BooksOfThisDesk", (Books,), {"desk": desk})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
