"""What always holds, with quotas, queue, keys, breakers and drains in any order: the real scripts.

test_machine.py foretells every answer of the acts on slots; here the whole ledger is read before
and after each act, and no act may break a rule that a client or a provider relies on.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
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
from openmultistack.domain.models import Instance, Quota, Resources, Status
from openmultistack.domain.resources import AMOUNTS, LEAST
from openmultistack.ledger import Admitted, Attempt, Key, Queued, Served, Waiting
from openmultistack.ledger.queue import Head, head_of, in_line
from tests.support.desk import Desk

REGIONS = ("alpha/One", "beta/One")
QUOTAS = {
    "alice": Quota(instances=3, creates_per_minute=9),
    "bob": Quota(**dict.fromkeys(AMOUNTS, 7)),
    "carol/ci": Quota(),
}
OWNERS = tuple(QUOTAS)
QUEUE_MAX = 4
MEANINGS = ("down", "full", "stale", "doubt", "doubt", "paused", "")
CLOCKS = ("open_until_ms", "paused_until_ms", "probe_until_ms", "starts_at_ms")
# Each resource there is; of what not every server takes some take none.
needs = st.builds(Resources, st.just(1), *(st.integers(getattr(LEAST, it), 4) for it in AMOUNTS))
caps = st.builds(Resources, st.integers(0, 4), *(st.integers(0, 12) for _ in AMOUNTS))
orders = st.permutations(REGIONS).flatmap(lambda it: st.integers(0, 2).map(lambda n: it[:n]))
bounds = st.none() | st.integers(0, 3)
anyone = st.integers(0, 10**6)
regions = st.sampled_from(REGIONS)


class Books(NamedTuple):
    """The whole ledger at one moment."""

    regions: Mapping[str, Mapping[str, str]]
    slots: Mapping[str, Mapping[str, Mapping[str, Any]]]
    records: Mapping[str, Mapping[str, str]]
    usage: Mapping[str, Resources]
    queue: tuple[str, ...]
    lines: Mapping[str, Sequence[Queued]]
    heads: Sequence[Head]
    shares: str
    due: tuple[str, ...]
    now_ms: int

    def number(self, region: str, field: str) -> int:
        """Return a number of a region's hash; 0 if it is not there."""
        return int(float(self.regions[region].get(field, 0)))

    def held(self, region: str) -> Resources:
        """Return what a region's slots sum up to."""
        return total(self.slots[region].values())

    def takes_nothing(self, region: str) -> bool:
        """Return whether a region must be left alone, or has its one probe out."""
        fields = self.regions[region]
        probed = self.number(region, "failures") >= 3 and self.later(region, "probe_until_ms")
        rests = self.later(region, "open_until_ms") or self.later(region, "paused_until_ms")
        shut = fields.get("state") != "up" or "full" in fields or "drained" in fields
        return probed or rests or shut

    def later(self, region: str, field: str) -> bool:
        """Return whether a time of a region is surely still to come, when an act follows soon."""
        return self.number(region, field) > self.now_ms + 2000


class Rules(RuleBasedStateMachine):
    """Acts of all kinds, on anything that ever was."""

    desk: ClassVar[Desk]

    def __init__(self) -> None:
        super().__init__()
        self.desk.redis.flushdb()
        self.owners: dict[str, str] = {}
        self.attempts: list[Attempt] = []
        self.keys: dict[tuple[str, str], tuple[str, list[str]]] = {}
        for name in REGIONS:
            self.survey(name, Resources(4, *(8 for _ in AMOUNTS)), None, None)

    # ------------------------------------------------------------ regions

    @rule(region=regions, cap=caps, building=bounds, starts=st.none() | st.integers(1, 30))
    def survey(self, region: str, cap: Resources, building: int | None, starts: int | None) -> None:
        foreign = Resources(0, *(1 for _ in AMOUNTS))
        self.desk.ledger.survey(
            region, cap=cap, foreign=foreign, catalogue=None, max_building=building,
            starts_per_minute=starts,
        )  # fmt: skip

    @rule(region=regions)
    def grow(self, region: str) -> None:
        self.survey(region, Resources(6, *(16 for _ in AMOUNTS)), None, None)

    @rule(region=regions)
    def half_open(self, region: str) -> None:
        """Its pause is over, and no probe was sent: of all who ask now, one gets in."""
        self.grow(region)
        self.open(region)
        for _ in range(3):
            self.desk.ledger.report(region, "no", "doubt")
        self.desk.redis.hdel(self.desk.keys.region(region), "probe_until_ms")
        self.time_passes(region, 400_000)
        asked = {"owner": "carol/ci", "count": 2, "partial": True}
        answers = [self.desk.place(region, **asked) for _ in range(3)]
        for admitted in answers:
            self.note("carol/ci", admitted)
        assert sum(len(it.attempts) for it in answers) <= 1

    @rule(region=regions, means=st.sampled_from(MEANINGS))
    def report(self, region: str, means: Any) -> None:
        before = self.books()
        self.desk.ledger.report(region, "no", means, pause_s=60)
        after = self.books()
        assert before.slots == after.slots
        if means == "down":
            assert after.takes_nothing(region)
        if means in ("paused", "full"):
            assert self.desk.place(region, owner="carol/ci").outcome == "full"

    @rule(region=regions, why=st.sampled_from(["", "maintenance"]))
    def drain(self, region: str, why: str) -> None:
        self.desk.ledger.drain(region, why)
        assert self.desk.state(region).state == "drained"

    @rule(region=regions)
    def open(self, region: str) -> None:
        self.desk.ledger.open(region)
        assert self.desk.state(region).drained is None

    @rule(region=regions, ms=st.sampled_from([5000, 60_000, 400_000]))
    def time_passes(self, region: str, ms: int) -> None:
        for field in CLOCKS:
            if self.desk.redis.hexists(self.desk.keys.region(region), field):
                self.desk.later(self.desk.keys.region(region), field, ms)
        for owner in OWNERS:
            if self.desk.redis.hexists(self.desk.keys.usage(owner), "starts_at_ms"):
                self.desk.later(self.desk.keys.usage(owner), "starts_at_ms", ms)

    # ------------------------------------------------------------ acts that take slots

    @rule(
        owner=st.sampled_from(OWNERS), count=st.integers(1, 4), order=orders, need=needs,
        pick=st.sampled_from(["freest", "first", "fullest"]), partial=st.booleans(),
        waits=st.booleans(), key=st.none() | st.sampled_from(["k1", "k2"]),
        body=st.sampled_from(["b1", "b1", "b2"]),
    )  # fmt: skip
    def place(
        self, *, owner: str, count: int, order: Sequence[str], need: Resources,
        key: str | None,
        body: str, waits: bool, **more: object,
    ) -> None:  # fmt: skip
        ids = self.desk.new_ids(count)
        offers = [self.desk.offer(region, *need[1:]) for region in order]
        before = self.books()
        admitted = self.desk.place(
            *offers, ids=ids, owner=owner, quota=QUOTAS[owner],
            key=Key(key, body) if key else None,
            waiting=Waiting(count, QUEUE_MAX, 60_000, QUEUE_MAX) if waits else None, **more,
        )  # fmt: skip
        after = self.taken_rightly(before)
        assert len(after.queue) <= max(QUEUE_MAX, len(before.queue))
        if admitted.outcome != "placed":
            assert after[1:-1] == before[1:-1], "a refused command changes nothing"
        elif waits:
            assert len(admitted.attempts) + len(admitted.queued) == count
        self.answered_as_its_key_says(owner, key, body, admitted)
        self.note(owner, admitted)

    def note(self, owner: str, admitted: Admitted) -> None:
        """Remember what was admitted."""
        for instance_id in admitted.queued:
            self.attempts.append(Attempt(instance_id, 0, ""))
            self.owners[instance_id] = owner
        for attempt in admitted.attempts:
            self.attempts.append(attempt)
            self.owners[attempt.instance_id] = owner

    def answered_as_its_key_says(
        self, owner: str, key: str | None, body: str, admitted: Admitted
    ) -> None:
        """Check a repeat, and remember a first time."""
        known = self.keys.get((owner, key)) if key else None
        if known:
            assert admitted.outcome == ("repeated" if known[0] == body else "conflict")
        else:
            assert admitted.outcome not in ("repeated", "conflict")
        if key and admitted.outcome == "placed":
            ids = sorted([it.instance_id for it in admitted.attempts] + [*admitted.queued])
            self.keys[owner, key] = body, ids

    @rule(region=regions, need=needs)
    def serve(self, region: str, need: Resources) -> None:
        before = self.books()
        order = self.desk.waiting()
        offer = self.desk.offer(region, *need[1:])
        waiting = [Served(it, offer) for it in self.desk.ledger.get(order)]
        attempts, more = self.desk.ledger.serve(region, waiting)
        after = self.taken_rightly(before)
        served = [it.instance_id for it in attempts]
        assert served == [it for it in order if it in served], "in the order of the queue"
        assert set(before.queue) - set(after.queue) == set(served)
        assert not (more and before.takes_nothing(region))
        self.attempts += attempts
        for instance_id in set(order) - set(served):
            blocked = not more or need != LEAST or self.at_quota(after, instance_id, need)
            assert blocked, "one that fits was passed over"

    def at_quota(self, books: Books, instance_id: str, need: Resources) -> bool:
        """Return whether an owner may have no more of a need."""
        owner = self.owners[instance_id]
        used = books.usage[owner]
        return not within(used, used + need, QUOTAS[owner])

    @precondition(lambda self: self.attempts)
    @rule(which=anyone, keep=st.booleans(), wait=st.booleans(), order=orders, need=needs)
    def move(
        self, *, which: int, keep: bool, wait: bool, order: Sequence[str], need: Resources
    ) -> None:
        attempt = self.one(which)
        queues = self.desk.redis.hexists(self.desk.keys.record(attempt.instance_id), "queue")
        offers = [self.desk.offer(region, *need[1:]) for region in order]
        before = self.books()
        moved = self.desk.move(
            attempt, *offers, keep=keep, wait=wait and queues,
            owner=self.owners[attempt.instance_id],
        )  # fmt: skip
        after = self.taken_rightly(before, of_quota=False)
        status = after.records.get(attempt.instance_id, {}).get("status")
        expected = {"moved": "BUILD", "queued": "QUEUED", "none": "ERROR"}
        assert status == expected.get(moved.outcome, status)
        self.attempts += [moved.attempt] if moved.attempt else []

    # ------------------------------------------------------------ acts on what there is

    @precondition(lambda self: self.attempts)
    @rule(which=anyone)
    def commit(self, which: int) -> None:
        attempt = self.one(which)
        before = self.books()
        self.desk.ledger.commit(attempt, f"srv-{attempt.number}")
        assert self.books().queue == before.queue

    @precondition(lambda self: self.attempts)
    @rule(which=anyone, status=st.sampled_from([Status.BUILD, Status.ACTIVE]))
    def observe(self, which: int, status: Status) -> None:
        attempt = self.one(which)
        server_id = f"srv-{attempt.number}"
        self.desk.ledger.observe(attempt, server_id=server_id, status=status, addresses=())

    @precondition(lambda self: self.attempts)
    @rule(which=anyone)
    def fail(self, which: int) -> None:
        self.desk.ledger.fail(self.one(which), "broken")

    @precondition(lambda self: self.attempts)
    @rule(which=anyone)
    def renew(self, which: int) -> None:
        self.desk.ledger.renew(self.one(which).instance_id, 60_000)

    @precondition(lambda self: self.attempts)
    @rule(which=anyone, ends=st.booleans())
    def destroy(self, which: int, *, ends: bool) -> None:
        instance_id = self.one(which).instance_id
        for known in self.desk.ledger.get([instance_id]):
            waited = known.status == Status.QUEUED
            answer = self.desk.ledger.destroy(known, why="its owner")
            assert answer in (("EMPTY",) if waited else ("DELETING", "EMPTY", "DELETED"))
            assert instance_id not in self.desk.waiting()
            if ends and answer == "EMPTY":
                self.desk.end(Attempt(instance_id, known.attempt, known.region))
                assert self.desk.get(instance_id).status == Status.DELETED

    @precondition(lambda self: self.attempts)
    @rule(which=anyone, end=st.booleans())
    def release(self, which: int, *, end: bool) -> None:
        attempt = self.one(which)
        known = self.desk.ledger.get([attempt.instance_id])
        self.desk.ledger.release(
            attempt, owner=self.owners[attempt.instance_id],
            instance=known[0] if known else None, why="gone", end=end,
        )  # fmt: skip

    @precondition(lambda self: self.attempts)
    @rule(which=anyone, region=regions, need=needs, building=st.booleans())
    def hold(self, *, which: int, region: str, need: Resources, building: bool) -> None:
        """A newer attempt's server is found than the ledger knows of, as after a failover."""
        instance_id = self.one(which).instance_id
        number = 1 + max(it.number for it in self.attempts if it.instance_id == instance_id)
        attempt = Attempt(instance_id, number, region)
        self.desk.ledger.hold(self.found(attempt), need, building=building)
        self.attempts.append(attempt)

    def found(self, attempt: Attempt) -> Instance:
        """Return what an attempt's server tells by its marks."""
        return Instance(
            id=attempt.instance_id,
            identity=Identity(self.owners[attempt.instance_id], "n", {}, 1, 4_000_000_000_000),
            status=Status.BUILD,
            image="i",
            flavor="f",
            region=attempt.region,
            server_id=f"srv-{attempt.number}",
            attempt=attempt.number,
        )

    # ------------------------------------------------------------ idempotency keys

    @precondition(lambda self: self.keys)
    @rule(which=anyone)
    def promise(self, which: int) -> None:
        (owner, key), (body, ids) = sorted(self.keys.items())[which % len(self.keys)]
        assert self.desk.ledger.promise(owner, Key(key, body), ids)
        assert all(it.promised for it in self.desk.ledger.get(ids))

    @precondition(lambda self: self.keys)
    @rule(which=anyone, own=st.booleans())
    def give_key_back(self, which: int, *, own: bool) -> None:
        (owner, key), (body, ids) = sorted(self.keys.items())[which % len(self.keys)]
        kept = any(it.promised for it in self.desk.ledger.get(ids))
        self.desk.ledger.give_key_back(owner, Key(key, body), ids if own else ["i-other"])
        if own and not kept:
            del self.keys[owner, key]
            assert not self.desk.ledger.promise(owner, Key(key, body), ids)

    # ------------------------------------------------------------ reading it all

    def one(self, which: int) -> Attempt:
        """Return an attempt that once was, more often a late one."""
        ages = self.attempts[-4:] + self.attempts
        return ages[which % len(ages)]

    def books(self) -> Books:
        """Read the whole ledger at one moment."""
        keys, ids = self.desk.keys, sorted(self.owners)
        with self.desk.redis.pipeline(transaction=True) as pipe:
            for name in REGIONS:
                pipe.hgetall(keys.region(name)).hgetall(keys.slots(name))
            for instance_id in ids:
                pipe.hgetall(keys.record(instance_id))
            for owner in OWNERS:
                pipe.zrange(keys.line(owner), 0, -1, withscores=True)
            pipe.zrange(keys.heads, 0, -1, withscores=True).get(keys.shares)
            pipe.zrange(keys.queue, 0, -1).zrange(keys.due, 0, -1)
            *answers, heads, shares, queue, due = pipe.execute()
        lines, answers = answers[-len(OWNERS) :], answers[: -len(OWNERS)]
        places, records = answers[: 2 * len(REGIONS)], answers[2 * len(REGIONS) :]
        return Books(
            regions=dict(zip(REGIONS, places[::2], strict=True)),
            slots={name: {slot: json.loads(text) for slot, text in slots.items()}
                   for name, slots in zip(REGIONS, places[1::2], strict=True)},
            records={i: it for i, it in zip(ids, records, strict=True) if it},
            usage=self.desk.ledger.usage(OWNERS),
            queue=tuple(sorted(member.rpartition("/")[2] for member in queue)),
            lines={owner: [in_line(*it) for it in line]
                   for owner, line in zip(OWNERS, lines, strict=True)},
            heads=[head_of(*it) for it in heads],
            shares=shares,
            due=tuple(sorted(due)),
            now_ms=self.desk.ledger.now_ms(),
        )  # fmt: skip

    def taken_rightly(self, before: Books, *, of_quota: bool = True) -> Books:
        """Check that an act took only slots that it might take; return what is now."""
        after = self.books()
        for region in REGIONS:
            taken = len(set(after.slots[region]) - set(before.slots[region]))
            if taken:
                never_over(before, after, region)
                assert not before.takes_nothing(region), region
            if before.number(region, "failures") >= 3:
                assert taken <= 1, "half open, one probe is let through"
        for owner, quota in QUOTAS.items():
            if of_quota:
                assert within(before.usage[owner], after.usage[owner], quota), owner
        return after

    # ------------------------------------------------------------ what always holds

    @invariant()
    def every_counter_is_the_sum_over_slots(self) -> None:
        books = self.books()
        for region in REGIONS:
            slots = books.slots[region].values()
            held = books.held(region)
            for what in AMOUNTS:
                assert books.number(region, f"held_{what}") == getattr(held, what)
            assert books.number(region, "building") == sum("building" in it for it in slots)
        everywhere = [it for slots in books.slots.values() for it in slots.values()]
        for owner in OWNERS:
            assert books.usage[owner] == total([it for it in everywhere if it["owner"] == owner])

    @invariant()
    def the_queue_is_those_who_wait_and_all_of_them_are_due_in_the_end(self) -> None:
        books = self.books()
        waiting = [i for i, it in books.records.items() if it["status"] == "QUEUED"]
        assert list(books.queue) == sorted(waiting)
        assert set(waiting) <= set(books.due)
        assert all(books.records[it]["region"] == "" for it in waiting)

    @invariant()
    def the_index_of_the_queue_is_made_of_its_records_and_of_what_their_owners_hold(self) -> None:
        books = self.books()
        waiting = [it for it in books.records.values() if it["status"] == "QUEUED"]
        for owner in OWNERS:
            in_order = sorted(
                (int(it["queue"].partition("/")[0]), int(float(it["created_at_ms"])), it["id"])
                for it in waiting
                if it["owner"] == owner
            )
            line = books.lines[owner]
            assert [(it.priority, it.since_ms, it.instance_id) for it in line] == in_order
            assert all(it.owner == owner for it in line)
        firsts = [Head(line[0], books.usage[owner].instances)
                  for owner, line in books.lines.items() if line]  # fmt: skip
        assert sorted(books.heads) == sorted(firsts)

    @invariant()
    def the_first_in_the_queue_are_found_without_reading_all_of_it(self) -> None:
        queue = self.desk.ledger.queue()
        for limit in (1, 2, 5):
            assert self.desk.ledger.next_in_queue(limit) == queue[:limit]
        assert self.desk.ledger.queue_length() == len(queue)

    @invariant()
    def a_regions_share_is_what_its_books_say_or_it_is_hidden(self) -> None:
        books = self.books()
        for name in REGIONS:
            at = 2 * books.number(name, "number")
            share = 128 * ord(books.shares[at]) + ord(books.shares[at + 1])
            shut = books.takes_nothing(name) and not books.later(name, "probe_until_ms")
            assert share in ({0} if shut else {0, share_of(books, name)})

    @invariant()
    def an_instance_has_one_current_slot_at_most_and_the_living_are_met_again(self) -> None:
        books = self.books()
        slotted = Counter(slot for slots in books.slots.values() for slot in slots)
        for instance_id, record in books.records.items():
            current = slotted[f"{instance_id}/{record['attempt']}"]
            assert current <= 1
            assert current or instance_id in books.due

    @invariant()
    def those_who_wait_are_in_a_fair_order(self) -> None:
        queue, used = self.desk.ledger.queue(), self.desk.ledger.usage(OWNERS)
        has = Counter({owner: it.instances for owner, it in used.items()})
        for one, other in pairwise(queue):
            assert one.priority <= other.priority
            if one.priority == other.priority:
                assert has[one.owner] <= has[other.owner] or one.owner == other.owner
            has[one.owner] += 1

    @invariant()
    def a_key_stands_for_what_was_made_under_it(self) -> None:
        for (owner, key), (body, ids) in self.keys.items():
            assert self.desk.ledger.made_under(owner, Key(key, body)) == ids


def total(slots: Sequence[Mapping[str, Any]] | Any) -> Resources:
    """Return what slots sum up to."""
    return sum((Resources(1, *(it.get(what, 0) for what in AMOUNTS)) for it in slots), Resources())


def within(before: Resources, used: Resources, quota: Quota) -> bool:
    """Return whether what of a usage grew is within a quota."""
    bounds = quota.bounds()
    grown = {what for what in Resources._fields if getattr(used, what) > getattr(before, what)}
    return all(getattr(used, it) <= bounds[it] for it in grown & bounds.keys())


def share_of(books: Books, region: str) -> int:
    """Return the share of a region that its caps and slots give."""
    shares = []
    for what, count in books.held(region)._asdict().items():
        if not getattr(LEAST, what):
            continue
        foreign, cap = (books.number(region, f"{kind}_{what}") for kind in ("foreign", "cap"))
        shares.append((cap - foreign - count) / cap if cap else 0)
    return 1 + int(min(shares) * (128 * 128 - 2)) if min(shares) > 0 else 0


def never_over(before: Books, books: Books, region: str) -> None:
    """Check that what a region holds more than before is within its cap and its bounds."""
    was = before.held(region)
    for what, count in books.held(region)._asdict().items():
        if count <= getattr(was, what):
            continue
        foreign, cap = (books.number(region, f"{kind}_{what}") for kind in ("foreign", "cap"))
        assert count + foreign <= cap, (region, what)
    if "max_building" in books.regions[region]:
        assert books.number(region, "building") <= books.number(region, "max_building")


def test_no_act_breaks_a_rule_in_any_order(desk: Desk) -> None:
    machine: Callable[[], Rules] = type("RulesOfThisDesk", (Rules,), {"desk": desk})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
