"""What Nova, Glance and Neutron answer, as values: from their JSON, without the sdk's objects.

The sdk makes an object of some hundred attributes of each server, image or flavor, in milliseconds
each; a sweep reads thousands and needs a few fields of them.
"""

from collections.abc import Iterator, Mapping, Sequence

from openmultistack.clouds.marks import evidence_of
from openmultistack.clouds.openstack.asking import Document
from openmultistack.clouds.port import Server
from openmultistack.clouds.signing import Signing
from openmultistack.domain.bounds import UNLIMITED
from openmultistack.domain.models import (
    SOFT_DELETED,
    Address,
    Flavor,
    Image,
    Network,
    Resources,
    Status,
)
from openmultistack.domain.resources import UNBOUNDED

# Nova's words that are ours as well, and that for a server in a cell that is down.
OURS_TOO = ("BUILD", "ACTIVE", "ERROR", "DELETED")
UNKNOWN = "UNKNOWN"
# Nova's tasks (nova/compute/task_states.py) at whose end a server is gone.
LEAVING = ("deleting", "soft-deleting")
# What Glance says of every image in text; all other text is a property that somebody gave it.
IMAGE_FIELDS = {
    "id", "name", "status", "visibility", "owner", "checksum", "os_hash_algo", "os_hash_value",
    "created_at", "updated_at", "container_format", "disk_format", "file", "schema", "self",
    "direct_url",
}  # fmt: skip


def server_of(it: Document, signing: Signing) -> Server:
    """Return a server; its flavor's numbers are there from microversion 2.47 on.

    Of one in a cell that is down little more than its id is told (Nova's API guide, "Handling Down
    Cells"): neither its flavor nor its metadata.
    """
    flavor, word = it.get("flavor") or {}, word_of(it.get("status") or UNKNOWN)
    its = evidence_of(
        it.get("metadata") or {},
        it.get("name") or "",
        signing,
        server_id=it["id"],
        made_at=it.get("created") or "",
    )
    return Server(
        id=it["id"],
        status=status_of(word, it.get("OS-EXT-STS:task_state")),
        flavor=flavor.get("original_name") or flavor.get("id") or "",
        # Of a server that boots from a volume it is an empty text.
        image=(it.get("image") or {}).get("id") or "",
        need=Resources(instances=1, vcpus=flavor.get("vcpus") or 0, ram_mb=flavor.get("ram") or 0),
        addresses=tuple(_addresses(it.get("addresses") or {})),
        fault=(it.get("fault") or {}).get("message") if word == "ERROR" else None,
        marks=its.marks,
        created_at=it.get("created") or "",
        cloud_status="" if word in OURS_TOO else word,
        signed_by=its.signed_by,
        marks_off_ms=its.off_ms,
        named_by=its.named_by,
        claim=its.claim,
        named=its.named,
    )


def word_of(nova: str) -> str:
    """Return Nova's status without what some clouds say in addition, as in BUILD(scheduling)."""
    return nova.partition("(")[0].strip()


def status_of(nova: str, task: str | None = None) -> Status:
    """Return our word for Nova's: whatever has been built and did not fail is ACTIVE.

    What is deleted softly is leaving: its quota may count it until it is gone. So is what is still
    shown as it was, while its deletion is the `task` that Nova is at.
    """
    if nova in ("ERROR", "DELETED"):
        return Status(nova)
    if nova == SOFT_DELETED or task in LEAVING:
        return Status.DELETING
    return Status.BUILD if nova in ("BUILD", "REBUILD", UNKNOWN) else Status.ACTIVE


def _addresses(networks: Mapping[str, Sequence[Document]]) -> Iterator[Address]:
    for network, addresses in networks.items():
        for it in addresses:
            floating = it.get("OS-EXT-IPS:type") == "floating"
            yield Address(
                address=it["addr"],
                version=it["version"],
                network=network,
                kind="floating" if floating else "fixed",
            )


def quota_of(limits: Document) -> Resources:
    """Return the quota in the answer to /limits; what it does not tell of is not bounded."""
    absolute = limits["limits"]["absolute"]
    return UNBOUNDED._replace(
        instances=_limit(absolute["maxTotalInstances"]),
        vcpus=_limit(absolute["maxTotalCores"]),
        ram_mb=_limit(absolute["maxTotalRAMSize"]),
    )


def _limit(value: int) -> int:
    return UNLIMITED if value < 0 else value


def flavor_of(it: Document) -> Flavor:
    """Return a flavor."""
    return Flavor(
        id=it["id"], name=it["name"], vcpus=it["vcpus"], ram_mb=it["ram"], disk_gb=it["disk"]
    )


def image_of(it: Document) -> Image:
    """Return an image."""
    return Image(
        id=it["id"],
        name=it.get("name") or "",
        created_at=it.get("created_at") or "",
        min_ram_mb=it.get("min_ram") or 0,
        min_disk_gb=it.get("min_disk") or 0,
        properties={
            name: value
            for name, value in it.items()
            if name not in IMAGE_FIELDS and isinstance(value, str)
        },
    )


def network_of(it: Document) -> Network:
    """Return a network."""
    return Network(
        id=it["id"],
        name=it["name"],
        shared=bool(it.get("shared")),
        external=bool(it.get("router:external")),
    )
