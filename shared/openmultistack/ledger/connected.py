"""A process' connection to its fleet's ledger: scripts, pipelines, the clock, names of places."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from openmultistack.ledger.keys import Keys
from openmultistack.ledger.places import Places, decode_places
from openmultistack.ledger.scripts import FOREIGN, Scripts, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

# So many of a long list are read in one step.
READ_AT_ONCE = 1000


class Connected:
    """What readings and acts have in common; LedgerUnavailable when Redis does not answer."""

    def __init__(self, redis: "Redis", fleet: str, *, lease_ms: int) -> None:
        self._redis = redis
        self._names: Places | None = None
        self._keys = Keys(fleet, self.place_of)
        self._scripts = Scripts(redis)
        self._lease_ms = lease_ms

    @property
    def _places(self) -> Places:
        """The names as this process knows them; it looks them up before it uses one at all."""
        if self._names is None:
            self.look_up_names()
        return self._names or Places()

    def place_of(self, region: str) -> str:
        """Return the key of a region's state, as far as this process knows; see Places."""
        return self._places.place_of(region)

    def name_of(self, place: str) -> str:
        """Return the name of a place, as far as this process knows; see Places."""
        return self._places.name_of(place)

    def look_up_names(self) -> None:
        """Read which place each name stands for now."""
        with self._pipeline() as pipe:
            pipe.get(self._keys.version)
            pipe.hgetall(self._keys.named)
            pipe.hgetall(self._keys.places)
            version, named, places = pipe.execute()
        self._names = decode_places(version or "", named, places, self._names or Places())

    def _notice(self, version: str | None) -> bool:
        """Read the names anew if the ledger has changed since the last time; tell whether it had.

        What was asked for by name is then to be read again: another place may be meant.
        """
        changed = (version or "") != self._places.version
        if changed:
            self.look_up_names()
        return changed

    def now_ms(self) -> int:
        """Return Redis' clock, the only one that counts, in epoch milliseconds."""
        return int(self._scripts.run("clock", [self._keys.due]))

    def _story(self, instance_id: str) -> tuple[str, str]:
        return self._keys.record(instance_id), self._keys.events(instance_id)

    @contextmanager
    def _pipeline(self, *, transaction: bool = False) -> "Iterator[Any]":
        try:
            with self._redis.pipeline(transaction=transaction) as pipe:
                yield pipe
        except FOREIGN as error:
            raise unavailable(error) from error


def each_answer(pipe: Any) -> list[Any]:  # noqa: ANN401  redis' pipeline
    """Return what a pipeline is answered; of a key of another type the error: it is no record."""
    answers = pipe.execute(raise_on_error=False)
    for it in answers:
        if isinstance(it, Exception) and not str(it).startswith("WRONGTYPE"):
            raise it
    return list(answers)
