"""How long and how often a process looks on, and how much it does at once; imports nothing."""

from typing import NamedTuple, Self


class Watch(NamedTuple):
    """How a process looks after servers that are on their way."""

    # How often a region is asked, for how long for each server, and for how many at most.
    poll_s: float
    follow_s: float
    at_most: int


class Pace(NamedTuple):
    """The times and bounds of a process' use cases: as they are here, but where tests differ."""

    # Longer than most clouds take to build a server, or to delete it.
    building: Watch = Watch(poll_s=1.0, follow_s=120.0, at_most=2000)
    leaving: Watch = Watch(poll_s=0.5, follow_s=60.0, at_most=2000)
    # Creates under way at once in one region, from one process: a burst of ours must not look like
    # an attack, and clouds of this field slow down rather than speed up beyond a few.
    creates_at_once: int = 5
    # After a lost answer the server is looked for at once, and once more a moment later.
    looks_s: tuple[float, ...] = (0.0, 1.0)
    # How long a repeated command waits for the one that came first to know its servers. If that
    # one has died, a sweep makes what is missing.
    repeat_wait_s: float = 10.0
    repeat_poll_s: float = 0.1
    # How long a client may wait for its instances.
    wait_max_s: float = 60.0
    # A create waits so long for the first look at regions; the looks go on behind its answer. Where
    # that failed it is tried again no sooner, and nobody waits for it.
    look_within_s: float = 15.0
    look_again_ms: int = 30_000
    # How long a sweep stays to see its own deletions come true, so that slots come back with it.
    gone_within_s: float = 3.0
    gone_poll_s: float = 0.4
    # A sweep that takes longer gives its lock up; the next one goes on from what is there.
    sweep_budget_s: float = 120.0
    # They wait for their clouds nearly all the time; some wait for one that hangs.
    sweeps_at_once: int = 64
    # What is due is read so many at a time, and so many times at most.
    due_at_once: int = 500
    due_lots: int = 20

    def within(self, seconds: float) -> Self:
        """Return it with no wait inside a request that is longer than a request may take."""
        waits = ("repeat_wait_s", "wait_max_s", "look_within_s")
        return self._replace(**{it: min(getattr(self, it), seconds) for it in waits})


PACE = Pace()
