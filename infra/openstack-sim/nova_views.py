"""How Nova shows servers and flavors, by microversion (nova/api/openstack/compute/views)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from calls import Call, Microversion
from keystone import PROJECT_ID, USER_ID
from offered import Flavor
from region import Server

TAGS_SINCE = (2, 26)
HOSTNAME_SINCE = (2, 90)
# What a microversion brought, and is the same in all servers.
CONSTANTS: Sequence[tuple[Microversion, str, Any]] = (
    ((2, 9), "locked", False),
    ((2, 19), "description", None),
    ((2, 63), "trusted_image_certificates", None),
    ((2, 71), "server_groups", []),
    ((2, 73), "locked_reason", None),
    ((2, 96), "pinned_availability_zone", None),
)
_POWER = {"ACTIVE": 1}
_VM_STATE = {"BUILD": "building", "ACTIVE": "active", "ERROR": "error"}


def when(seconds: float) -> str:
    """Return a time as Nova writes it."""
    return _second(int(seconds))


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def created(server: Server, where: str) -> dict[str, Any]:
    """Return the answer to a create."""
    shown = {
        "id": server.id,
        "links": [{"rel": "self", "href": where}],
        "OS-DCF:diskConfig": "MANUAL",
        "security_groups": [{"name": it} for it in server.order.security_groups],
        "adminPass": server.id[:12],
    }
    return {"server": shown}


def summary_view(call: Call, server: Server) -> dict[str, Any]:
    """Return a server in a list without details."""
    links = [{"rel": "self", "href": f"{call.url}/servers/{server.id}"}]
    return {"id": server.id, "name": server.order.name, "links": links}


def server_view(call: Call, server: Server) -> dict[str, Any]:
    """Return a server with all that a member of its project sees."""
    view = summary_view(call, server) | _state(server) | _ordered(call, server)
    if server.fault:
        code = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        fault = {"code": code, "created": when(server.changed_at), "message": server.fault}
        view["fault"] = fault
    if call.microversion >= TAGS_SINCE:
        view["tags"] = list(server.order.tags)
    if call.microversion >= HOSTNAME_SINCE:
        view["OS-EXT-SRV-ATTR:hostname"] = server.order.name
    return view | {name: it for since, name, it in CONSTANTS if call.microversion >= since}


def _state(server: Server) -> dict[str, Any]:
    return {
        "status": server.status,
        "progress": 0,
        "created": when(server.made_at),
        "updated": when(server.changed_at),
        "addresses": _addresses(server),
        "metadata": server.metadata,
        "OS-EXT-STS:task_state": server.task_state,
        "OS-EXT-STS:vm_state": _VM_STATE[server.status],
        "OS-EXT-STS:power_state": _POWER.get(server.status, 0),
        "OS-SRV-USG:launched_at": _launched(server),
        "OS-SRV-USG:terminated_at": None,
    }


def _ordered(call: Call, server: Server) -> dict[str, Any]:
    order = server.order
    return {
        "flavor": _embedded(call, order.flavor),
        "image": {"id": order.image.id, "links": [_bookmark(call, "images", order.image.id)]},
        "key_name": order.key_name,
        "security_groups": [{"name": it} for it in order.security_groups],
        "tenant_id": PROJECT_ID,
        "user_id": USER_ID,
        "hostId": "",
        "accessIPv4": "",
        "accessIPv6": "",
        "config_drive": "",
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": "nova",
        "os-extended-volumes:volumes_attached": [],
    }


def _launched(server: Server) -> str | None:
    """Return when it became ACTIVE, in a format of its own."""
    return when(server.boots_at).replace("Z", ".000000") if server.status == "ACTIVE" else None


def _bookmark(call: Call, kind: str, thing_id: str) -> dict[str, str]:
    return {"rel": "bookmark", "href": f"{call.url.removesuffix('/v2.1')}/{kind}/{thing_id}"}


def _addresses(server: Server) -> dict[str, Any]:
    """Return a server's address, which it has once it has booted."""
    if server.status != "ACTIVE":
        return {}
    address = {
        "version": 4,
        "addr": server.address,
        "OS-EXT-IPS:type": "fixed",
        "OS-EXT-IPS-MAC:mac_addr": f"fa:16:3e:{server.id[:2]}:{server.id[2:4]}:{server.id[4:6]}",
    }
    return {server.order.network.name: [address]}


def _embedded(call: Call, flavor: Flavor) -> dict[str, Any]:
    """Return the flavor in a server: an id, and from 2.47 on its numbers instead."""
    if call.microversion < (2, 47):
        return {"id": flavor.id, "links": [_bookmark(call, "flavors", flavor.id)]}
    return {
        "original_name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram_mb,
        "disk": flavor.disk_gb,
        "ephemeral": 0,
        "swap": 0,
        "extra_specs": {},
    }


def flavor_view(call: Call, flavor: Flavor) -> dict[str, Any]:
    """Return a flavor."""
    view = {
        "id": flavor.id,
        "name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram_mb,
        "disk": flavor.disk_gb,
        "swap": 0 if call.microversion >= (2, 75) else "",
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
        "rxtx_factor": 1.0,
        "links": [{"rel": "self", "href": f"{call.url}/flavors/{flavor.id}"}],
    }
    if call.microversion >= (2, 55):
        view["description"] = None
    if call.microversion >= (2, 61):
        view["extra_specs"] = {}
    return view
