"""A ledger as it was, to be come back to."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis


class Past:
    """The whole ledger of a fleet as it was when this was made."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis, self._prefix = redis, prefix
        there = self._there()
        with binary(redis) as client, client.pipeline() as pipe:
            for key in there:
                pipe.dump(key)
                pipe.pttl(key)
            answers = iter(pipe.execute())
        self._kept = {key: (next(answers), max(0, next(answers))) for key in there}

    def _there(self) -> list[str]:
        return [it for it in self._redis.scan_iter(count=1000) if it.startswith(self._prefix)]

    def come_back(self) -> None:
        """Have the ledger as it was, in all that is of this fleet."""
        since = self._there()
        with binary(self._redis) as client, client.pipeline() as pipe:
            for key in since:
                pipe.delete(key)
            for key, (value, ttl_ms) in self._kept.items():
                pipe.restore(key, ttl_ms, value)
            pipe.execute()


@contextmanager
def binary(redis: Redis) -> Iterator[Redis]:
    """Return a client of the same server that takes answers as they are."""
    where = redis.connection_pool.connection_kwargs
    with Redis(host=where["host"], port=where["port"]) as client:
        yield client
