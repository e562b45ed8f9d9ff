"""Instances are taken away when their time is up."""

import time
from datetime import UTC, datetime

from openmultistack.clouds.marks import claim_of

# Longer than a sweep takes on any machine, so that one fits in before.
BRIEF_S = 90


def test_an_instance_is_gone_from_cloud_and_ledger_after_a_sweep_past_its_expiry(product):
    """One that is left as it is stays; what has an expiry is not ended before it."""
    product.oms(
        "create", "--count", "2", "--image", "debian-12", "--size", "tiny", "--ttl", "20m", "--json"
    )
    brief, other = product.instances()
    product.until_active([brief["id"], other["id"]])
    product.oms("renew", brief["id"], "--ttl", f"{BRIEF_S}s")
    expires_at = datetime.fromisoformat(product.show(brief["id"])["expires_at"])
    product.sweep()
    swept_at = datetime.now(UTC)
    assert product.show(brief["id"])["status"] == "ACTIVE"
    assert swept_at < expires_at

    time.sleep(max(0.0, (expires_at - datetime.now(UTC)).total_seconds()) + 0.5)
    product.sweep()
    # The cloud takes its time; nothing more is asked of it.
    assert product.show(brief["id"])["status"] in ("DELETING", "DELETED")
    product.until(lambda: brief["server_id"] not in product.servers(brief["region"]))
    product.until(lambda: product.show(brief["id"])["status"] == "DELETED")
    assert product.show(other["id"])["status"] == "ACTIVE"
    assert other["server_id"] in product.servers(other["region"])
    product.until_settled()
    product.assert_agreement()


def test_a_renewed_expiry_is_written_to_the_server_too(product):
    """So that a ledger rebuilt from the clouds does not end it early."""
    (made,) = product.create(ttl=600)
    product.until_active([made["id"]])
    renewed = product.call("PATCH", f"/instances/{made['id']}", json={"ttl": 5000}).json()
    product.sweep()
    marks = product.servers(made["region"])[made["server_id"]].metadata
    expires = datetime.fromisoformat(renewed["expires_at"]).timestamp() * 1000
    assert claim_of(marks, product.fleet_name).marks.identity.expires_at_ms == round(expires)
