"""What is counted, as a vector: whoever counts goes over `Resources` and names none by itself.

Not even here: a resource that is added there is one that some servers do without, and its name is
what people call it.
"""

from collections.abc import Callable, Sequence

from openmultistack.domain.bounds import UNLIMITED
from openmultistack.domain.models import Resources

# What any server takes at least. Of what some do without (0), a slot says nothing that takes none,
# as one does that was written before it was counted; and a region without any is open to others.
LEAST = Resources(instances=1, vcpus=1, ram_mb=1)
# Of what a slot tells how much it takes; it is one instance by itself.
AMOUNTS = Resources._fields[1:]
# The quota of a cloud that bounds nothing.
UNBOUNDED = Resources(*(UNLIMITED for _ in Resources._fields))

_WORDS = {"vcpus": "vCPUs", "ram_mb": "MB of RAM"}


def word_of(resource: str) -> str:
    """Return what people call a resource."""
    return _WORDS.get(resource) or resource.replace("_", " ")


def say(counts: Resources, names: Sequence[str], said: Callable[[int], str] = str) -> str:
    """Say how much there is of some, at least two; `said` says a number."""
    *others, last = (f"{said(getattr(counts, it))} {word_of(it)}" for it in names)
    return f"{', '.join(others)} and {last}"
