"""Surveying: what a sweep writes down of a region: its place, its room, what it offers."""

from openmultistack.clouds import Survey
from openmultistack.domain.cloud_errors import CloudError, RateLimited
from openmultistack.domain.models import Resources
from openmultistack.domain.regions import Place
from openmultistack.ledger import DISABLED_RANK, MarksSeen, View
from openmultistack.usecases.judging import Marked
from openmultistack.usecases.swept import Swept

# What a region offers changes rarely; what proves stale is read again at once.
CATALOGUE_MAX_AGE_MS = 10 * 60 * 1000


class Surveying:
    """Surveys one region, in one sweep of it."""

    def __init__(self, swept: Swept) -> None:
        self._swept = swept

    def bind(self) -> str:
        """Take the region's place under its name; return the other name that has it, if any."""
        ranks = {name: line for line, name in enumerate(self._swept.fleet.regions)}
        ranks |= {name: DISABLED_RANK + at for at, name in enumerate(self._swept.fleet.disabled)}
        bound = self._swept.ledger.bind(self._swept.region, self._place(), ranks)
        return bound.of if bound.outcome == "duplicate" else ""

    def _place(self) -> Place:
        """Return what the region is; one that cannot be asked may be none that it once was."""
        try:
            return self._swept.cloud.place()
        except CloudError:
            self._swept.ledger.stand_alone(self._swept.region)
            raise

    def look(self) -> Survey:
        """Return what the cloud shows, as clients have it."""
        survey = self._swept.cloud.survey()
        without_address = self._swept.fleet.shows_no_address(self._swept.region)
        return survey._replace(
            servers=tuple(it.seen(without_address=without_address) for it in survey.servers)
        )

    def take(
        self, survey: Survey, view: View, marked: Marked, marks_seen: MarksSeen
    ) -> CloudError | None:
        """Write down caps, foreign usage and, when it is old, the catalogue.

        Copies of an attempt's server hold no slot of ours: they count as foreign. Returns why the
        catalogue cannot be read: nothing new may go there then, and all else goes on.
        """
        # One in a cell that is down tells of no marks; what holds a slot is no stranger.
        ours = {slot.server_id for slot in view.slots}
        others = [it for it in survey.servers if it.marks is None and it.id not in ours]
        others += marked.copies
        age_ms = self._swept.ledger.catalogue_age_ms(self._swept.region)
        old = age_ms is None or age_ms > CATALOGUE_MAX_AGE_MS
        try:
            catalogue = self._swept.cloud.catalogue() if old else None
        except RateLimited:
            raise
        except CloudError as error:
            return error
        self._swept.ledger.survey(
            self._swept.region,
            cap=self._cap(survey.quota),
            foreign=sum((it.need for it in others), Resources()),
            catalogue=catalogue,
            max_building=self._swept.rule.max_building,
            starts_per_minute=self._swept.rule.starts_per_minute,
            retiring=not self._swept.rule.enabled,
            marks_seen=marks_seen,
        )
        return None

    def _cap(self, quota: Resources) -> Resources:
        own = self._swept.rule.cap.model_dump(exclude_none=True)
        return Resources(
            **{what: min(bound, own.get(what, bound)) for what, bound in quota._asdict().items()}
        )
