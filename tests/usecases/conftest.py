"""A whole fleet in the hand: fake clouds, a real ledger, and the use cases between them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from redis import Connection, ConnectionPool, Redis

from tests.support.house import House
from tests.support.sky import A, B, C


class CountedConnection(Connection):
    """Counts what goes to Redis: a pipeline or a script is one round trip."""

    round_trips = 0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002  redis-py's signature
        """Count, and send."""
        CountedConnection.round_trips += 1
        super().send_packed_command(command, check_health)


@pytest.fixture(scope="session")
def redis(valkey_port: int) -> "Iterator[Redis[str]]":
    """Return a client of the shared Valkey that counts its round trips."""
    pool = ConnectionPool(
        connection_class=CountedConnection,
        host="127.0.0.1",
        port=valkey_port,
        decode_responses=True,
    )
    with Redis(connection_pool=pool) as client:
        yield client
    pool.disconnect()


@pytest.fixture
def round_trips() -> Callable[[], int]:
    """Return what tells how often Redis was asked since the last time."""
    asked = CountedConnection.round_trips

    def since() -> int:
        nonlocal asked
        before, asked = asked, CountedConnection.round_trips
        return asked - before

    return since


@pytest.fixture
def make_house(redis: "Redis[str]") -> Callable[..., House]:
    """Return a maker of fleets that have been swept once; each has a ledger of its own."""

    def make(regions: Mapping[str, int] | None = None, *, swept: bool = True, **more: Any) -> House:
        house = House(redis, regions or {A: 4, B: 4, C: 4}, **more)
        if swept:
            house.sweep()
        return house

    return make


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    """Return three regions of two providers, with four places in each."""
    return make_house()
