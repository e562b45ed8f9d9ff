"""Never over and exact fill: many processes at once at the last free slots."""

import json
import subprocess
import sys
import time
from collections import Counter

RACERS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
import httpx
url, token, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
body = {"image": "debian-12", "size": "tiny"}
headers = {"Authorization": f"Bearer {token}"}
with httpx.Client(timeout=200) as client:
    def one(_):
        got = client.post(f"{url}/v1/instances", json=body, headers=headers)
        problem = got.json().get("type", "").rpartition(":")[2]
        return got.status_code, problem, got.headers.get("retry-after")
    with ThreadPoolExecutor(count) as pool:
        print(json.dumps(list(pool.map(one, range(count)))))
"""


def test_seventy_creates_race_at_sixty_slots(product, capsys):
    """Exactly 60 become ACTIVE, 20 in each region, none is ever in ERROR; ten are told to wait.

    The same straight at Nova, where nobody counts first, loses servers that would have fitted.
    """
    shares = [9] * 6 + [8] * 2
    began = time.monotonic()
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACERS, product.url, product.token(), str(share)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in shares
    ]
    seen_in_error = set()
    while any(racer.poll() is None for racer in racers):
        seen_in_error |= _in_error(product)
    answers = [tuple(it) for racer in racers for it in json.loads(racer.communicate()[0])]
    accepted = [it["id"] for it in product.instances()]
    product.until_active(accepted, within_s=180)
    took_s = time.monotonic() - began
    seen_in_error |= _in_error(product)

    codes = Counter(status for status, _, _ in answers)
    assert codes == {202: 60, 503: 10}
    assert {(slug, bool(after)) for status, slug, after in answers if status == 503} == {
        ("capacity-exhausted", True)
    }
    active = Counter(it["region"] for it in product.instances() if it["status"] == "ACTIVE")
    assert active == dict.fromkeys(product.regions_known, 20)
    assert seen_in_error == set()
    product.assert_agreement()

    product.wipe()
    straight = json.loads(product.lab("race", "--start", "18", "--at-once", "6", "--json"))
    assert straight["settled"]["ERROR"] > 0
    with capsys.disabled():
        print(
            f"\nthrough OMS: 70 at 60 free slots, 8 processes: {dict(codes)}, 60 ACTIVE"
            f" (20/20/20), 0 ERROR, {took_s:.0f} s"
        )
        print(f"straight at Nova: 6 at 2 free slots of one region: {straight}")


def _in_error(product) -> set[str]:
    return {
        server_id
        for region in product.regions_known
        for server_id, server in product.servers(region).items()
        if server.status == "ERROR"
    }
