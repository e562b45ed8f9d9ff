"""What `oms doctor` finds."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that was looked at; `mend` is empty when it is well."""

    where: str
    what: str
    mend: str = ""
    # Well as it is, and yet worth knowing.
    note: bool = False
