"""Who an instance is: one value that record, marks and plan hold, and hand on as a whole.

A new field is written and read in two places more, which stand side by side each: the record's
fields (`ledger.records`) and the servers' metadata (`clouds.marks`).
"""

from collections.abc import Mapping
from typing import NamedTuple

from openmultistack.domain.times import rfc3339

# What a server of ours carries of metadata beside its labels and its note, and what may help where
# all that is more than a region allows.
MARKS_ITEMS = 3
FEWER_ITEMS = f"fewer labels, or no note, may do; oms itself needs {MARKS_ITEMS} items"
# A note is one item of Nova's metadata.
NOTE_CHARS = 255


class Identity(NamedTuple):
    """What stays the same of an instance wherever it is tried, and comes back from its servers.

    Times are epoch milliseconds of Redis' clock; 0 until the ledger has admitted it.
    """

    owner: str
    # What its owner calls it, and finds it by.
    name: str
    labels: Mapping[str, str]
    created_at_ms: int = 0
    expires_at_ms: int = 0
    # Its servers have a keypair each, named like the server.
    has_keypair: bool = False
    # `<digest of the key>:<digest of the command>:<position>`, if it was made under such a key.
    idempotency: str = ""
    # What its owner wants to be remembered of it.
    note: str = ""

    def count_metadata(self) -> int:
        """Return how many items of metadata its servers need."""
        return MARKS_ITEMS + len(self.labels) + bool(self.note)

    def list_content(self) -> list[object]:
        """Return whose it is and what they wrote of it; the same for the same, for ever."""
        note = [self.note] if self.note else []
        return [self.owner, self.name, sorted(self.labels.items()), *note]

    def document(self) -> dict[str, object]:
        """Return what the API shows of it."""
        return {
            "name": self.name,
            "labels": dict(self.labels),
            "note": self.note,
            "owner": self.owner,
            "created_at": rfc3339(self.created_at_ms),
            "expires_at": rfc3339(self.expires_at_ms),
        }
