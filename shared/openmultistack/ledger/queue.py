"""The order in which those who wait are served: priority, the owner who holds least, first come."""

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

# In a score a priority stands above what else is in it; see _queue.lua.
_TIMES, _HOLDINGS = 2**42, 2**32


class Queued(NamedTuple):
    """An instance that waits; a lower priority goes first."""

    priority: int
    owner: str
    instance_id: str
    since_ms: int


def member_of(priority: int, owner: str, instance_id: str) -> str:
    """Return how an instance stands in the queue's sorted set."""
    return f"{priority}/{quote(owner, safe='')}/{instance_id}"


def queued_of(member: str, since_ms: float) -> Queued:
    """Return what a member of the queue's sorted set says."""
    priority, owner, instance_id = member.split("/")
    return Queued(int(priority), unquote(owner), instance_id, int(since_ms))


class Head(NamedTuple):
    """The first of an owner's who wait, and what the owner holds; see _queue.lua."""

    first: Queued
    holds: int


def head_of(member: str, score: float) -> Head:
    """Return what a member of the sorted set of heads says."""
    since_ms, instance_id, priority, owner = member.split("/")
    holds = int(score) - int(priority) * _HOLDINGS
    return Head(Queued(int(priority), unquote(owner), instance_id, int(since_ms)), holds)


def in_line(member: str, score: float) -> Queued:
    """Return what a member of an owner's line says."""
    it = queued_of(member, 0)
    return it._replace(since_ms=int(score) - it.priority * _TIMES)


def fair_order(waiting: Iterable[Queued], held: Mapping[str, int]) -> list[Queued]:
    """Order those who wait, as they would be served one after another.

    `held`: how many instances each owner has now. Each that is served counts for its owner, so
    that owners who hold the same take turns.
    """
    lines: dict[tuple[int, str], deque[Queued]] = defaultdict(deque)
    for it in sorted(waiting, key=lambda it: (it.since_ms, it.instance_id)):
        lines[it.priority, it.owner].append(it)
    has = dict(held)
    ordered: list[Queued] = []
    for priority in sorted({priority for priority, _ in lines}):
        heads = [
            (has.get(owner, 0), line[0].since_ms, line[0].instance_id, owner)
            for (level, owner), line in lines.items()
            if level == priority
        ]
        heapq.heapify(heads)
        while heads:
            holds, _, _, owner = heapq.heappop(heads)
            line = lines[priority, owner]
            ordered.append(line.popleft())
            has[owner] = holds + 1
            if line:
                heapq.heappush(heads, (holds + 1, line[0].since_ms, line[0].instance_id, owner))
    return ordered
