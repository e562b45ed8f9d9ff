"""A query string -> what it asks for, checked."""

import re
from collections.abc import Mapping, Sequence

from openmultistack.api.calls import Call
from openmultistack.api.operations import TEXT, Json, list_of
from openmultistack.domain.errors import Invalid
from openmultistack.domain.models import Status

PAGE_MAX = 1000
PAGE_DEFAULT = 100
LABEL: Json = {
    "name": "label",
    "in": "query",
    "description": "key:value; repeat it to ask for several at once",
    "schema": list_of(TEXT),
    "explode": True,
}


class Asked:
    """A query string, checked."""

    def __init__(self, single: Mapping[str, str], labels: Mapping[str, str]) -> None:
        self.single = single
        self.labels = labels

    @property
    def limit(self) -> int:
        """How many are asked for at a time."""
        text = self.single.get("limit", str(PAGE_DEFAULT))
        if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= PAGE_MAX:
            raise Invalid([("/limit", f"expected a number from 1 to {PAGE_MAX}")])
        return int(text)

    @property
    def status(self) -> Status | None:
        """Which status is asked for; None: any."""
        text = self.single.get("status")
        if text is not None and text not in list(Status):
            raise Invalid([("/status", f"expected one of {', '.join(Status)}")])
        return Status(text) if text else None


def read_query(call: Call, allowed: Sequence[str]) -> Asked:
    """Return what a call's query asks for.

    Raises:
        Invalid: it has a parameter that is not allowed, or a label that is none.
    """
    labels: dict[str, str] = {}
    single: dict[str, str] = {}
    for name, value in call.query:
        if name not in allowed:
            expected = f"expected some of {', '.join(allowed)}" if allowed else "expected none"
            raise Invalid([("/" + name[:64], f"is no parameter here, {expected}")])
        if name != "label":
            single[name] = value
            continue
        key, colon, text = value.partition(":")
        if not key or not colon:
            raise Invalid([("/label", "expected key:value")])
        if labels.setdefault(key, text) != text:
            raise Invalid([("/label", f"{key} is asked for with two values")])
    return Asked(single, labels)
