"""Nova: servers, their metadata, the quota and the flavors. Texts are those of Nova 2026.2."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import schemas
from calls import OLDEST, Answer, Call, Route, newest, shown
from faults import Fault
from nova_views import created, flavor_view, server_view, summary_view
from offered import SECURITY_GROUPS, Flavor, Image, Network
from pages import page
from region import Order, OverQuota, Server

GIB = 1024**3
# name -> whether a server fits, from the tags asked for and those it has
TAG_FILTERS: Mapping[str, Callable[[set[str], set[str]], bool]] = {
    "tags": lambda asked, have: asked <= have,
    "tags-any": lambda asked, have: bool(asked & have),
    "not-tags": lambda asked, have: not asked <= have,
    "not-tags-any": lambda asked, have: not asked & have,
}


def version(call: Call) -> Answer:
    """Say which microversions there are."""
    document = {
        "id": "v2.1",
        "status": "CURRENT",
        "version": shown(newest(call.region)),
        "min_version": shown(OLDEST),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{call.url}/"}],
        "media-types": [],
    }
    return Answer(HTTPStatus.OK, {"version": document})


def create(call: Call) -> Answer:
    """POST /servers: one server, or none and a fault."""
    schemas.check(schemas.create_server(call.microversion), call.body)
    asked = call.body["server"]
    order = _order(call, asked)
    try:
        server = call.region.make(order)
    except OverQuota:
        call.region.refused += 1
        raise
    call.region.accepted += 1
    where = f"{call.url}/servers/{server.id}"
    return Answer(HTTPStatus.ACCEPTED, created(server, where), {"Location": where})


def _order(call: Call, asked: dict[str, Any]) -> Order:
    offered = call.region.offered
    if not (image := offered.images.get(asked["imageRef"])):
        raise Fault(HTTPStatus.BAD_REQUEST, "Can not find requested image")
    network = _network(call, asked.get("networks"))
    flavor_id = str(asked["flavorRef"])
    if not (flavor := offered.flavors.get(flavor_id)):
        raise Fault(HTTPStatus.BAD_REQUEST, f"Flavor {flavor_id} could not be found.")
    _check_fits(flavor, image)
    if asked.get("key_name") and asked["key_name"] not in call.region.keypairs:
        raise Fault(HTTPStatus.BAD_REQUEST, "Invalid key_name provided.")
    return Order(
        name=asked["name"].strip(),
        flavor=flavor,
        image=image,
        network=network,
        metadata=_metadata(call, asked.get("metadata", {})),
        tags=tuple(dict.fromkeys(asked.get("tags", ()))),
        key_name=asked.get("key_name"),
        security_groups=_security_groups(asked),
        user_data=asked.get("user_data"),
    )


def _check_fits(flavor: Flavor, image: Image) -> None:
    """Pass a flavor that an image fits on (nova/compute/api.py).

    Raises:
        Fault: it does not.
    """
    if flavor.disabled:  # told by its number in the database
        raise Fault(HTTPStatus.BAD_REQUEST, "Flavor 7 could not be found.")
    if flavor.disk_gb == 0:
        message = "Only volume-backed servers are allowed for flavors with zero disk."
        raise Fault(HTTPStatus.FORBIDDEN, message)
    if image.min_disk_gb > flavor.disk_gb:
        message = (
            "Flavor's disk is smaller than the minimum size specified in image metadata."
            f" Flavor disk is {flavor.disk_gb * GIB} bytes,"
            f" minimum size is {image.min_disk_gb * GIB} bytes."
        )
        raise Fault(HTTPStatus.BAD_REQUEST, message)
    if image.local_disks:
        message = (
            "Block Device Mapping is Invalid:"
            " You specified more local devices than the limit allows"
        )
        raise Fault(HTTPStatus.BAD_REQUEST, message)


def _network(call: Call, asked: Any) -> Network:  # noqa: ANN401  JSON
    """Return the first network asked for; the usual one if none is named."""
    offered = call.region.offered
    if not asked or isinstance(asked, str):
        return offered.usual_network
    for it in asked:
        network = offered.networks.get(it["uuid"])
        if network is None:
            raise Fault(HTTPStatus.BAD_REQUEST, f"Network {it['uuid']} could not be found.")
        if network.external and not network.shared:
            message = "It is not allowed to create an interface on external network "
            raise Fault(HTTPStatus.FORBIDDEN, message + network.id)
    return offered.networks[asked[0]["uuid"]]


def _security_groups(asked: dict[str, Any]) -> list[str]:
    names = [it.get("name") for it in asked.get("security_groups", ())] or ["default"]
    for name in names:
        if name not in SECURITY_GROUPS:
            message = f"Unable to find security_group with name or id '{name}'"
            raise Fault(HTTPStatus.BAD_REQUEST, message)
    return names


def _metadata(call: Call, asked: dict[str, str]) -> dict[str, str]:
    most = call.region.conduct.metadata_items
    if 0 <= most < len(asked):
        message = f"Maximum number of metadata items exceeds {most}"
        raise Fault(HTTPStatus.FORBIDDEN, message)
    return asked


def summaries(call: Call) -> Answer:
    """GET /servers."""
    return _listed(call, "servers", summary_view)


def details(call: Call) -> Answer:
    """GET /servers/detail."""
    return _listed(call, "servers/detail", server_view)


def _listed(call: Call, path: str, view: Any) -> Answer:  # noqa: ANN401
    """List servers, newest first; as Nova does for members, `metadata` filters nothing."""
    name = _pattern(call.query.get("name", ""))
    wanted = [it for it in reversed(call.region.servers.values()) if _is_wanted(it, name, call)]
    some, link = page(call, path, wanted, lambda it: it.id)
    document: dict[str, Any] = {"servers": [view(call, it) for it in some]}
    if link:
        document["servers_links"] = [link]
    return Answer(HTTPStatus.OK, document)


def _is_wanted(server: Server, name: re.Pattern[str], call: Call) -> bool:
    """Apply the filters; the pattern may be found anywhere in the name."""
    query = call.query
    if not query:
        return True
    if not name.search(server.order.name):
        return False
    if "status" in query and query["status"].upper() != server.status:
        return False
    have = set(server.order.tags)
    return all(
        fits(set(query[name].split(",")), have)
        for name, fits in TAG_FILTERS.items()
        if name in query
    )


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        message = f"Invalid input for query parameters name. Value: {text}. "
        raise Fault(HTTPStatus.BAD_REQUEST, f"{message}'{text}' is not a 'regex'") from error


def _server(call: Call) -> Server:
    server_id = call.ids["id"]
    if not (server := call.region.servers.get(server_id)):
        raise Fault(HTTPStatus.NOT_FOUND, f"Instance {server_id} could not be found.")
    return server


def show(call: Call) -> Answer:
    """GET /servers/{id}."""
    return Answer(HTTPStatus.OK, {"server": server_view(call, _server(call))})


def delete(call: Call) -> Answer:
    """DELETE /servers/{id}: it goes some time later."""
    call.region.end(_server(call))
    return Answer(HTTPStatus.NO_CONTENT)


def metadata(call: Call) -> Answer:
    """GET /servers/{id}/metadata."""
    return Answer(HTTPStatus.OK, {"metadata": _server(call).metadata})


def add_metadata(call: Call) -> Answer:
    """POST: what is not named stays."""
    schemas.check(schemas.set_metadata, call.body)
    server = _server(call)
    server.metadata = _metadata(call, server.metadata | call.body["metadata"])
    return metadata(call)


def replace_metadata(call: Call) -> Answer:
    """PUT: what is not named goes."""
    schemas.check(schemas.set_metadata, call.body)
    _server(call).metadata = _metadata(call, call.body["metadata"])
    return metadata(call)


def limits(call: Call) -> Answer:
    """GET /limits: the quota, and what of it is used."""
    limits, used = call.region.limits(), call.region.used()
    absolute = {
        "maxTotalInstances": limits["instances"],
        "maxTotalCores": limits["cores"],
        "maxTotalRAMSize": limits["ram"],
        "maxTotalKeypairs": call.region.conduct.keypairs,
        "maxServerMeta": call.region.conduct.metadata_items,
        "totalInstancesUsed": used["instances"],
        "totalCoresUsed": used["cores"],
        "totalRAMUsed": used["ram"],
    }
    return Answer(HTTPStatus.OK, {"limits": {"rate": [], "absolute": absolute}})


def flavors(call: Call) -> Answer:
    """GET /flavors/detail."""
    shown_to_members = [it for it in call.region.offered.flavors.values() if not it.disabled]
    some, _ = page(call, "flavors/detail", shown_to_members, _id)
    return Answer(HTTPStatus.OK, {"flavors": [flavor_view(call, it) for it in some]})


def flavor(call: Call) -> Answer:
    """GET /flavors/{id}."""
    found = call.region.offered.flavors.get(call.ids["id"])
    if not found:
        raise Fault(HTTPStatus.NOT_FOUND, f"Flavor {call.ids['id']} could not be found.")
    return Answer(HTTPStatus.OK, {"flavor": flavor_view(call, found)})


def _id(it: Any) -> str:  # noqa: ANN401  whatever has an id
    return str(it.id)


OPEN: list[Route] = [("GET", "", version), ("GET", "/", version)]
ROUTES: list[Route] = [
    ("GET", "/servers", summaries),
    ("GET", "/servers/detail", details),
    ("POST", "/servers", create),
    ("GET", "/servers/{id}", show),
    ("DELETE", "/servers/{id}", delete),
    ("GET", "/servers/{id}/metadata", metadata),
    ("POST", "/servers/{id}/metadata", add_metadata),
    ("PUT", "/servers/{id}/metadata", replace_metadata),
    ("GET", "/limits", limits),
    ("GET", "/flavors/detail", flavors),
    ("GET", "/flavors/{id}", flavor),
]
