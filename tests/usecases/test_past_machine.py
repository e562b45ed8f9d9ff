"""The ledger is rolled back to any earlier moment, at any step, while one region is slow.

Whatever was forgotten: no living server goes unless another one of its instance lives, no sweep
takes what lives for over, two sweeps later each has one, and every count is exact at any time.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openmultistack.clouds import Attempted, Server
from openmultistack.domain.cloud_errors import Unreachable
from openmultistack.domain.errors import CapacityExhausted, NoRegionReady, NoRegionWorked, QueueFull
from openmultistack.domain.models import Instance, Resources, Status
from openmultistack.usecases.expiring import Expiring
from tests.support.house import QUIET, House

A, B, C = "alpha/One", "alpha/Two", "beta/One"
REGIONS = (A, B, C)
# Of so few slots that most of what is forgotten has to be told apart from something else.
ROOMS = [(1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 2, 2)]
OWNERS = ("alice", "bob")
NO_HOST = "No valid host was found. "
STAGE = {Status.ERROR: 0, Status.BUILD: 1, Status.ACTIVE: 2}
AWAY = Unreachable("connection refused")
anyone = st.integers(0, 10**6)
regions = st.sampled_from(REGIONS)
orders = st.permutations(REGIONS).flatmap(lambda it: st.integers(0, 3).map(lambda n: it[:n]))


class Rollbacks(RuleBasedStateMachine):
    """Clients, clouds and sweeps; and a ledger that goes back."""

    make: ClassVar[Callable[..., House]]

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, Instance] = {}
        # Over as the world goes, whatever an old ledger has of them.
        self.ended: set[str] = set()
        self.expired: set[str] = set()
        self.slow = ""

    @initialize(rooms=st.sampled_from(ROOMS))
    def begin(self, rooms: Sequence[int]) -> None:
        """Have a fleet of few slots, of which nothing is used."""
        self.house = self.make(dict(zip(REGIONS, rooms, strict=True)))
        self.pasts = [self.house.past()]
        for region, cloud in self.house.clouds.items():
            cloud.delete = self.watched(region, cloud.delete)

    def watched(self, region: str, delete: Callable[..., None]) -> Callable[..., None]:
        """Return a cloud's delete, which must not take what lives and is the only one."""

        def watched_delete(server_id: str, keypair_of: Attempted | None = None) -> None:
            server = self.house.clouds[region].servers.get(server_id)
            if server and server.marks and server.marks.instance_id not in self.ended:
                others = [it for _, it in self.living(server.marks.instance_id)]
                worth = [it for it in others if it.id != server_id]
                assert server.status == Status.ERROR or any(
                    STAGE[it.status] >= STAGE[server.status] for it in worth
                ), f"{server.marks.instance_id}: the only one that lives, in {region}"
            delete(server_id, keypair_of)

        return watched_delete

    # ------------------------------------------------------------ clients

    @rule(
        owner=st.sampled_from(OWNERS), count=st.integers(1, 3), waits=st.booleans(),
        fails=st.booleans(), key=st.none() | st.sampled_from(["k1", "k2"]),
        order=st.permutations(REGIONS).map(lambda it: it[:2]),
    )  # fmt: skip
    def create(
        self,
        *,
        owner: str,
        count: int,
        waits: bool,
        key: str | None,
        order: Sequence[str],
        fails: bool,
    ) -> None:
        more: dict[str, Any] = {"on_full": "queue"} if waits else {"partial": True}
        key = f"{key}-{count}-{waits}-{order}" if key else ""
        with suppress(CapacityExhausted, NoRegionReady, NoRegionWorked, QueueFull):
            made = self.house.create(
                count, owner=owner, labels={"job": "7"}, regions=list(order), key=key, **more
            )
            self.made |= {it.id: it for it in made}
            for region in {it.region for it in made if it.region} if fails else ():
                self.fail_builds(region)

    @precondition(lambda self: self.made)
    @rule(which=anyone)
    def destroy(self, which: int) -> None:
        wanted = self.one(which)
        for known in self.house.ledger.get([wanted.id]):
            self.ended.add(known.id)
            self.house.destroy(known)
            self.house.settle()
            self.every_moment_is_one_to_come_back_to()
            if known.region:  # its slot is given on
                self.sweep(known.region)

    @precondition(lambda self: self.made)
    @rule(which=anyone)
    def expire(self, which: int) -> None:
        """Its time is up, as every moment of the ledger has it, and its servers."""
        wanted = self.one(which)
        self.ended.add(wanted.id)
        self.expired.add(wanted.id)
        self.let_expire()

    def let_expire(self) -> None:
        house = self.house
        for instance in house.ledger.get(sorted(self.expired)):
            if instance.status not in (Status.DELETING, Status.DELETED):
                house.redis.hset(house.keys.record(instance.id), "expires_at_ms", 1)
                house.redis.zadd(house.keys.due, {instance.id: 1})
        for cloud in house.clouds.values():
            for it in list(cloud.servers.values()):
                if it.marks and it.marks.instance_id in self.expired:
                    identity = it.marks.identity._replace(expires_at_ms=1)
                    marks = it.marks._replace(identity=identity)
                    cloud.servers[it.id] = it._replace(marks=marks)

    # ------------------------------------------------------------ clouds and sweeps

    @rule(region=regions)
    def fail_builds(self, region: str) -> None:
        """What is built in a region fails, and goes on elsewhere."""
        self.every_moment_is_one_to_come_back_to()
        cloud = self.house.clouds[region]
        cloud.build_fault = NO_HOST
        cloud.settle()
        self.sweep(region)
        cloud.build_fault = None
        cloud.settle()

    @precondition(lambda self: self.made)
    @rule(which=anyone)
    def vanish(self, which: int) -> None:
        """A server is gone behind our back."""
        wanted = self.one(which).id
        for cloud in self.house.clouds.values():
            for it in [it for it in cloud.servers.values() if it.marks]:
                if it.marks.instance_id == wanted:
                    del cloud.servers[it.id]
                    return

    @rule(region=regions | st.just(""))
    def slow_down(self, region: str) -> None:
        """One region does not answer from now on; the one that did not is well again."""
        for name, cloud in self.house.clouds.items():
            cloud.fails(AWAY if name == region else None)
        if self.slow and self.slow != region:
            self.sweep(self.slow)
        self.slow = region

    @rule(region=regions, what=st.sampled_from(["settle", "sweep", "lapse", "reap"]))
    def go_on(self, region: str, what: str) -> None:
        if what == "settle":
            self.house.clouds[region].settle()
        elif what == "lapse":
            self.house.lapse()
        elif what == "sweep":
            self.sweep(region)
        else:
            self.reap()

    def reap(self) -> None:
        expiring = Expiring(
            self.house.ledger, self.house.fleet, self.house.destroying, self.house.pace
        )
        expiring.end_due()  # one region after another: it is repeatable
        for region in REGIONS:
            self.sweep(region)

    def sweep(self, region: str) -> None:
        """Sweep a region; nothing that lives, and that the ledger knows, is over after it."""
        lives = self.known_and_living()
        self.house.reaping.sweep(region)
        for it in self.house.ledger.get(sorted(lives)):
            assert it.status not in (Status.DELETING, Status.DELETED), (region, it)

    def known_and_living(self) -> set[str]:
        """Return the instances whose server, as the ledger has it, lives."""
        return {
            it.id
            for it in self.house.ledger.get(sorted(set(self.made) - self.ended))
            if it.status in (Status.BUILD, Status.ACTIVE)
            and any((it.region, it.server_id) == (at, s.id) for at, s in self.living(it.id))
        }

    # ------------------------------------------------------------ time goes back

    @rule(which=st.integers(1, 3) | st.integers(1, 25), order=orders, settles=st.booleans())
    def roll_back(self, which: int, order: Sequence[str], *, settles: bool) -> None:
        """Go back to one of the latest moments; some regions are swept, and serve, at once."""
        self.come_back(self.pasts[-min(which, len(self.pasts))])
        self.sweep_some(order, settles=settles)

    def sweep_some(self, order: Sequence[str], *, settles: bool) -> None:
        for region in order:
            self.sweep(region)
            if settles:
                self.house.settle()

    @rule(
        owner=st.sampled_from(OWNERS), order=st.permutations(REGIONS), after=orders,
        settles=st.booleans(),
    )  # fmt: skip
    def forget_a_move(
        self, *, owner: str, order: list[str], after: Sequence[str], settles: bool
    ) -> None:
        """Go back to just before the last instance went on elsewhere; it goes on once more."""
        moments = len(self.pasts)
        self.create(owner=owner, count=1, waits=False, fails=True, key=None, order=order)
        if len(self.pasts) > moments:
            self.roll_back(1, [order[0], *after], settles=settles)

    @rule(
        owner=st.sampled_from(OWNERS), rooms=st.permutations(REGIONS), after=orders,
        built=st.booleans(), settles=st.booleans(), twice=st.booleans(),
    )  # fmt: skip
    def forget_a_serve(
        self,
        *,
        owner: str,
        rooms: Sequence[str],
        after: Sequence[str],
        built: bool,
        settles: bool,
        twice: bool,
    ) -> None:
        """Go back to when one waited that was served since; it is served again, elsewhere.

        With `twice` that is forgotten, too: the ledger believes what was so at first.
        """
        past = self.let_one_wait(owner)
        self.make_room(rooms[0])
        if built or twice:
            self.house.settle()
            self.sweep(rooms[0])
        served = self.house.past()
        self.come_back(past)
        self.make_room(rooms[1])
        if twice:
            self.house.settle()
            self.sweep_some([rooms[1], rooms[0]], settles=True)
            self.come_back(served)
            self.sweep(rooms[1])
        self.sweep_some(after, settles=settles)
        if settles:  # the twin, if there is one, goes, and its slot with it
            self.sweep_some([rooms[1], rooms[0], rooms[0]], settles=True)

    def let_one_wait(self, owner: str) -> House:
        """Have more than there is room for; return that moment."""
        clouds = self.house.clouds.values()
        free = sum(max(0, it.quota.instances - len(it.servers)) for it in clouds)
        self.create(owner=owner, count=free + 1, waits=True, fails=False, key=None, order=REGIONS)
        self.house.settle()
        return self.house.past()

    def come_back(self, past: House) -> None:
        """Have the ledger of a moment; what is over as the world goes stays so."""
        past.come_back()
        self.let_expire()

    def make_room(self, region: str) -> None:
        """Have one destroyed that is in a region; who waits gets its slot."""
        there = [it for it in self.house.ledger.get(sorted(self.made)) if it.region == region]
        for it in [it for it in there if it.status in (Status.BUILD, Status.ACTIVE)][:1]:
            self.ended.add(it.id)
            self.house.destroy(it)
            self.house.clouds[region].settle()
        self.sweep(region)

    @invariant()
    def every_moment_is_one_to_come_back_to(self) -> None:
        self.pasts.append(self.house.past())

    @invariant()
    def counts_are_exact(self) -> None:
        """Whatever the ledger has forgotten: its counts are those of its slots."""
        house, used = self.house, dict.fromkeys(OWNERS, Resources())
        for region in REGIONS:
            slots = house.slots(region).values()
            for it in slots:
                used[it.owner] += it.need
            needs = [it.need for it in slots]
            state = house.state(region)
            assert state.held == sum(needs, Resources()), region
            building = sum("building" in it for it in house.redis.hvals(house.keys.slots(region)))
            assert state.building == building, region
        assert house.ledger.usage(OWNERS) == used

    # ------------------------------------------------------------ what holds then

    def one(self, which: int) -> Instance:
        """Return an instance that was made."""
        return list(self.made.values())[which % len(self.made)]

    def living(self, instance_id: str) -> Iterator[tuple[str, Server]]:
        """Give the servers of an instance that live, with their regions; copies aside."""
        for region, cloud in self.house.clouds.items():
            attempts = set()
            for it in cloud.servers.values():
                if not it.marks or it.marks.instance_id != instance_id or it.id in cloud._leaving:  # noqa: SLF001
                    continue
                if it.status != Status.ERROR and it.marks.attempt not in attempts:
                    attempts.add(it.marks.attempt)
                    yield region, it

    def teardown(self) -> None:
        house = self.house
        for region, cloud in house.clouds.items():
            cloud.fails(None)
            self.sweep(region)
        house.lapse()
        lived = {it for it in self.made if it not in self.ended and any(self.living(it))}
        house.settle()
        self.reap()
        house.settle()
        self.reap()
        for instance_id in self.made:
            found = list(self.living(instance_id))
            assert len(found) <= 1, instance_id
            assert found or instance_id not in lived, instance_id
            for region, server in found:
                known = house.get(instance_id)
                assert (known.region, known.server_id) == (region, server.id)
                assert known.attempt == server.marks.attempt
        house.come_to_rest()
        self.books_are_exact()

    def books_are_exact(self) -> None:
        house = self.house
        instances = {it.id: it for it in house.ledger.get(sorted(self.made))}
        self.counts_are_exact()
        for region, cloud in house.clouds.items():
            slots, servers = house.slots(region), cloud.servers.values()
            assert set(slots) == set(cloud.ours()), region
            assert {it.server_id for it in slots.values()} <= {it.id for it in servers}
            state = house.state(region)
            assert state.held + state.foreign == sum((it.need for it in servers), Resources())
        waiting = Counter(it.instance_id for it in house.ledger.queue())
        assert waiting == Counter(i for i, it in instances.items() if it.status == Status.QUEUED)
        for owner in OWNERS:
            own = {i: it for i, it in instances.items() if it.identity.owner == owner}
            live = {i for i, it in own.items() if it.status != Status.DELETED}
            keys = house.keys
            # Those that nobody was told of are none of these.
            told = set(instances)
            assert self.listed(keys.live(owner)) & told == live
            assert self.listed(keys.labelled(owner, "job", "7")) & told == live
            assert self.listed(keys.gone(owner)) & told == set(own) - live
        leaving = {i for i, it in instances.items() if it.status == Status.DELETING}
        assert self.listed(house.keys.due) >= set(instances) - leaving

    def listed(self, key: str) -> set[str]:
        """Return the members of an index."""
        return set(self.house.redis.zrange(key, 0, -1))


def test_rolled_back_to_any_moment_nothing_that_lives_is_deleted(
    make_house: Callable[..., House], redis: Any
) -> None:
    pace = QUIET._replace(repeat_wait_s=0.0)

    def make(*given: Any) -> House:
        redis.flushdb()
        return make_house(*given, pace=pace)

    machine = type("RollbacksOfThisHouse", (Rollbacks,), {"make": staticmethod(make)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=15,
            deadline=None,
            # Examples are long, and to shorten one takes longer than to read it.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
