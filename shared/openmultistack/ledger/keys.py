"""The names of all keys, under one hash tag so that a Cluster keeps them on one node."""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

# Regions are named again and again in every create, more than once each.
QUOTED_KEPT = 4096


@lru_cache(QUOTED_KEPT)
def _quoted(region: str) -> str:
    return quote(region, safe="")


class Keys:
    """Key names of one fleet; parts that come from outside are quoted, so none can pose as two."""

    def __init__(self, fleet: str) -> None:
        self._prefix = f"{{oms:{quote(fleet, safe='')}}}:"
        self.regions = self._prefix + "regions"
        self.due = self._prefix + "due"
        self.queue = self._prefix + "queue"
        # Hash: region to the version of its catalogue.
        self.versions = self._prefix + "versions"
        # Hash: region to the version of what it refused.
        self.unsuited = self._prefix + "unsuited"

    def region(self, region: str) -> str:
        """Hash: state, caps, foreign and held counts, last error."""
        return f"{self._prefix}region:{_quoted(region)}"

    def slots(self, region: str) -> str:
        """Hash: `<instance id>/<attempt>` to JSON of the slot."""
        return f"{self._prefix}slots:{_quoted(region)}"

    def catalogue(self, region: str) -> str:
        """String: the region's catalogue as JSON."""
        return f"{self._prefix}catalogue:{_quoted(region)}"

    def refused(self, region: str) -> str:
        """Hash: kind of order to what the region said of it; until its catalogue is read again."""
        return f"{self._prefix}refused:{_quoted(region)}"

    def sweep_lock(self, region: str) -> str:
        """redis-py Lock: one sweep of a region at a time."""
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

    def usage(self, owner: str) -> str:
        """Hash: what the owner's slots hold, and the rate of their creates."""
        return f"{self._prefix}usage:{quote(owner, safe='')}"

    def idempotency(self, owner: str, digest: str) -> str:
        """Hash: what an owner's idempotency key stands for."""
        return f"{self._prefix}key:{quote(owner, safe='')}:{quote(digest, safe='')}"

    def shelf(self, name: str) -> str:
        """String: what processes leave for one another; sealed where it is secret."""
        return f"{self._prefix}shelf:{quote(name, safe='')}"

    def turn(self, name: str) -> str:
        """String: somebody is about to do this."""
        return f"{self._prefix}turn:{quote(name, safe='')}"

    def indices(self, owner: str, labels: Mapping[str, str]) -> list[str]:
        """Return every set that lists a living instance."""
        return [self.live(owner), *(self.labelled(owner, k, v) for k, v in sorted(labels.items()))]
