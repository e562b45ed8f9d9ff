"""Neutron: the networks and the security groups there are."""

from http import HTTPStatus
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from calls import Answer, Call, Route
from keystone import PROJECT_ID
from offered import SECURITY_GROUPS, Network


def versions(call: Call) -> Answer:
    """Say where its API is."""
    links = [{"rel": "self", "href": f"{call.url}/v2.0/"}]
    document = {"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]}
    return Answer(HTTPStatus.OK, document)


def listed(call: Call) -> Answer:
    """GET /v2.0/networks, by name or id."""
    views = [_view(it) for it in call.region.offered.networks.values()]
    wanted = [
        it
        for it in views
        if all(it[name] == call.query.get(name, it[name]) for name in ("name", "id"))
    ]
    return Answer(HTTPStatus.OK, {"networks": wanted})


def security_groups(_: Call) -> Answer:
    """GET /v2.0/security-groups; in every region the same."""
    groups = [
        {"id": str(uuid5(NAMESPACE_URL, name)), "name": name, "project_id": PROJECT_ID}
        for name in SECURITY_GROUPS
    ]
    return Answer(HTTPStatus.OK, {"security_groups": groups})


def _view(network: Network) -> dict[str, Any]:
    return {
        "id": network.id,
        "name": network.name,
        "status": "ACTIVE",
        "admin_state_up": True,
        "shared": network.shared,
        "router:external": network.external,
        "project_id": PROJECT_ID,
        "tenant_id": PROJECT_ID,
        "subnets": [],
        "mtu": 1450,
    }


OPEN: list[Route] = [("GET", "", versions), ("GET", "/", versions)]
ROUTES: list[Route] = [
    ("GET", "/v2.0/networks", listed),
    ("GET", "/v2.0/security-groups", security_groups),
]
