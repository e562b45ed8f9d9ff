"""The names of all keys, under one hash tag so that a Cluster keeps them on one node."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import quote

# Regions are named again and again in every create, more than once each.
QUOTED_KEPT = 4096


@lru_cache(QUOTED_KEPT)
def _quoted(region: str) -> str:
    return quote(region, safe="")


def _itself(region: str) -> str:
    return region


class Keys:
    """Key names of one fleet; parts that come from outside are quoted, so none can pose as two.

    Regions are given by name or by place: `place_of` tells of a name which place it stands for.
    """

    def __init__(self, fleet: str, place_of: Callable[[str], str] = _itself) -> None:
        self._prefix = f"{{oms:{quote(fleet, safe='')}}}:"
        self._place_of = place_of
        # Hash: place to JSON {name, endpoint, project, region, renames}; see bind.lua.
        self.places = self._prefix + "places"
        # Hash: names of now and of before to places.
        self.named = self._prefix + "named"
        # Hash: each configured name to the place that it was last found to stand for.
        self.claims = self._prefix + "claims"
        self.regions = self._prefix + "regions"
        self.due = self._prefix + "due"
        self.queue = self._prefix + "queue"
        # Sorted set: of each owner who waits the first; see _queue.lua.
        self.heads = self._prefix + "heads"
        # String: how free each region is, at the place that `numbers` (a hash) has for it.
        self.shares = self._prefix + "shares"
        self.numbers = self._prefix + "numbers"
        # String: another one whenever a catalogue or a number changes.
        self.version = self._prefix + "version"
        # Hash: place to the version of its catalogue.
        self.versions = self._prefix + "versions"
        # Hash: what instances were ordered as, where that is long; see _orders.lua.
        self.orders = self._prefix + "orders"
        # Set: owners who had slots at the last recount, or were refused for their quota since.
        self.owners = self._prefix + "owners"
        # Hash: region to the version of what it refused.
        self.unsuited = self._prefix + "unsuited"

        # Hash: id of a token that was seen to JSON; sorted sets: by its end, by its last use.
        self.tokens = self._prefix + "tokens"
        self.token_ends = self._prefix + "token-ends"
        self.token_uses = self._prefix + "token-uses"
        # Sorted set: ids of tokens that were taken back, by their end; string: its version.
        self.revoked = self._prefix + "revoked"
        self.revoked_version = self._prefix + "revoked-version"

    def region(self, region: str) -> str:
        """Hash: state, caps, foreign and held counts, last error."""
        return f"{self._prefix}region:{_quoted(self._place_of(region))}"

    def unbound(self, name: str) -> str:
        """Hash: as `region`, while it is not known what place the name stands for."""
        return f"{self._prefix}region:{_quoted(name)}"

    def slots(self, region: str) -> str:
        """Hash: `<instance id>/<attempt>` to JSON of the slot."""
        return f"{self._prefix}slots:{_quoted(self._place_of(region))}"

    def catalogue(self, region: str) -> str:
        """String: the region's catalogue as JSON."""
        return f"{self._prefix}catalogue:{_quoted(self._place_of(region))}"

    def refused(self, region: str) -> str:
        """Hash: kind of order to what the region said of it; until its catalogue is read again."""
        return f"{self._prefix}refused:{_quoted(self._place_of(region))}"

    def strangers(self, region: str) -> str:
        """Hash: server id to JSON [kind, instance id, attempt]; see `Stranger`."""
        return f"{self._prefix}strangers:{_quoted(self._place_of(region))}"

    def sweep_lock(self, region: str) -> str:
        """redis-py Lock: one sweep of a region at a time, by its name: two may be one place."""
        return f"{self._prefix}sweep:{_quoted(region)}"

    def record(self, instance_id: str) -> str:
        """Hash: the instance."""
        return f"{self._prefix}instance:{quote(instance_id, safe='')}"

    def events(self, instance_id: str) -> str:
        """List: the instance's story, JSON, oldest first, bounded."""
        return f"{self._prefix}events:{quote(instance_id, safe='')}"

    def live(self, owner: str) -> str:
        """Sorted set, all scores 0: ids of the owner's instances that are not DELETED."""
        return f"{self._prefix}live:{quote(owner, safe='')}"

    def gone(self, owner: str) -> str:
        """Sorted set, all scores 0: ids of the owner's DELETED instances, while remembered."""
        return f"{self._prefix}gone:{quote(owner, safe='')}"

    def labelled(self, owner: str, key: str, value: str) -> str:
        """Sorted set, all scores 0: ids of the owner's living instances with this label."""
        return f"{self._prefix}label:" + ":".join(
            quote(part, safe="") for part in (owner, key, value)
        )

    def line(self, owner: str) -> str:
        """Sorted set: those of the owner's instances that wait, by priority, then time."""
        return f"{self._prefix}line:{quote(owner, safe='')}"

    def usage(self, owner: str) -> str:
        """Hash: what the owner's slots hold, their creates' rates, their head in the queue."""
        return f"{self._prefix}usage:{quote(owner, safe='')}"

    def tokens_of(self, owner: str) -> str:
        """Sorted set: ids of the owner's tokens that were seen, by their last use."""
        return f"{self._prefix}tokens:{quote(owner, safe='')}"

    def idempotency(self, owner: str, digest: str) -> str:
        """Hash: what an owner's idempotency key stands for."""
        return f"{self._prefix}key:{quote(owner, safe='')}:{quote(digest, safe='')}"

    def keyed(self, owner: str) -> str:
        """Sorted set: the owner's idempotency keys, by when they are forgotten; see _keyed.lua."""
        return f"{self._prefix}keyed:{quote(owner, safe='')}"

    def shelf(self, name: str) -> str:
        """String: what processes leave for one another; sealed where it is secret."""
        return f"{self._prefix}shelf:{quote(name, safe='')}"

    def turn(self, name: str) -> str:
        """String: somebody is about to do this."""
        return f"{self._prefix}turn:{quote(name, safe='')}"

    def indices(self, owner: str, labels: Mapping[str, str]) -> list[str]:
        """Return every set that lists a living instance."""
        return [self.live(owner), *(self.labelled(owner, k, v) for k, v in sorted(labels.items()))]
