"""What others do in the same project: counted, never touched, noticed."""

import os
import subprocess


def openstack_client(product, cloud: str, region: str, *arguments: str) -> str:
    """Run the `openstack` command line as somebody else would."""
    client = product.home / "lab" / "venv" / "bin" / "openstack"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "OS_CLIENT_CONFIG_FILE": str(product.clouds_file),
    }
    done = subprocess.run(
        [str(client), "--os-cloud", cloud, "--os-region-name", region, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_positive_delete_servers_made_with_the_openstack_client_stay(product):
    """They take slots from us, and neither destroy, nor expiry, nor the sweep touches them."""
    flavor = next(
        it.name for it in product.cloud("beta/RegionOne").compute.flavors() if it.ram == 512
    )
    image = next(
        it.name for it in product.cloud("beta/RegionOne").image.images() if it.os_distro == "debian"
    )
    network = next(
        it.name for it in product.cloud("beta/RegionOne").network.networks()
        if not it.is_router_external
    )  # fmt: skip
    for name in ("theirs-1", "theirs-2"):
        openstack_client(
            product, "beta", "RegionOne", "server", "create", "--flavor", flavor,
            "--image", image, "--network", network, "--wait", name,
        )  # fmt: skip
    product.sweep()
    state = product.regions()["beta/RegionOne"]
    assert (state["foreign"], state["free"]) == (2, 18)
    assert state["resources"]["ram_mb"]["foreign"] == 1024

    product.create(18, regions=["beta/*"])
    over = {"image": "debian-12", "size": "tiny", "regions": ["beta/*"]}
    assert product.call("POST", "/instances", json=over).status_code == 503
    product.oms("destroy", "--all", "--yes")
    product.until(lambda: product.sweep() and product.regions()["beta/RegionOne"]["held"] == 0)
    names = {it.name for it in product.servers("beta/RegionOne").values()}
    assert names == {"theirs-1", "theirs-2"}


def test_a_server_of_ours_deleted_behind_our_back_frees_its_slot_within_two_sweeps(product):
    """The instance ends up DELETED, with the reason in its story."""
    (made,) = product.create()
    product.until_active([made["id"]])
    openstack_client(
        product, *made["region"].split("/"), "server", "delete", "--wait", made["server_id"]
    )
    product.sweep()
    product.sweep()
    shown = product.show(made["id"])
    assert shown["status"] == "DELETED"
    assert product.regions()[made["region"]]["held"] == 0
    events = product.call("GET", f"/instances/{made['id']}/events").json()["events"]
    assert "no such server" in events[-1]["why"]


def test_no_loss_a_ledger_that_was_lost_is_rebuilt_from_the_servers_marks(product):
    """Owner, labels, expiry and attempt come back; nothing is deleted."""
    made = product.create(3, labels={"run": "7"}, owner="alice", name="kept", ttl=1800)
    product.until_active([it["id"] for it in made], owner="alice")
    before = sorted(product.instances("alice"), key=lambda it: it["id"])
    product.forget()
    product.sweep()
    product.sweep()
    after = sorted(product.instances("alice", "&label=run:7"), key=lambda it: it["id"])
    kept = ("id", "name", "owner", "labels", "region", "server_id", "expires_at", "created_at",
            "attempt", "status", "addresses")  # fmt: skip
    assert [{k: it[k] for k in kept} for it in after] == [{k: it[k] for k in kept} for it in before]
    product.assert_agreement()
