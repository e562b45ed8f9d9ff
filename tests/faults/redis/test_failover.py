"""The master dies and Sentinels make its replica the master: the ledger follows by itself."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from openmultistack.domain.errors import CapacityExhausted, LedgerUnavailable
from openmultistack.domain.models import Instance
from openmultistack.ledger import Ledger
from openmultistack.ledger.connect import Sentinels
from tests.support.nodes import Node
from tests.support.slow_house import House
from tests.support.waiting import until

SENTINEL = """
sentinel monitor ledger 127.0.0.1 {port} 2
sentinel down-after-milliseconds ledger 1000
sentinel failover-timeout ledger 10000
"""


class Watched:
    """A master with a replica, and three Sentinels that know each other and both."""

    def __init__(self, new_node: Callable[..., Node]) -> None:
        self.master = new_node("--save", "")
        self.replica = new_node("--save", "", "--replicaof", "127.0.0.1", str(self.master.port))
        config = SENTINEL.format(port=self.master.port)
        self.sentinels = [new_node("--sentinel", config=config) for _ in range(3)]
        until(lambda: all(map(self._knows_all, self.sentinels)))
        until(lambda: self.replica.client.info()["master_link_status"] == "up")

    @property
    def url(self) -> str:
        """Return where to ask; the first that is named has never been there."""
        hosts = ["127.0.0.1:1", *(f"127.0.0.1:{it.port}" for it in self.sentinels)]
        return f"redis+sentinel://{','.join(hosts)}/ledger/0"

    def notice_after_ms(self, silence_ms: int) -> None:
        """Have the Sentinels take a master for dead that was silent for so long."""
        for it in self.sentinels:
            it.client.execute_command(
                "SENTINEL", "SET", "ledger", "down-after-milliseconds", silence_ms
            )

    def _knows_all(self, sentinel: Node) -> bool:
        (state,) = sentinel.client.sentinel_masters().values()
        return (state["num-other-sentinels"], state["num-slaves"]) == (2, 1)


def test_no_loss_after_a_failover_the_ledger_goes_on_with_all_that_was_committed(
    new_node: Any, new_house: Any, acts: Any
) -> None:
    watched = Watched(new_node)
    house = new_house(watched.url)
    others = Ledger(house.redis, "others", lease_ms=1000)
    made = house.create(3) + house.create(4, partial=True)
    house.sweep_twice()
    known, calls = house.listed(), house.calls()
    watched.replica.hear_all(watched.master)

    watched.notice_after_ms(3600_000)
    watched.master.kill()
    for act in (*acts.values(), lambda _: house.create()):
        with pytest.raises(LedgerUnavailable):
            act(others)
    assert house.calls() == calls

    watched.notice_after_ms(1000)
    made += until_created(house)
    for act in acts.values():
        act(others)
    assert house.redis.info()["tcp_port"] == watched.replica.port
    listed = house.listed()
    assert listed.keys() == {it.id for it in made}
    assert known.items() <= listed.items()
    house.assert_agreement()
    assert len(house.create(8)) == 8
    with pytest.raises(CapacityExhausted):
        house.create()
    house.assert_agreement()


def test_a_master_that_became_a_replica_is_left_for_the_new_one(
    new_node: Any, new_house: Any
) -> None:
    watched = Watched(new_node)
    house = new_house(watched.url)
    (before,) = house.create()
    watched.sentinels[0].client.execute_command("SENTINEL FAILOVER", "ledger")
    until(lambda: watched.replica.client.info()["role"] == "master")
    # Sentinels see to that as well, within ten seconds.
    watched.master.client.replicaof("127.0.0.1", watched.replica.port)
    until_created(house)
    assert house.redis.info()["tcp_port"] == watched.replica.port
    assert before.id in house.listed()
    house.assert_agreement()


def until_created(house: House) -> list[Instance]:
    """Create one as soon as the ledger answers, which it does in bounded time."""
    made: list[Instance] = []

    def answers() -> bool:
        with suppress(LedgerUnavailable):
            made.extend(house.create())
        return bool(made)

    until(answers)
    return made


def test_threads_that_reorder_the_sentinels_lose_none() -> None:
    """Both find the first one gone at the same time, and put the second before it."""
    both = threading.Barrier(2)
    sentinels = Sentinels([("127.0.0.1", 1), ("127.0.0.1", 2)])
    gone, there = sentinels.sentinels
    state = {"is_master": True, "is_sdown": False, "is_odown": False, "ip": "m", "port": 1}

    def refuse() -> None:
        raise RedisConnectionError

    def tell() -> dict[str, Any]:
        both.wait(10)
        return {"ledger": state | {"num-other-sentinels": 1}}

    gone.sentinel_masters, there.sentinel_masters = refuse, tell
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(sentinels.discover_master, "ledger") for _ in range(2)]
    assert [it.result() for it in asked] == [("m", 1)] * 2
    assert sentinels.sentinels == [there, gone]
    sentinels.close()
