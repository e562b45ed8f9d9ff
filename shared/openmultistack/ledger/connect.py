"""The client of every form of Redis, each with the same bounds on time."""

from copy import copy
from typing import Any, cast

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import Sentinel

from openmultistack.ledger.address import Address
from openmultistack.ledger.scripts import FOREIGN, unavailable

REDIS_TIMEOUT_S = 5.0
# One that is gone must not cost what it takes to ask the next: they are asked in turn.
SENTINEL_TIMEOUT_S = 1.0
# Of one process to one server: far beyond the threads that it has at work, and Redis has 10,000.
CONNECTIONS_MAX = 500


def connect(address: Address) -> "Redis":
    """Return a client; every act of the ledger may be sent twice, so it may send again once.

    Only that of a Cluster speaks to it at once, to learn who holds what.

    Raises:
        LedgerUnavailable: no node of a Cluster answers.
    """
    options = {
        "max_connections": CONNECTIONS_MAX,
        **_bounds(REDIS_TIMEOUT_S),
        **address.options,
        "decode_responses": True,
    }
    if address.form == "server":
        return Redis.from_pool(ConnectionPool(**options, retry=_once_more()))
    if address.tls:
        options["ssl"] = True
    if address.form == "sentinel":
        return _through_sentinels(address, options)
    return _of_cluster(address, options)


def _through_sentinels(address: Address, options: dict[str, Any]) -> "Redis":
    """Return a client that asks the Sentinels for the master whenever it connects."""
    same = {name: it for name, it in options.items() if name.startswith("ssl")}
    asking = {**_bounds(SENTINEL_TIMEOUT_S), **same, **address.sentinel_options}
    asking["retry"] = Retry(NoBackoff(), 0)
    sentinels: Any = Sentinels(list(address.nodes), sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    client = sentinels.master_for(address.service, **options, retry=_once_more())
    return cast("Redis", client)


def _of_cluster(address: Address, options: dict[str, Any]) -> "Redis":
    """Return a client of a Cluster, which has all methods that the ledger uses."""
    try:
        client = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
            retry=Retry(NoBackoff(), 1),
            # Slots without a node are no matter of fleets that are elsewhere.
            require_full_coverage=False,
            # Where the given nodes are names, these outlive the addresses they stand for.
            dynamic_startup_nodes=False,
            **options,
        )
    except FOREIGN as error:
        raise unavailable(error) from error
    return cast("Redis", client)


def _once_more() -> Retry:
    """Return when to act again: over a broken connection, not after having waited in vain."""
    return Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))


def _bounds(timeout_s: float) -> dict[str, Any]:
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}


class Sentinels(Sentinel):
    """redis-py's, safe between threads: two that reorder its list at once would lose one."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return where the master is; whoever knew is asked first the next time."""
        asked = copy(self)
        asked.sentinels = list(self.sentinels)
        found = Sentinel.discover_master(asked, service_name)
        self.sentinels = asked.sentinels
        return cast("tuple[str, int]", found)
