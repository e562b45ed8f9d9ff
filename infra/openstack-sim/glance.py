"""Glance: the images there are."""

from http import HTTPStatus
from typing import Any

from calls import Answer, Call, Route
from faults import Fault
from offered import Image
from pages import page

MADE_AT = "2026-01-01T00:00:00Z"


def versions(call: Call) -> Answer:
    """Say where its API is; 300 as upstream does."""
    links = [{"rel": "self", "href": f"{call.url}/v2/"}]
    document = {"versions": [{"id": "v2.17", "status": "CURRENT", "links": links}]}
    return Answer(HTTPStatus.MULTIPLE_CHOICES, document)


def listed(call: Call) -> Answer:
    """GET /v2/images, by name or status."""
    views = [_view(it) for it in call.region.offered.images.values()]
    wanted = [
        it
        for it in views
        if all(it[name] == call.query.get(name, it[name]) for name in ("name", "status"))
    ]
    some, link = page(call, "v2/images", wanted, lambda it: str(it["id"]))
    document = {"images": some, "schema": "/v2/schemas/images", "first": "/v2/images"}
    if link and "limit" in call.query:
        document["next"] = "/v2/images?" + link["href"].partition("?")[2]
    return Answer(HTTPStatus.OK, document)


def show(call: Call) -> Answer:
    """GET /v2/images/{id}."""
    image = call.region.offered.images.get(call.ids["id"])
    if not image:
        raise Fault(HTTPStatus.NOT_FOUND, f"No image found with ID {call.ids['id']}")
    return Answer(HTTPStatus.OK, _view(image))


def _view(image: Image) -> dict[str, Any]:
    return {
        "id": image.id,
        "name": image.name,
        "os_distro": image.os_distro,
        "os_version": image.os_version,
        "status": "active",
        "visibility": "public",
        "created_at": MADE_AT,
        "updated_at": MADE_AT,
        "min_ram": 0,
        "min_disk": image.min_disk_gb,
        "size": 17,
        "disk_format": "raw",
        "container_format": "bare",
        "protected": False,
        "os_hidden": False,
        "tags": [],
        "self": f"/v2/images/{image.id}",
        "schema": "/v2/schemas/image",
    }


OPEN: list[Route] = [("GET", "", versions), ("GET", "/", versions)]
ROUTES: list[Route] = [("GET", "/v2/images", listed), ("GET", "/v2/images/{id}", show)]
