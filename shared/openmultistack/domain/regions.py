"""What a region is: its place, and what is known of it at a moment."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Literal, NamedTuple

from openmultistack.domain.models import Resources


class Place(NamedTuple):
    """What a region is by itself, whatever its name: where its Nova is, and for which project.

    The region's name at the cloud says nothing more: one endpoint serves one region.
    """

    # Host, port and path, without scheme, version and project.
    endpoint: str
    project: str
    region: str = ""

    @property
    def id(self) -> str:
        """The key of its state in the ledger; the same for every fleet and process."""
        return "p-" + sha256(f"{self.endpoint}\n{self.project}".encode()).hexdigest()[:16]


# `down`: its account or its listing does not work, until a sweep proves it well. `resting`: creates
# failed there, or it asked for a pause; it is tried again by itself. `drained`: by its operator.
# `retiring`: disabled, and swept until it is empty; then `retired`. `removed`: no entry of
# clouds.yaml leads there any more. `duplicate`: its place has another name in clouds.yaml, too.
RegionHealth = Literal[
    "unknown", "up", "down", "resting", "drained", "retiring", "retired", "removed", "duplicate"
]


def repeating(name: str) -> str:
    """Say of a name that it is another one for a region that takes part already."""
    return f"repeats {name}: the same project at the same endpoint"


class RegionState(NamedTuple):
    """What the ledger knows of a region; counts are of now."""

    region: str
    state: RegionHealth = "unknown"
    cap: Resources = Resources()
    held: Resources = Resources()
    foreign: Resources = Resources()
    building: int = 0
    max_building: int | None = None
    starts_per_minute: int | None = None
    full: bool = False
    # Why an operator drained it.
    drained: str | None = None
    # For how long the breaker lets nothing through.
    resting_ms: int = 0
    last_error: str | None = None
    last_error_at_ms: int | None = None
    swept_at_ms: int | None = None
    # Of the foreign servers how many say that they are the fleet's, by kind.
    strangers: Mapping[str, int] = {}

    @property
    def provider(self) -> str:
        """The entry of clouds.yaml that the region belongs to."""
        return self.region.partition("/")[0]

    def free(self) -> Resources:
        """Return cap - held - foreign, never below zero; nothing while nothing is let in."""
        if self.full or self.state != "up":
            return Resources()
        both = zip(self.cap, self.held + self.foreign, strict=True)
        return Resources(*(max(0, cap - taken) for cap, taken in both))
