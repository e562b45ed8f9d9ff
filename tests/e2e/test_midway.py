"""A region's Nova that dies or hangs in the middle of a create: all become ACTIVE elsewhere."""

import threading
import time

import pytest

# Calls of a region that hangs have their timeouts, and a lease is waited for.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]
NOVA = "alpha-RegionTwo-nova"
REGION = "alpha/RegionTwo"
COUNT = 30
WITHIN_S = 180


@pytest.mark.parametrize("what", ["kill", "pause"])
def test_no_double_thirty_become_active_though_a_region_breaks_in_the_middle(faulty, what, capsys):
    """And after mending no server is left over."""
    product = faulty
    began = time.monotonic()
    made = []
    creating = threading.Thread(target=lambda: made.extend(product.create(COUNT)))
    creating.start()
    try:
        _wait_for_servers(product, REGION, 2)
        product.lab(what, NOVA)
        creating.join()
        took_s = time.monotonic() - began
        assert len(made) == COUNT
        # What was made there before it broke is out of sight until it is mended.
        here = [it["id"] for it in made if it["region"] != REGION]
        product.until_active(here)
    finally:
        product.lab("up")
    product.until(lambda: all(it["outcome"] == "swept" for it in product.sweep().values()))
    time.sleep(product.lease_s)
    product.until_active([it["id"] for it in made], within_s=600)
    product.until(lambda: product.sweep() and _count(product) == COUNT)
    product.until_settled()
    product.assert_agreement()
    with capsys.disabled():
        print(f"\n{what} in the middle of --count {COUNT}: answered after {took_s:.0f} s")


def _wait_for_servers(product, region: str, count: int) -> None:
    """Wait until a region has so many servers, that is, is in the middle of the command."""
    until = time.monotonic() + WITHIN_S
    while len(product.servers(region)) < count:
        assert time.monotonic() < until
        time.sleep(0.05)


def _count(product) -> int:
    return sum(len(product.servers(region)) for region in product.regions_known)
