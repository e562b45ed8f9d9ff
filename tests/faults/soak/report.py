"""What a soak came to: as a document, and as text."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.faults.soak.history import Operation


def answers(operations: Sequence[Operation]) -> dict[str, dict[str, int]]:
    """Count operations by kind and by the answer's code; `none`: no answer came."""
    found: dict[str, Counter[str]] = {}
    for it in operations:
        found.setdefault(it.kind, Counter())[str(it.status or "none")] += 1
    return {kind: dict(sorted(codes.items())) for kind, codes in sorted(found.items())}


def text(summary: Mapping[str, Any]) -> str:
    """Return a summary to be read."""
    return f"""\
seed {summary["seed"]}: {summary["operations"]} operations of {summary["clients"]} clients in \
{summary["seconds"]} s, {summary["replicas"]} replicas of each function
{_lines(f"{kind:<20} {_counts(codes)}" for kind, codes in summary["answers"].items())}
broken: {_counts(summary["acts"])}
requests that met a fault: {_counts(summary["met"])}
servers ever made: {summary["servers_ever"]}; refused for quota: {summary["refused_quota"]}
most servers at once: {_counts(summary["highest"])}
every slot filled within (s): {_counts(summary["filled_in_s"])}
longest queue: {summary["longest_queue"]}
longest that a slot was free while someone suited waited (s): {_counts(summary["longest_idle_s"])}
a hostile owner was answered: {_counts(summary["hostile"])}
instances in ERROR: {summary["in_error"]}
violations: {len(summary["violations"])}
{_lines(summary["violations"])}"""


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(f"  {it}" for it in texts)


def _counts(counted: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.items()) or "none"
