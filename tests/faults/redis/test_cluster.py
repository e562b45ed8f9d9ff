"""The ledger on a Cluster of three nodes."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.cluster import key_slot

from infra.local.ports import free_port
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.ledger import Attempt, Ledger, connect, read_address
from openmultistack.ledger.keys import Keys
from tests.support.nodes import Node
from tests.support.waiting import until

A = "alpha/One"
SLOTS = 16384
BOUNDS = (0, 5461, 10923, SLOTS)


class Cluster:
    """Three nodes, each with a third of the slots; one that is gone stops only its own."""

    def __init__(self, new_node: Callable[..., Node]) -> None:
        config = "cluster-enabled yes\ncluster-require-full-coverage no\nsave ''"
        config += "\ncluster-node-timeout 1000"
        # Its own bus would be 10000 above its port, where stacks are.
        buses = [free_port() for _ in range(3)]
        self.nodes = [new_node(config=f"{config}\ncluster-port {bus}") for bus in buses]
        for node, first, after in zip(self.nodes, BOUNDS, BOUNDS[1:], strict=False):
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", first, after - 1)
            node.client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port, buses[0])
        for node in self.nodes:
            until(lambda node=node: self._whole(node))

    @staticmethod
    def _whole(node: Node) -> bool:
        told = node.client.cluster("INFO")
        whole = told["cluster_slots_assigned"] == str(SLOTS) and told["cluster_state"] == "ok"
        return whole and told["cluster_known_nodes"] == "3"

    @property
    def url(self) -> str:
        """Return where to ask."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{it.port}" for it in self.nodes)

    def home(self, fleet: str) -> int:
        """Return which node has a fleet's keys."""
        slot = key_slot(Keys(fleet).due.encode())
        return next(i for i in range(3) if slot < BOUNDS[i + 1])

    def fleets(self) -> list[str]:
        """Return a fleet for each node."""
        names = [f"fleet-{number}" for number in range(100)]
        return [next(name for name in names if self.home(name) == i) for i in range(3)]


@pytest.fixture
def cluster(new_node: Any) -> Cluster:
    """Return a Cluster that is ready."""
    return Cluster(new_node)


@pytest.fixture
def client(cluster: Cluster) -> Any:
    """Return a client of the Cluster."""
    with connect(read_address(cluster.url)) as client:
        yield client


def test_every_act_answers_as_on_one_server_and_each_fleet_is_on_one_node(
    cluster: Cluster, client: Any, new_node: Any, acts: Any
) -> None:
    methods = {name for name in dir(Ledger) if not name.startswith("_")}
    assert methods - {"place_of", "name_of"} <= {name.split()[0] for name in acts}
    with connect(read_address(new_node("--save", "").url)) as single:
        expected = tell(Ledger(single, "x", lease_ms=1000), acts)
    assert expected["place"] == ("placed", (Attempt("i-1", 1, A), Attempt("i-2", 1, A)))
    assert expected["queue"] == ["i-4"]
    assert expected["stand_alone"] == [None, "alpha/Named"]
    for fleet in cluster.fleets():
        assert tell(Ledger(client, fleet, lease_ms=1000), acts) == expected
    for node, fleet in zip(cluster.nodes, cluster.fleets(), strict=True):
        keys = node.client.keys("*")
        assert keys
        assert all(key.startswith(f"{{oms:{fleet}}}:") for key in keys)


def tell(ledger: Ledger, acts: dict[str, Callable[[Ledger], Any]]) -> dict[str, Any]:
    """Do every act and return what each answered."""
    return {name: act(ledger) for name, act in acts.items()}


def test_a_fleet_that_moves_to_another_node_is_followed(
    cluster: Cluster, client: Any, acts: Any
) -> None:
    fleet = cluster.fleets()[0]
    ledger = Ledger(client, fleet, lease_ms=1000)
    tell(ledger, acts)
    before = ledger.get(["i-1", "i-2"])
    move_slot(cluster.nodes[0], cluster.nodes[1], Keys(fleet).due)
    assert not cluster.nodes[0].client.keys("*")
    assert ledger.get(["i-1", "i-2"]) == before
    assert ledger.renew("i-1", 10**9)
    with ledger.sweeping("alpha/One", budget_s=5) as mine:
        assert mine
    ledger.forget(before)
    assert ledger.get(["i-1", "i-2"]) == []


def move_slot(source: Node, target: Node, key: str) -> None:
    """Move all keys of a key's slot, as an operator would."""
    slot = key_slot(key.encode())
    ids = {it: it.client.execute_command("CLUSTER MYID") for it in (source, target)}
    setslot = "CLUSTER SETSLOT"
    target.client.execute_command(setslot, slot, "IMPORTING", ids[source])
    source.client.execute_command(setslot, slot, "MIGRATING", ids[target])
    keys = source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
    source.client.migrate("127.0.0.1", target.port, keys, 0, 5000)
    for node in (target, source):
        node.client.execute_command(setslot, slot, "NODE", ids[target])


def test_a_node_that_dies_takes_only_its_own_fleets_along(
    cluster: Cluster, client: Any, acts: Any
) -> None:
    lost, kept, _ = (Ledger(client, it, lease_ms=1000) for it in cluster.fleets())
    tell(lost, acts)
    cluster.nodes[0].kill()
    until_over = time.monotonic() + 4
    while time.monotonic() < until_over:  # from before its peers notice until after
        for act in acts.values():
            with pytest.raises(LedgerUnavailable):
                act(lost)
    tell(kept, acts)
    with connect(read_address(cluster.url)) as newcomer:
        assert Ledger(newcomer, cluster.fleets()[1], lease_ms=1000).get(["i-1"])
        with pytest.raises(LedgerUnavailable):
            Ledger(newcomer, cluster.fleets()[0], lease_ms=1000).now_ms()


def test_a_cluster_that_is_not_there_is_an_unavailable_ledger() -> None:
    with pytest.raises(LedgerUnavailable):
        connect(read_address("redis+cluster://127.0.0.1:1,127.0.0.1:2"))
