"""The main job: instances over all regions of all providers, by naming only an image and a size."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.long
def test_the_demo_works_on_top_of_what_an_earlier_one_left(product, capsys):
    """45 instances ACTIVE with addresses in three regions, none over 20; ten destroyed.

    Left from an earlier demo are more than would fit beside 45.
    """
    product.create(18, labels={"demo": "true"})
    with product.swept_by_the_clock():
        done = subprocess.run(
            [sys.executable, "-m", "infra.local.demo"],
            cwd=ROOT,
            env=product.environment | {"COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "45 instances ACTIVE with addresses" in done.stdout
    assert "10 destroyed, their slots are free" in done.stdout
    with capsys.disabled():
        print("\n" + done.stdout.strip().splitlines()[-2])
    left = [it for it in product.instances() if it["status"] == "ACTIVE"]
    assert len(left) == 35
    assert max(Counter(it["region"] for it in left).values()) <= 20
    product.assert_agreement()


def test_each_region_gets_its_own_flavor_image_and_network(product):
    """One logical name is another flavor, image and network in every region."""
    made = product.create(3, size="small")
    product.until_active([it["id"] for it in made])
    shown = {it["region"]: it for it in product.instances()}
    assert set(shown) == set(product.regions_known)
    assert len({it["flavor"] for it in shown.values()}) == 3
    assert len({it["image"] for it in shown.values()}) == 3
    assert shown["alpha/RegionTwo"]["addresses"][0]["network"] == "shared-net"
    for region, instance in shown.items():
        server = product.servers(region)[instance["server_id"]]
        assert server.metadata["oms_owner"] == "dev"
        assert server.name.startswith(f"oms-default-{instance['id']}-1-")


def test_a_requirement_and_an_exact_name_are_sizes_too(product):
    """Two vCPUs get the flavor that has them; a region's own flavor name only that region."""
    (by_need,) = product.create(size={"vcpus": 2, "ram_mb": 3000})
    server = product.servers(by_need["region"])[by_need["server_id"]]
    assert (server.flavor["vcpus"], server.flavor["ram"]) == (2, 4096)
    (by_name,) = product.create(size="c2.xsmall", image="Debian Bookworm [2026-10]")
    assert by_name["region"] == "alpha/RegionTwo"


def test_a_key_and_user_data_reach_the_server_and_the_keypair_goes_with_it(product):
    """The keypair is made for the server alone, and no keypair stays when it is destroyed."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP me"
    (made,) = product.create(ssh_public_key=key, user_data="#cloud-config\n")
    compute = product.cloud(made["region"]).compute
    server = product.servers(made["region"])[made["server_id"]]
    assert server.key_name == server.name
    product.call("DELETE", f"/instances/{made['id']}")
    product.until(lambda: made["server_id"] not in product.servers(made["region"]))
    assert [it.name for it in compute.keypairs()] == []


def test_prefer_wait_answers_when_all_are_active(product):
    """`Prefer: wait` stays until the instances are built."""
    answer = product.call(
        "POST",
        "/instances",
        json={"image": "debian-12", "size": "tiny", "count": 2},
        headers={"Prefer": "wait=60"},
    )
    assert [it["status"] for it in answer.json()["instances"]] == ["ACTIVE", "ACTIVE"]
    assert all(it["addresses"] for it in answer.json()["instances"])


def test_the_environment_file_is_for_its_owner_alone(product):
    """Tokens and keys that `up` writes can be read by nobody else."""
    for name in ("env", "keys/signing.pem"):
        assert (product.home / name).stat().st_mode & 0o077 == 0, name
