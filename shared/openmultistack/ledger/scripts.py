"""The Lua files, loaded once; each runs as one atomic act."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.domain.models import Resources
from openmultistack.domain.resources import AMOUNTS, LEAST

if TYPE_CHECKING:
    from redis import Redis


# Redis is there and does not do what it is asked, whatever that is.
_REFUSALS = {
    "BusyLoadingError", "ReadOnlyError", "MasterDownError", "ClusterDownError", "OutOfMemoryError",
}  # fmt: skip
# What redis-py has no class for: no disk to save to, too few replicas, no node of a Cluster.
_REFUSING = ("MISCONF ", "NOREPLICAS ", "Redis Cluster cannot be connected")

# What redis-py raises; the latter stands outside of its own tree.
FOREIGN = (RedisError, RedisClusterException)

# What else is put before a script; it costs each run of it a little.
_TO_COUNT = ("_fields", "_shares", "_queue", "_slots")
_TO_PLACE = ("_pace", "_breaker", "_rooms", "_quota", "_choice", *_TO_COUNT, "_start")
_PARTS = {
    "place": (*_TO_PLACE, "_orders", "_keyed"),
    "move": (*_TO_PLACE, "_drop", "_orders"),
    "serve": _TO_PLACE,
    "hold": (*_TO_COUNT, "_drop", "_past", "_had", "_keyed"),
    "release": (*_TO_COUNT, "_drop", "_orders"),
    "destroy": ("_fields", "_queue"),
    "commit": ("_breaker", "_shares", "_past", "_had"),
    "prolong": ("_past",),
    "unkey": ("_keyed",),
    "report": ("_breaker", "_shares"),
    "observe": ("_shares", "_orders", "_had"),
    "fail": ("_orders",),
    "strand": ("_orders",),
    "survey": ("_shares", "_version", "_stock"),
    "restock": ("_version", "_stock"),
    "unsuit": ("_version",),
    "bind": ("_version",),
    "alone": ("_version",),
    "drain": ("_shares",),
    "retire": ("_shares",),
    "recount_region": _TO_COUNT,
    "recount_owners": _TO_COUNT,
}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{it}'" for it in names)


# What these words mean in Lua: what is counted, of which no script names anything by itself but
# instances, which come first, as each slot is one. They are put into the text, as a list that is
# made again in each run takes its time.
WORDS = {
    # The names of all.
    "RESOURCES": _listed(Resources._fields),
    # And of those of which a slot tells how much it takes.
    "AMOUNTS": _listed(AMOUNTS),
    # A region's fields of each, one after the other; of instances its slots are counted.
    "COUNTS": _listed(
        f"{kind}_{what}"
        for what in Resources._fields
        for kind in ("cap", "foreign", "held")[: 3 if what in AMOUNTS else 2]
    ),
    # The least that a server takes; and of how many, the first, every server takes some.
    "LEAST": ", ".join(f"{what} = {count}" for what, count in LEAST._asdict().items()),
    "IN_ALL": str(sum(count > 0 for count in LEAST)),
}


@cache
def source(name: str) -> str:
    """Return a script as it is sent: what all have in common, what some have, its own file."""
    folder = files(__package__)
    parts = ("_prelude", *_PARTS.get(name, ()), name)
    text = "".join((folder / f"{part}.lua").read_text() for part in parts)
    return re.sub(rf"\b({'|'.join(WORDS)})\b", lambda found: WORDS[found[1]], text)


@cache
def _hash(name: str) -> str:
    """Return the name that Redis has for a script."""
    return sha1(source(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Runs the scripts by their hash, and sends the text when the server does not know it."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def run(self, name: str, keys: Sequence[str], *args: str | float) -> str | int:
        """Run one script.

        Raises:
            LedgerUnavailable: Redis does not answer, or refuses to: loading, read-only, no memory.
        """
        try:
            return cast("str | int", self._evaluate(name, keys, args))
        except FOREIGN as error:
            raise unavailable(error) from error

    def _evaluate(self, name: str, keys: Sequence[str], args: Sequence[str | float]) -> object:
        # Not loaded beforehand: on a Cluster that needs every node, those of no concern as well.
        try:
            return self._redis.evalsha(_hash(name), len(keys), *keys, *args)
        except NoScriptError:
            return self._redis.eval(source(name), len(keys), *keys, *args)


def unavailable(error: Exception) -> Exception:
    """Return the error of ours for Redis' own; a script's mistake stays a mistake."""
    if (
        isinstance(error, (RedisConnectionError, RedisTimeoutError))
        or type(error).__name__ in _REFUSALS
        or any(text in str(error) for text in _REFUSING)
    ):
        return LedgerUnavailable("the ledger does not answer; nothing was done; try again soon")
    return error
