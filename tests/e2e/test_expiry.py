"""Instances are taken away when their time is up."""

import time
from datetime import UTC, datetime


def test_an_instance_is_gone_from_cloud_and_ledger_within_one_sweep_of_its_expiry(product):
    """With --ttl 60; one that was renewed meanwhile stays."""
    created = product.oms(
        "create", "--count", "2", "--image", "debian-12", "--size", "tiny", "--ttl", "60", "--json"
    )
    assert created.returncode == 0
    brief, renewed = product.instances()
    product.until_active([brief["id"], renewed["id"]], within_s=50)
    product.oms("renew", renewed["id"], "--ttl", "20m")
    left_s = datetime.fromisoformat(brief["expires_at"]) - datetime.now(UTC)
    assert left_s.total_seconds() > 0
    product.sweep()
    assert product.show(brief["id"])["status"] == "ACTIVE"

    time.sleep(max(0.0, left_s.total_seconds()) + 0.5)
    product.sweep()
    assert product.show(brief["id"])["status"] == "DELETED"
    assert brief["server_id"] not in product.servers(brief["region"])
    assert product.show(renewed["id"])["status"] == "ACTIVE"
    assert renewed["server_id"] in product.servers(renewed["region"])
    product.assert_agreement()


def test_a_renewed_expiry_is_written_to_the_server_too(product):
    """So that a ledger rebuilt from the clouds does not end it early."""
    (made,) = product.create(ttl=600)
    product.until_active([made["id"]])
    renewed = product.call("PATCH", f"/instances/{made['id']}", json={"ttl": 5000}).json()
    product.sweep()
    marks = product.servers(made["region"])[made["server_id"]].metadata
    expires = datetime.fromisoformat(renewed["expires_at"]).timestamp() * 1000
    assert int(marks["oms_expires_at_ms"]) == round(expires)
