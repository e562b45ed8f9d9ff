"""Orders nodes of Nodepool, as Zuul does: run with Nodepool's own Python, for its ZooKeeper client.

    burst_requests.py HOST:PORT CERTIFICATE KEY ORDERS EACH WITHIN_S

Prints a JSON list: for each node the seconds from the first order until it was seen ready.
"""

import json
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

LOOKS_EVERY_S = 1.0


def order(number: int) -> bytes:
    """Return a request as Nodepool reads it."""
    request = {
        "state": "requested",
        "state_time": time.time(),
        "declined_by": [],
        "node_types": ["burst"] * number,
        "nodes": [],
        "reuse": False,
        "requestor": "burst",
        "relative_priority": 0,
        "created_time": time.time(),
        "tenant_name": "burst",
    }
    return json.dumps(request).encode()


def look(client: KazooClient, ready: dict[str, float], began: float) -> None:
    """Note which nodes have become ready."""
    try:
        names = set(client.get_children("/nodepool/nodes")) - ready.keys() - {"lock"}
    except NoNodeError:
        return
    asked = [(it, client.get_async(f"/nodepool/nodes/{it}")) for it in names]
    for name, answer in asked:
        answer.wait()
        if answer.successful() and json.loads(answer.get()[0] or b"{}").get("state") == "ready":
            ready[name] = time.monotonic() - began


def main() -> None:
    """Order, and look on."""
    host, certificate, key, orders, each, within_s = sys.argv[1:]
    client = KazooClient(host, use_ssl=True, certfile=certificate, keyfile=key, ca=certificate)
    client.start(timeout=30)
    began = time.monotonic()
    sent = [
        client.create_async(
            "/nodepool/requests/100-", order(int(each)), sequence=True, makepath=True
        )
        for _ in range(int(orders))
    ]
    for it in sent:
        it.get()
    ready: dict[str, float] = {}
    while len(ready) < int(orders) * int(each) and time.monotonic() - began < float(within_s):
        time.sleep(LOOKS_EVERY_S)
        look(client, ready, began)
    print(json.dumps(sorted(ready.values())))
    client.stop()


if __name__ == "__main__":
    main()
