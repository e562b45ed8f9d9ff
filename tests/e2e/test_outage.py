"""A region that is gone, full or failing: instances come into being elsewhere."""

NOVA = "alpha-RegionTwo-nova"
REGION = "alpha/RegionTwo"


def test_twelve_instances_come_into_being_while_a_regions_nova_is_dead(product):
    """All 12 become ACTIVE elsewhere, the state is told, and the mended region is used again."""
    product.lab("kill", NOVA)
    try:
        made = product.create(12)
        product.until_active([it["id"] for it in made])
        shown = [product.show(it["id"]) for it in made]
        assert {it["region"] for it in shown} == {"alpha/RegionOne", "beta/RegionOne"}
        sick = product.regions()[REGION]
        assert sick["state"] == "down"
        assert "refused" in sick["last_error"]
        assert "down" in product.oms("regions").stdout
    finally:
        product.lab("up")
    # One that has just started can be too slow for its first list.
    product.until(lambda: product.sweep() and product.regions()[REGION]["state"] == "up")
    # A Nova that has just started can be too slow for its first create; then it takes the next.
    wanted = {"image": "debian-12", "size": "tiny", "regions": [REGION]}
    product.until(lambda: product.call("POST", "/instances", json=wanted).status_code == 202)
    # Was the first one's answer too late, its slot is rightly held until the lease is over.
    product.until_settled()
    product.assert_agreement()


def test_a_server_that_fails_after_it_was_accepted_is_replaced_elsewhere(product):
    """202 and then ERROR: the same instance becomes ACTIVE elsewhere, and its story tells why."""
    product.lab("fault", REGION, "spawn_fail=1")
    try:
        (made,) = product.create(regions=[REGION, "beta/*"], strategy="priority")
        assert made["region"] == REGION
        product.until_active([made["id"]])
    finally:
        product.lab("fault", REGION)
    shown = product.show(made["id"])
    assert (shown["region"], shown["attempt"]) == ("beta/RegionOne", 2)
    events = product.call("GET", f"/instances/{made['id']}/events").json()["events"]
    assert [it["what"] for it in events] == [
        "placed", "accepted", "failed", "placed", "accepted", "active",
    ]  # fmt: skip
    assert "a fault asked of the lab" in events[2]["why"]
    product.until(lambda: product.sweep() and not product.servers(REGION))
    product.until_settled()
    product.assert_agreement()


def test_a_region_that_somebody_else_filled_is_left_for_another(product):
    """Nova's refusal by quota frees our slot, marks the region full, and the next one is taken."""
    cloud, image = product.cloud(REGION), "Debian Bookworm [2026-10]"
    flavor = cloud.compute.find_flavor("c2.xsmall").id
    network = cloud.network.find_network("shared-net").id
    body = {
        "name": "theirs", "flavorRef": flavor, "imageRef": cloud.image.find_image(image).id,
        "networks": [{"uuid": network}], "min_count": 20, "max_count": 20,
    }  # fmt: skip
    assert cloud.compute.post("/servers", json={"server": body}).status_code == 202
    product.until(lambda: {it.status for it in product.servers(REGION).values()} == {"ACTIVE"})

    (made,) = product.create(regions=[REGION, "beta/*"], strategy="priority")
    assert (made["region"], made["attempt"]) == ("beta/RegionOne", 2)
    state = product.regions()[REGION]
    assert (state["held"], state["free"], state["state"]) == (0, 0, "up")
    product.sweep()
    assert product.regions()[REGION]["foreign"] == 20
    refused = product.call(
        "POST", "/instances", json={"image": "debian-12", "size": "tiny", "regions": [REGION]}
    )
    assert refused.json()["type"].endswith("capacity-exhausted")
