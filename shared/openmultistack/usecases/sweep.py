"""One sweep of one region: what ledger and cloud each show, what follows, and the doing of it.

It deletes only what is positively known to be unwanted. A server with our marks that the ledger
does not know is adopted; one without is somebody else's and is only counted.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from openmultistack.clouds import Attempted, Clouds, Server, Survey
from openmultistack.clouds.meanings import is_quota
from openmultistack.domain.errors import CloudError, RateLimited, Unreachable
from openmultistack.domain.models import Instance, Place, Resources, Status
from openmultistack.fleet.config import Fleet
from openmultistack.ledger import DISABLED_RANK, Attempt, Gone, Ledger, Seen, Slot, View
from openmultistack.logs import tell_deletion
from openmultistack.provision.leaving import Leaver, Leaving
from openmultistack.provision.planning import wanted_again
from openmultistack.provision.pursuing import Pursuit
from openmultistack.usecases.judging import Act, Case, Marked, judge, may_be_adopted
from openmultistack.usecases.marking import Marking, instances_told_of
from openmultistack.usecases.recognizing import Recognized
from openmultistack.usecases.yielding import Yielding

# What a region offers changes rarely; what proves stale is read again at once.
CATALOGUE_MAX_AGE_MS = 10 * 60 * 1000
# How long a sweep stays to see its own deletions come true, so that slots come back with it.
GONE_WITHIN_S = 3.0
GONE_POLL_S = 0.4


class Sweep:
    """One sweep of one region; `run` it once, under the region's lock."""

    def __init__(
        self,
        region: str,
        *,
        ledger: Ledger,
        fleet: Fleet,
        fleet_name: str,
        clouds: Clouds,
        leaving: Leaving,
        adopt_unverified: bool = False,
    ) -> None:
        self._region = region
        self._ledger = ledger
        self._fleet = fleet
        self._rule = fleet.configured[region].rule
        self._fleet_name = fleet_name
        self._cloud = clouds.region(region)
        self._marking = Marking(
            region,
            self._cloud,
            ledger,
            fleet,
            fleet_name,
            self._one_of_many,
            adopt_unverified=adopt_unverified,
        )
        self._yielding = Yielding(region, ledger, clouds)
        self._leaving = leaving
        self._leavers: list[Leaver] = []
        # Attempts elsewhere at what failed here: the caller pursues them, out of the lock.
        self.retries: list[Pursuit] = []
        self.done: Counter[str] = Counter()
        # Another name of the same place, by which it is swept.
        self.repeats = ""

    def run(self) -> None:
        """Make ledger and cloud agree.

        Raises:
            CloudError: the region does not work; what was done so far stands.
        """
        started_ms = self._ledger.now_ms()
        if not self._bind():
            return
        survey = self._seen(self._cloud.survey())
        ids = instances_told_of(survey)
        # Read after the cloud: what the ledger has gained meanwhile is not taken for missing.
        view = self._ledger.view(self._region, ids)
        recognized, marked = self._marking.recognize(survey, view)
        survey = survey._replace(servers=recognized.servers)
        self._reach_again(view)
        if self._hold_unknown(view, marked, started_ms):
            view = self._ledger.view(self._region, ids)
        # Only when all that is there is counted: the region may be used from here on.
        unread = self._take(survey, view, marked, recognized)
        cases = list(self._judged(survey, view, marked, started_ms))
        self._do_all(cases)
        gone = {it.server_id for it in self._leavers}
        to_sign = recognized.to_sign - gone
        self._marking.sign([it for it in marked.by_attempt.values() if it.id in to_sign])
        self._marking.forget_keypairs(survey, view)
        self._delete_outdone(survey, [it for it in cases if it.act.what == "yield"])
        self._see_them_gone()
        if unread:
            raise unread

    def _bind(self) -> bool:
        """Take the region's place under its name; False if another name has it already."""
        ranks = {name: line for line, name in enumerate(self._fleet.regions)}
        ranks |= {name: DISABLED_RANK + at for at, name in enumerate(self._fleet.disabled)}
        bound = self._ledger.bind(self._region, self._place(), ranks)
        if bound.outcome == "duplicate":
            self.repeats = bound.of
        return bound.outcome != "duplicate"

    def _place(self) -> Place:
        """Return what the region is; one that cannot be asked may be none that it once was."""
        try:
            return self._cloud.place()
        except CloudError:
            self._ledger.stand_alone(self._region)
            raise

    def _seen(self, survey: Survey) -> Survey:
        """Return what the cloud shows as clients have it."""
        without_address = self._fleet.shows_no_address(self._region)
        return survey._replace(
            servers=tuple(it.seen(without_address=without_address) for it in survey.servers)
        )

    def _judged(
        self, survey: Survey, view: View, marked: Marked, started_ms: int
    ) -> Iterator[Case]:
        """Give the slots about which something is to be done."""
        build_timeout_ms = 1000 * self._rule.build_timeout
        by_id = {server.id: server for server in survey.servers}
        for slot in view.slots:
            of_attempt = marked.by_attempt.get((slot.instance_id, slot.attempt))
            server = by_id.get(slot.server_id or "") or of_attempt
            server = server or self._hidden(slot, started_ms)
            instance = view.instances.get(slot.instance_id)
            act = judge(self._region, slot, instance, server, started_ms, build_timeout_ms)
            if act:
                yield Case(slot, instance, server, act)

    def _hidden(self, slot: Slot, started_ms: int) -> Server | None:
        """Return a server that its cloud has without listing it, as one deleted softly.

        A list may be behind; that there is none of this id is certain.
        """
        if slot.server_id is None or slot.lease_until_ms is not None or slot.since_ms >= started_ms:
            return None
        return self._cloud.show(slot.server_id)

    def _take(
        self, survey: Survey, view: View, marked: Marked, recognized: Recognized
    ) -> CloudError | None:
        """Write down caps, foreign usage and, when it is old, the catalogue.

        Copies of an attempt's server hold no slot of ours: they count as foreign. Returns why the
        catalogue cannot be read: nothing new may go there then, and all else goes on.
        """
        # One in a cell that is down tells of no marks; what holds a slot is no stranger.
        ours = {slot.server_id for slot in view.slots}
        others = [it for it in survey.servers if it.marks is None and it.id not in ours]
        others += marked.copies
        marks_seen = self._marking.note(view, recognized, marked)
        age_ms = self._ledger.catalogue_age_ms(self._region)
        old = age_ms is None or age_ms > CATALOGUE_MAX_AGE_MS
        try:
            catalogue = self._cloud.catalogue() if old else None
        except RateLimited:
            raise
        except CloudError as error:
            return error
        self._ledger.survey(
            self._region,
            cap=self._cap(survey.quota),
            foreign=sum((it.need for it in others), Resources()),
            catalogue=catalogue,
            max_building=self._rule.max_building,
            starts_per_minute=self._rule.starts_per_minute,
            retiring=not self._rule.enabled,
            marks_seen=marks_seen,
        )
        return None

    def _cap(self, quota: Resources) -> Resources:
        own = self._rule.cap.model_dump(exclude_none=True)
        return Resources(
            **{what: min(bound, own.get(what, bound)) for what, bound in quota._asdict().items()}
        )

    def _hold_unknown(self, view: View, marked: Marked, started_ms: int) -> bool:
        """Give every marked server a slot, so that it counts; adopt what the ledger does not know.

        One may have gone since it was listed, and its slot with it: the cloud is asked again.
        """
        slots = {(it.instance_id, it.attempt): it for it in view.slots}
        unknown = [
            (key, server)
            for key, server in marked.by_attempt.items()
            if may_be_adopted(
                self._region, slots.get(key), view.instances.get(key[0]), server, started_ms
            )
            # It is known, whatever is known of it.
            and key[0] not in view.unreadable
        ]
        present = self._cloud.present() if unknown else ()
        strays = [it for it in unknown if it[1].id in present or self._cloud.show(it[1].id)]
        for key, server in strays:
            self.done["adopted"] += self._ledger.hold(
                _found(self._region, server),
                server.need,
                building=server.status == Status.BUILD,
                failed=_failure(server),
                was_in=_was_in(self._region, view.instances.get(key[0]), server),
            )
        return bool(strays)

    def _reach_again(self, view: View) -> None:
        """Take back what was said of instances while no entry of clouds.yaml led here."""
        stranded = [
            it.id for it in view.instances.values() if it.stranded and it.region == self._region
        ]
        if stranded:
            self._ledger.unstrand(self._region, stranded)

    @contextmanager
    def _one_of_many(self) -> "Iterator[None]":
        """Leave what is refused to the next sweep; an outage or a rate limit ends this one."""
        try:
            yield
        except (Unreachable, RateLimited):
            raise
        except CloudError as error:
            self._ledger.report(self._region, str(error), "")

    def _do_all(self, cases: Sequence[Case]) -> None:
        """Do first what concerns the ledger alone, all at once; then ask the cloud, one by one."""
        self._observe([it for it in cases if it.act.what == "observe"])
        self._release([it for it in cases if it.act.what == "release"])
        for it in cases:
            with self._one_of_many():
                self._do(it.act, it.slot, it.instance, it.server)

    def _attempt(self, slot: Slot) -> Attempt:
        return Attempt(slot.instance_id, slot.attempt, self._region)

    def _observe(self, cases: Sequence[Case]) -> None:
        self._ledger.observe_all(
            [
                Seen(
                    self._attempt(it.slot),
                    server.id,
                    server.status,
                    server.addresses,
                    server.cloud_status,
                )
                for it in cases
                if (server := it.server)
            ]
        )
        for slot, instance, server, _ in cases:
            active = server is not None and server.status == Status.ACTIVE
            built = active and instance is not None and instance.status == Status.BUILD
            self.done["adopted"] += slot.server_id is None
            self.done["activated"] += built

    def _release(self, cases: Sequence[Case]) -> None:
        freed = self._ledger.release_all(
            [Gone(self._attempt(it.slot), it.slot.owner, it.instance, it.act.why) for it in cases]
        )
        self.done["released"] += sum(freed)

    def _do(self, act: Act, slot: Slot, instance: Instance | None, server: Server | None) -> None:
        if server and server.status == Status.ERROR and is_quota(server.fault or ""):
            self._ledger.report(self._region, act.why, "full")
        if act.what == "retry" and instance:
            self._retry(self._attempt(slot), slot, instance, server, act.why)
        elif act.what == "fail":
            self._ledger.fail(self._attempt(slot), act.why)
            self.done["failed"] += 1
        elif act.what == "delete" and server and self._is_certain(slot, server):
            self._delete(slot, instance, server, act.why)
        elif act.what == "prolong" and server and server.marks:
            self._ledger.prolong(self._attempt(slot), server.marks.expires_at_ms)
        elif act.what == "mark" and server and server.marks and instance:
            marks = server.marks._replace(expires_at_ms=instance.expires_at_ms)
            self._cloud.mark(server.id, marks)

    def _is_certain(self, slot: Slot, server: Server) -> bool:
        """Whether the cloud shows a server as this very attempt's: else it may be anybody's."""
        attempted = Attempted(slot.instance_id, slot.attempt)
        marked = server.marks is not None and server.marks.attempted == attempted
        certain = marked or (server.id == slot.server_id and server.is_of(attempted))
        if not certain:
            said = f"server {server.id} lacks the marks of {slot.instance_id}/{slot.attempt}"
            self._ledger.report(self._region, f"{said}: it is not deleted", "")
        return certain

    def _delete(self, slot: Slot, instance: Instance | None, server: Server, why: str) -> None:
        attempt = self._attempt(slot)
        if slot.server_id is None:
            # Found: its slot comes back when the server is gone, and waits for no lease.
            self._ledger.observe(
                attempt, server_id=server.id, status=server.status, addresses=server.addresses
            )
        tell = partial(
            tell_deletion,
            region=self._region,
            instance=attempt.instance_id,
            attempt=attempt.number,
            server=server.id,
            why=why,
        )
        try:
            keyed = server.marks is None or server.marks.has_keypair
            its_keypair = Attempted(slot.instance_id, slot.attempt) if keyed else None
            asked = self._cloud.delete(server.id, its_keypair)
        except CloudError as error:
            tell(cloud_request_id=error.cloud_request_id, failed=str(error))
            raise
        self._leavers.append(Leaver(attempt, slot.owner, instance, server.id))
        self.done["deleted"] += 1
        tell(cloud_request_id=asked)

    def _retry(
        self, attempt: Attempt, slot: Slot, instance: Instance, server: Server | None, why: str
    ) -> None:
        """Try an instance elsewhere; the slot of a failed server is held until it is gone."""
        if server:
            # Not here again. Where nothing was made, nothing failed: our own end came between.
            tried = {**instance.tried, self._region: why}
            instance = instance._replace(tried=tried)
        wanted = wanted_again(self._ledger, self._fleet, self._fleet_name, instance, {})
        placed_at = time.monotonic()
        moved = self._ledger.move(
            attempt,
            owner=instance.owner,
            why=why,
            keep=server is not None,
            blame=server is not None,
            promised=True,
            wait=wanted is not None and wanted.command.on_full == "queue",
            offers=wanted.offers if wanted else (),
            pick=wanted.pick if wanted else "freest",
        )
        if moved.attempt and wanted:
            self.retries.append(Pursuit(moved.attempt, wanted, placed_at))
        self.done["retried"] += moved.outcome in ("moved", "queued")
        self.done["failed"] += moved.outcome == "none"
        if server and self._is_certain(slot, server):
            self._delete(slot, instance, server, why)

    def _delete_outdone(self, survey: Survey, cases: Sequence[Case]) -> None:
        """Delete servers of other attempts at instances whose present server is seen to live."""
        for it in self._yielding.outdone(survey, cases):
            if it.server and self._is_certain(it.slot, it.server):
                with self._one_of_many():
                    self._delete(it.slot, it.instance, it.server, it.act.why)

    def _see_them_gone(self) -> None:
        """Stay a moment, so that slots of servers deleted by this sweep come back with it."""
        until = time.monotonic() + GONE_WITHIN_S
        waiting = self._leavers
        while waiting and time.monotonic() < until:
            time.sleep(GONE_POLL_S)
            gone = self._leaving.release(self._region, waiting)
            self.done["released"] += len(gone)
            waiting = [it for it in waiting if it not in gone]
        self._leaving.follow(waiting)


def _failure(server: Server) -> str | None:
    return (server.fault or "the cloud shows ERROR") if server.status == Status.ERROR else None


def _was_in(region: str, instance: Instance | None, server: Server) -> str | None:
    """Return the other region in which the ledger has this very server."""
    moved = instance and instance.server_id == server.id and instance.region != region
    return instance.region if instance and moved else None


def _found(region: str, server: Server) -> Instance:
    """Return the instance that a server's marks tell of."""
    if server.marks is None:
        raise ValueError("a server without marks tells of no instance")
    marks = server.marks
    return Instance(
        id=marks.instance_id,
        name=marks.name,
        status=Status.BUILD,
        owner=marks.owner,
        region=region,
        server_id=server.id,
        image=server.image,
        flavor=server.flavor,
        labels=marks.labels,
        attempt=marks.attempt,
        created_at_ms=marks.created_at_ms,
        expires_at_ms=marks.expires_at_ms,
        has_keypair=marks.has_keypair,
        idempotency=marks.idempotency,
    )
