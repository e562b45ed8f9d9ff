"""What `oms doctor` says of marks: who says they are the fleet's, and which keys are carried."""

from collections import Counter
from collections.abc import Iterable, Iterator

from openmultistack.cli.findings import Finding
from openmultistack.clouds import Survey
from openmultistack.clouds.keyring import Keyring

# Of a kind so many servers are named.
NAMED = 5


def strangers(region: str, survey: Survey) -> Iterator[Finding]:
    """Tell of servers whose marks prove nothing, and of several with the same good ones.

    Which of these is the instance's own the ledger knows: `oms regions` counts the copies.
    """
    kinds = {
        "unsigned": "as of before marks were signed: a sweep signs what the ledger knows and its"
        " cloud lets it; `oms adopt --unverified` takes what it does not know, if that is ours",
        "unverified": "no key of ours for this region, or signed for another server:"
        " `oms adopt --unverified` if they are ours",
    }
    for kind, said in kinds.items():
        ids = [it.id for it in survey.servers if it.claim and it.claim.how == kind]
        if ids:
            yield Finding(region, f"{kind} servers: {_some(ids)}; {said}", note=True)
    yield from _made_at_another_time(region, survey)
    attempts = Counter(it.marks.attempted for it in survey.servers if it.marks)
    for attempted, count in attempts.items():
        if count > 1:
            ids = [it.id for it in survey.servers if it.marks and it.marks.attempted == attempted]
            said = f"all but one are copies of {attempted.instance_id}'s: `oms destroy --copy`"
            yield Finding(region, f"the same marks on {_some(ids)}; {said}", note=True)


def _made_at_another_time(region: str, survey: Survey) -> Iterator[Finding]:
    """Tell of servers whose marks are good, were they not signed long before or after them."""
    off = {it.id: it.claim.off_ms for it in survey.servers if it.claim and it.claim.off_ms}
    if off:
        minutes = round(max(off.values()) / 60_000)
        said = f"marks signed up to {minutes} minutes before or after their servers were made"
        mend = "that cloud's clock is off by so much (or ours is): have both set, else servers"
        mend += " whose create got no answer are not found again; or somebody copied the marks"
        yield Finding(region, f"{said}: {_some(list(off))}; {mend}", note=True)


def left_keypairs(region: str, survey: Survey) -> Iterator[Finding]:
    """Tell of key pairs that no server tells of, and that no sweep deletes: they may be anybody's.

    So are left those of a key that was lost, those of an endpoint that moved, and those of before
    names were signed, if the ledger knows no instance with a key pair of that id.
    """
    servers = survey.servers
    there = {it.named for it in servers} | {it.marks.attempted for it in servers if it.marks}
    there |= {it.claim.marks.attempted for it in servers if it.claim}
    names = [it.name for it in survey.unproven_keypairs if it.attempted not in there]
    if names:
        said = (
            f"key pairs of no server, with names of ours that no key of ours proves ({len(names)})"
        )
        yield Finding(region, f"{said}: {_some(names)}; delete them by hand", note=True)
    plain = [it.name for it in survey.keypairs if not it.verified and it.attempted not in there]
    if plain:
        said = f"key pairs of no server, named as before names were signed ({len(plain)})"
        mend = "a sweep deletes those of instances that it knows; delete the others by hand"
        yield Finding(region, f"{said}: {_some(plain)}; {mend}", note=True)


def carried(keyring: Keyring, surveys: Iterable[Survey], *, whole: bool) -> Iterator[Finding]:
    """Tell of each key how many servers carry it: one that none carries may leave the file.

    A server and its key pair keep the names that they were made with, which are signed as well.
    Unless not the `whole` fleet answered: what was not seen may carry any.
    """
    left = "it may leave the file" if whole else "not every region was seen"
    servers = (it for survey in surveys for it in survey.servers if it.marks)
    count = Counter(key for it in servers for key in {it.signed_by, it.named_by})
    for number, key in enumerate(keyring.keys):
        use = "signs" if number == 0 else "verifies only"
        may = "" if number == 0 or count[key.id] else f"; {left}"
        yield Finding("marks", f"key {key.id} {use}: {count[key.id]} servers carry it{may}")


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(sorted(ids)[:NAMED]) + more
