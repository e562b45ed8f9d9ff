"""What clients of a soak did and saw, and what must not be true of it. Does no I/O."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

from openmultistack.clouds.marks import claim_of

LIVING = frozenset({"QUEUED", "BUILD", "ACTIVE", "ERROR"})
WITH_SERVER = frozenset({"BUILD", "ACTIVE"})
# Clocks, and calls under way when a time was taken, may differ by this much.
SLACK_S = 15.0
# Whatever else is broken, no client of a soak asks for what these answers are for.
NEVER = frozenset({400, 401, 403, 405, 409, 413, 422, 500})
MEANT_FOR_OTHERS = "others_"


class Shown(NamedTuple):
    """An instance as an answer showed it; the expiry in seconds since 1970."""

    id: str
    owner: str
    status: str
    server_id: str | None
    expires_at: float
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One call of a client, and what was answered; times in seconds since 1970."""

    kind: str
    owner: str
    began: float
    ended: float
    # 0: no answer came.
    status: int
    shown: Sequence[Shown] = ()
    # An instance's id, or `key:value` of a label.
    target: str = ""
    # A create's own name, which its instances carry as a label; its key; how many, how long.
    command: str = ""
    key: str = ""
    count: int = 0
    ttl_s: int = 0

    @property
    def accepted(self) -> bool:
        """Whether it was answered with 2xx."""
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether it is certain that nothing was done."""
        return 400 <= self.status < 500


class End(NamedTuple):
    """What there is when all is over: the clouds' own word, and the product's.

    `servers`, `past`, `stats`: as the simulated clouds tell them. `listed`: by owner. `regions`:
    as the product tells them now; `fullest`: each as it was when it held most.
    """

    at: float
    fleet: str
    servers: Sequence[Mapping[str, Any]]
    past: Sequence[Mapping[str, Any]]
    stats: Mapping[str, Mapping[str, int]]
    listed: Mapping[str, Sequence[Shown]]
    regions: Sequence[Mapping[str, Any]]
    fullest: Sequence[Mapping[str, Any]]

    def marked(self) -> dict[str, list[Mapping[str, Any]]]:
        """Return the fleet's servers by the instance they are marked with."""
        found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for server in self.servers:
            if claim := claim_of(server["metadata"], self.fleet):
                found[claim.marks.instance_id].append(server)
        return found


@dataclass
class Life:
    """What clients may believe of one instance that they were told of."""

    id: str
    owner: str
    labels: Mapping[str, str]
    accepted_at: float = inf
    destroyed_at: float = inf
    # From then on somebody may have destroyed it, though no answer says so.
    doubted_at: float = inf
    expires_first: float = inf
    expires_last: float = field(default=-inf)

    def certain_at(self, began: float, ended: float) -> bool:
        """Whether it had to be there during the whole of that time."""
        ends = min(self.doubted_at, self.expires_first - SLACK_S)
        return self.accepted_at <= began and ended < ends

    def learn(self, shown: Shown) -> None:
        """Take note of an expiry; that of one that waits is put off when it gets its slot."""
        self.expires_first = min(self.expires_first, shown.expires_at)
        last = inf if shown.status == "QUEUED" else shown.expires_at
        self.expires_last = max(self.expires_last, last)


def lives(operations: Iterable[Operation]) -> dict[str, Life]:
    """Return what is believed of every instance that an answer showed."""
    operations = sorted(operations, key=lambda it: it.ended)
    found: dict[str, Life] = {}
    for operation in operations:
        for shown in operation.shown:
            life = found.setdefault(shown.id, Life(shown.id, shown.owner, shown.labels))
            life.learn(shown)
            if operation.kind == "create" and operation.accepted:
                life.accepted_at = min(life.accepted_at, operation.ended)
                life.expires_first = min(life.expires_first, operation.began + operation.ttl_s)
    by_label = defaultdict(list)
    for life in found.values():
        for name, value in life.labels.items():
            by_label[life.owner, f"{name}:{value}"].append(life)
    for operation in operations:
        _change(operation, found, by_label)
    return found


def _change(
    operation: Operation,
    found: Mapping[str, Life],
    by_label: Mapping[tuple[str, str], Sequence[Life]],
) -> None:
    life = found.get(operation.target)
    if operation.kind == "renew" and life and not operation.refused:
        life.expires_first = min(life.expires_first, operation.began + operation.ttl_s)
        life.expires_last = max(life.expires_last, operation.ended + operation.ttl_s)
    if operation.kind == "destroy" and life and not operation.refused:
        life.doubted_at = min(life.doubted_at, operation.began)
    if operation.kind == "destroy_label" and not operation.refused:
        for it in by_label.get((operation.owner, operation.target), ()):
            it.doubted_at = min(it.doubted_at, operation.began)
    if operation.kind in ("destroy", "destroy_label") and operation.accepted:
        for shown in operation.shown:
            found[shown.id].destroyed_at = min(found[shown.id].destroyed_at, operation.ended)


def violations(operations: Sequence[Operation], end: End) -> list[str]:
    """Return a sentence for each thing that must not be, `kind: what`; best is none."""
    known = lives(operations)
    checks = (
        _over_limit(end),
        _too_many(operations, end),
        _differing_repeats(operations),
        _servers_of(end),
        _leaked(end),
        _lost(known, end),
        _missed(operations, known),
        _undead(known, end),
        _foreign(operations, end),
        _unexpected(operations),
    )
    return [sentence for check in checks for sentence in check]


def _over_limit(end: End) -> Iterator[str]:
    for region, stats in end.stats.items():
        if stats["refused_quota"]:
            yield f"over-limit: {region} refused {stats['refused_quota']} creates for its quota"
    for it in end.fullest:
        if it["held"] > it["cap"]:
            yield f"over-limit: {it['region']} held {it['held']} of {it['cap']}"
    ours = [server for servers in end.marked().values() for server in servers]
    for it in end.regions:
        there = sum(server["region"] == it["region"] for server in ours)
        if it["held"] != there:
            yield f"slots: {it['region']} holds {it['held']} slots for {there} servers"


def _by_command(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    found = defaultdict(list)
    for it in operations:
        if it.kind == "create":
            found[it.command].append(it)
    return found


def _too_many(operations: Iterable[Operation], end: End) -> Iterator[str]:
    """No command has more instances than it asked for.

    Where some of its calls failed, what was made in vain has gone again; where none did, no other
    instance of it ever had a server.
    """
    living, ever = defaultdict(set), defaultdict(set)
    for it in (it for shown in end.listed.values() for it in shown if it.status in LIVING):
        living[it.labels.get("command")].add(it.id)
    for server in end.past:
        metadata = server["metadata"]
        claim = claim_of(metadata, end.fleet)
        ever[metadata.get("oms_label:command")].add(claim.marks.instance_id if claim else None)
    for command, calls in _by_command(operations).items():
        told = {it.id for call in calls if call.accepted for it in call.shown}
        counted = {"told of": told, "left": living[command]}
        if all(call.accepted for call in calls):
            counted["ever made"] = ever[command]
        for what, ids in counted.items():
            if len(ids) > calls[0].count:
                yield f"double: {len(ids)} of {calls[0].count} {what}, by {command}: {sorted(ids)}"


def _differing_repeats(operations: Iterable[Operation]) -> Iterator[str]:
    for command, calls in _by_command(operations).items():
        told = {frozenset(it.id for it in call.shown) for call in calls if call.accepted}
        if calls[0].key and len(told) > 1:
            yield f"double: the key of {command} gave {sorted(map(sorted, told))}"


def _servers_of(end: End) -> Iterator[str]:
    """Each instance that is built or being built has one server, the one that it names."""
    marked = end.marked()
    for it in (it for shown in end.listed.values() for it in shown):
        ids = [server["id"] for server in marked.get(it.id, ())]
        if len(ids) > 1:
            yield f"double: {it.id} has the servers {ids}"
        elif it.status in WITH_SERVER and ids != [it.server_id]:
            yield f"lost: {it.id} is {it.status} on {it.server_id}, and its servers are {ids}"


def _leaked(end: End) -> Iterator[str]:
    status = {it.id: it.status for shown in end.listed.values() for it in shown}
    for instance_id, servers in end.marked().items():
        if status.get(instance_id) not in WITH_SERVER:
            where = ", ".join(f"{it['id']} in {it['region']}" for it in servers)
            known = status.get(instance_id, "not listed")
            yield f"leak: {where} of {instance_id}, which is {known}"


def _lost(known: Mapping[str, Life], end: End) -> Iterator[str]:
    listed = {it.id for shown in end.listed.values() for it in shown if it.status in LIVING}
    for life in known.values():
        if life.certain_at(end.at, end.at) and life.id not in listed:
            yield f"lost: {life.id} of {life.owner} was accepted, and is not listed"


def _missed(operations: Iterable[Operation], known: Mapping[str, Life]) -> Iterator[str]:
    """At no time is something not found that has to be there."""
    by_owner = defaultdict(list)
    for life in known.values():
        by_owner[life.owner].append(life)
    for it in operations:
        life = known.get(it.target)
        if it.kind in ("show", "events") and it.status == 404 and life:
            if life.certain_at(it.began, it.ended):
                yield f"lost: {it.kind} did not find {it.target} at {it.began:.3f}"
        elif it.kind == "list" and it.accepted:
            seen = {shown.id for shown in it.shown}
            for owned in by_owner[it.owner]:
                if owned.certain_at(it.began, it.ended) and owned.id not in seen:
                    yield f"lost: a list of {it.owner} at {it.began:.3f} was without {owned.id}"


def _undead(known: Mapping[str, Life], end: End) -> Iterator[str]:
    """What was destroyed, or is long expired, has no server and does not live."""
    marked = end.marked()
    living = {it.id for shown in end.listed.values() for it in shown if it.status in LIVING}
    for life in known.values():
        over = life.destroyed_at < inf or end.at > life.expires_last + SLACK_S
        if over and (life.id in marked or life.id in living):
            how = "was destroyed" if life.destroyed_at < inf else "is expired"
            yield f"lost: {life.id} {how}, and has a server or is listed as living"


def _foreign(operations: Iterable[Operation], end: End) -> Iterator[str]:
    for it in operations:
        for shown in it.shown:
            if shown.owner != it.owner:
                yield f"isolation: {it.owner} was shown {shown.id} of {shown.owner}"
        if it.kind.startswith(MEANT_FOR_OTHERS) and not (it.status in (0, 404) or it.status >= 500):
            yield f"isolation: {it.kind} by {it.owner} of {it.target} was answered {it.status}"
    for owner, instances in end.listed.items():
        for shown in instances:
            if shown.owner != owner:
                yield f"isolation: {owner} lists {shown.id} of {shown.owner}"


def _unexpected(operations: Iterable[Operation]) -> Iterator[str]:
    for it in operations:
        if it.status in NEVER:
            yield f"unexpected: {it.kind} {it.target}{it.command} was answered {it.status}"
