"""One sweep of one region: what ledger and cloud each show, what follows, and the doing of it.

It deletes only what is positively known to be unwanted. A server with our marks that the ledger
does not know is adopted; one without is somebody else's and is only counted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from openmultistack.clouds import Clouds, Server, Survey
from openmultistack.domain.pace import Pace
from openmultistack.fleet.config import Fleet
from openmultistack.ledger import Ledger, Slot, View
from openmultistack.provision.leaving import Leaving
from openmultistack.provision.pursuing import Pursuit
from openmultistack.usecases.adopting import Adopting
from openmultistack.usecases.deleting import Deleting
from openmultistack.usecases.doing import Doing
from openmultistack.usecases.judging import Case, Marked, judge
from openmultistack.usecases.marking import Marking, instances_told_of
from openmultistack.usecases.surveying import Surveying
from openmultistack.usecases.swept import Swept
from openmultistack.usecases.yielding import Yielding


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
        pace: Pace,
        adopt_unverified: bool = False,
    ) -> None:
        done: Counter[str] = Counter()
        rule = fleet.configured[region].rule
        swept = Swept(region, ledger, fleet, rule, fleet_name, clouds.region(region), done)
        self._swept = swept
        self._surveying = Surveying(swept)
        self._marking = Marking(swept, adopt_unverified=adopt_unverified)
        self._adopting = Adopting(swept)
        self._yielding = Yielding(region, ledger, clouds)
        self._deleting = Deleting(swept, leaving, pace)
        self._doing = Doing(swept, self._deleting)
        self.done = done
        # Another name of the same place, by which it is swept.
        self.repeats = ""

    @property
    def retries(self) -> list[Pursuit]:
        """Attempts elsewhere at what failed here: the caller pursues them, out of the lock."""
        return self._doing.retries

    def run(self) -> None:
        """Make ledger and cloud agree.

        Raises:
            CloudError: the region does not work; what was done so far stands.
        """
        started_ms = self._swept.ledger.now_ms()
        self.repeats = self._surveying.bind()
        if self.repeats:
            return
        survey = self._surveying.look()
        ids = instances_told_of(survey)
        # Read after the cloud: what the ledger has gained meanwhile is not taken for missing.
        view = self._view(ids)
        recognized, marked = self._marking.recognize(survey, view)
        survey = survey._replace(servers=recognized.servers)
        self._adopting.reach_again(view)
        if self._adopting.hold_unknown(view, marked, started_ms):
            view = self._view(ids)
        # Only when all that is there is counted: the region may be used from here on.
        marks_seen = self._marking.note(view, recognized, marked)
        unread = self._surveying.take(survey, view, marked, marks_seen)
        cases = list(self._judged(survey, view, marked, started_ms))
        self._doing.do_all(cases)
        to_sign = recognized.to_sign - self._deleting.server_ids
        self._marking.sign([it for it in marked.by_attempt.values() if it.id in to_sign])
        self._marking.forget_keypairs(survey, view)
        self._delete_outdone(survey, [it for it in cases if it.act.what == "yield"])
        self._deleting.see_them_gone()
        if unread:
            raise unread

    def _view(self, instance_ids: set[str]) -> View:
        return self._swept.ledger.view(self._swept.region, instance_ids)

    def _judged(
        self, survey: Survey, view: View, marked: Marked, started_ms: int
    ) -> Iterator[Case]:
        """Give the slots about which something is to be done."""
        build_timeout_ms = 1000 * self._swept.rule.build_timeout
        by_id = {server.id: server for server in survey.servers}
        for slot in view.slots:
            of_attempt = marked.by_attempt.get((slot.instance_id, slot.attempt))
            server = by_id.get(slot.server_id or "") or of_attempt
            server = server or self._hidden(slot, started_ms)
            instance = view.instances.get(slot.instance_id)
            act = judge(self._swept.region, slot, instance, server, started_ms, build_timeout_ms)
            if act:
                yield Case(slot, instance, server, act)

    def _hidden(self, slot: Slot, started_ms: int) -> Server | None:
        """Return a server that its cloud has without listing it, as one deleted softly.

        A list may be behind; that there is none of this id is certain.
        """
        if slot.server_id is None or slot.lease_until_ms is not None or slot.since_ms >= started_ms:
            return None
        return self._swept.cloud.show(slot.server_id)

    def _delete_outdone(self, survey: Survey, cases: Sequence[Case]) -> None:
        """Delete servers of other attempts at instances whose present server is seen to live."""
        for it in self._yielding.outdone(survey, cases):
            with self._swept.one_of_many():
                self._deleting.delete_certain(it)
