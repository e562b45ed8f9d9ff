"""Marking: what a sweep does about marks: whom it believes, whom it tells of, what it signs."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from openmultistack.clouds import Attempted, Claim, Keypair, Server, Survey
from openmultistack.domain.models import Instance, Status
from openmultistack.ledger import MarksSeen, Stranger, View
from openmultistack.logs import tell, tell_deletion
from openmultistack.usecases.judging import Marked, sort_marked
from openmultistack.usecases.recognizing import Policy, Recognized, recognize
from openmultistack.usecases.swept import Swept

# So many servers' marks are signed by one sweep, at two calls each.
SIGNED_MAX = 20


class Marking:
    """The marks of one region's servers, in one sweep of it."""

    def __init__(self, swept: Swept, *, adopt_unverified: bool) -> None:
        self._swept = swept
        # An operator vouches for servers whose marks nothing proves.
        self._adopt_unverified = adopt_unverified

    def recognize(self, survey: Survey, view: View) -> tuple[Recognized, Marked]:
        """Tell the fleet's servers from others, and an attempt's own from copies of it."""
        rule = self._swept.fleet.file.unsigned_marks
        unsigned = rule == "adopt" or (rule is None and not view.all_signed)
        vouched = self._adopt_unverified
        policy = Policy(unsigned or vouched, vouched, awaited=unsigned)
        found = recognize(survey.servers, view, policy, self._swept.fleet_name, self._is_moved)
        marked = sort_marked(
            self._swept.region,
            found.servers,
            view.slots,
            view.instances,
            unproven=found.to_sign,
            known={it for it, told in view.strangers.items() if told.kind == "copy"},
        )
        return found, marked

    def _is_moved(self, claim: Claim, instance: Instance) -> bool:
        """Whether a server's marks are signed for where the ledger has its instance."""
        return self._swept.cloud.proves(claim, self._swept.ledger.place_of(instance.region))

    def note(self, view: View, recognized: Recognized, marked: Marked) -> MarksSeen:
        """Remember who says that they are the fleet's and are not, and tell of each once."""
        found = dict(recognized.strangers)
        for it in marked.copies:
            if it.marks:
                found[it.id] = Stranger("copy", *it.marks.attempted)
        if found != view.strangers:
            self._swept.ledger.note_strangers(self._swept.region, found)
        off_s = {it.id: it.claim.off_ms // 1000 for it in recognized.servers if it.claim}
        self._tell(
            {it: told for it, told in found.items() if view.strangers.get(it) != told}, off_s
        )
        counts = Counter(it.kind for it in found.values())
        return MarksSeen(counts, all_signed=not recognized.unsigned)

    def _tell(self, new: Mapping[str, Stranger], off_s: Mapping[str, int]) -> None:
        for server_id, it in new.items():
            what = {"what": it.kind, "instance": it.instance_id, "attempt": it.attempt}
            if off_s.get(server_id):
                what["off_s"] = off_s[server_id]
            tell("stranger", "warning", region=self._swept.region, server=server_id, **what)

    def sign(self, servers: Sequence[Server]) -> None:
        """Sign the marks of servers that are known; Nova takes none of those that are built.

        Of many it signs any: those that Nova refuses every time must not keep others from it.
        """
        some = [it for it in servers if it.status == Status.ACTIVE]
        if not self._adopt_unverified:
            some = random.sample(some, min(len(some), SIGNED_MAX))
        for it in some:
            if it.claim and it.claim.off_ms:
                why = "its clock and ours differ, or these are the marks of another server"
                off_s = round(it.claim.off_ms / 1000)
                what = {"region": self._swept.region, "server": it.id, "off_s": off_s, "why": why}
                tell("clock", "warning", **what)
            if it.marks:
                with self._swept.one_of_many():
                    self._swept.cloud.mark(it.id, it.marks, whole=True)
                    tell("marks signed", region=self._swept.region, server=it.id)

    def forget_keypairs(self, survey: Survey, view: View) -> None:
        """Delete keypairs of this fleet whose server is gone, as when it went behind our back."""
        needed = {Attempted(slot.instance_id, slot.attempt) for slot in view.slots}
        needed |= {it for server in survey.servers for it in _attempts_told_of(server)}
        for it in survey.keypairs:
            if it.attempted not in needed and _is_ours(it, view):
                with self._swept.one_of_many():
                    asked = self._swept.cloud.forget_keypair(it.name)
                    tell_deletion(
                        region=self._swept.region,
                        keypair=it.name,
                        why="its server is gone",
                        cloud_request_id=asked,
                    )


def _is_ours(keypair: Keypair, view: View) -> bool:
    """Whether a keypair was made by us; anybody may give one a name that is not signed."""
    instance = view.instances.get(keypair.attempted.instance_id)
    if keypair.verified or instance is None:
        return keypair.verified
    return instance.identity.has_keypair and keypair.attempted.attempt <= instance.attempt


def instances_told_of(survey: Survey) -> set[str]:
    """Return the instances that a region's servers and keypairs say they are of."""
    found = {it.instance_id for server in survey.servers for it in _attempts_told_of(server)}
    return found | {it.attempted.instance_id for it in survey.keypairs if not it.verified}


def _attempts_told_of(server: Server) -> Iterator[Attempted]:
    """Give the attempts that a server says it is of, whether that is so or not."""
    if server.marks:
        yield server.marks.attempted
    if server.claim:
        yield server.claim.marks.attempted
    if server.named:
        yield server.named
