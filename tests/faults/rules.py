"""Rules of the fault proxy: which request meets which fault. Does no I/O."""

import random
from collections.abc import Sequence
from re import Pattern
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

Kind = Literal[
    "delay",
    "reset_before",
    "reset_after",
    "error_before",
    "error_after",
    "rate_limit",
    "truncated",
    "html",
    "broken_body",
    "hang",
    "refuse",
]
# The statuses that a kind may answer with, its usual one first; other kinds choose none.
STATUSES: dict[str, tuple[int, ...]] = {
    "error_before": (503, 500, 502, 504),
    "error_after": (503, 500, 502, 504),
    "rate_limit": (429, 413),  # 413 is what Nova's own limiter said
    "html": (502, 200, 500, 503, 504),
}
# Those that may reach the cloud or not, as `executed` says; the others' names tell.
EXECUTED_AS_TOLD = ("html", "hang")


class Rule(BaseModel):
    """A fault, and the requests that may meet it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    method: str | None = None
    # Matches the whole path below the target, without the query: `/servers` is no `/servers/x`.
    path: Pattern[str] = Field(default=".*", validate_default=True)
    share: float = Field(default=1, ge=0, le=1)
    # Of the requests that match, only so many may meet it, whether or not the die falls for them.
    first: int | None = Field(default=None, ge=0)
    status: int = 0
    executed: bool = False
    # Passes before anything else is done, whatever the kind.
    delay_s: float = Field(default=0, ge=0)
    retry_after_s: int = Field(default=1, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _usual_status(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("kind") in STATUSES:
            return {"status": STATUSES[given["kind"]][0]} | given
        return given

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.status not in STATUSES.get(self.kind, (0,)):
            raise ValueError(f"{self.kind} cannot answer {self.status}")
        if "executed" in self.model_fields_set and self.kind not in EXECUTED_AS_TOLD:
            raise ValueError(f"whether {self.kind} is executed is in its name")
        return self

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request may meet this fault."""
        return self.method in (None, method) and self.path.fullmatch(path) is not None


RULES = TypeAdapter(tuple[Rule, ...])


class Script:
    """Rules in order, and the die that is thrown for them: the same seed, the same falls."""

    def __init__(self, rules: Sequence[Rule], seed: str) -> None:
        self.refuses = any(rule.kind == "refuse" for rule in rules)
        if self.refuses and len(rules) > 1:
            raise ValueError("a target that refuses connections has no other faults")
        self._rules = rules
        self._matched = [0] * len(rules)
        self._die = random.Random(seed)

    def fault_for(self, method: str, path: str) -> Rule | None:
        """Return the first rule that matches a request and whose die falls."""
        for number, rule in enumerate(self._rules):
            if rule.matches(method, path):
                self._matched[number] += 1
                spent = rule.first is not None and self._matched[number] > rule.first
                if not spent and self._die.random() < rule.share:
                    return rule
        return None
