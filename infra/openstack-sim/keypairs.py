"""Nova's keypairs: public keys that a client brings; they are one user's in one region."""

import base64
import hashlib
from http import HTTPStatus
from typing import Any

import schemas
from calls import Answer, Call, Route
from faults import Fault
from keystone import USER_ID
from pages import page

TYPE_SINCE = (2, 2)
PAGES_SINCE = (2, 35)
_NO_KEY = "Keypair data is invalid: failed to generate fingerprint"


def create(call: Call) -> Answer:
    """POST /os-keypairs."""
    schemas.check(schemas.import_keypair(call.microversion), call.body)
    asked, keypairs = call.body["keypair"], call.region.keypairs
    fingerprint = _fingerprint(asked["public_key"])
    if not call.region.conduct.ed25519 and asked["public_key"].startswith("ssh-ed25519 "):
        raise Fault(HTTPStatus.BAD_REQUEST, _NO_KEY)
    if asked["name"] in keypairs:
        raise Fault(HTTPStatus.CONFLICT, f"Key pair '{asked['name']}' already exists.")
    if 0 <= call.region.conduct.keypairs <= len(keypairs):
        raise Fault(HTTPStatus.FORBIDDEN, "Quota exceeded, too many key pairs.")
    keypairs[asked["name"]] = {
        "name": asked["name"],
        "public_key": asked["public_key"],
        "fingerprint": fingerprint,
        "type": asked.get("type", "ssh"),
    }
    status = HTTPStatus.CREATED if call.microversion >= TYPE_SINCE else HTTPStatus.OK
    return Answer(status, {"keypair": _view(call, asked["name"]) | {"user_id": USER_ID}})


def listed(call: Call) -> Answer:
    """GET /os-keypairs: all; by pages, in the order of their names, from 2.35 on."""
    names = sorted(call.region.keypairs)
    link = None
    if call.microversion >= PAGES_SINCE:
        some, link = page(call, "os-keypairs", names, str)
        names = list(some)
    document: dict[str, Any] = {"keypairs": [{"keypair": _view(call, it)} for it in names]}
    if link:
        document["keypairs_links"] = [link]
    return Answer(HTTPStatus.OK, document)


def show(call: Call) -> Answer:
    """GET /os-keypairs/{name}."""
    return Answer(HTTPStatus.OK, {"keypair": _view(call, _name(call)) | {"user_id": USER_ID}})


def delete(call: Call) -> Answer:
    """DELETE /os-keypairs/{name}."""
    del call.region.keypairs[_name(call)]
    old = call.microversion < TYPE_SINCE
    return Answer(HTTPStatus.ACCEPTED if old else HTTPStatus.NO_CONTENT)


def _name(call: Call) -> str:
    name = call.ids["name"]
    if name not in call.region.keypairs:
        raise Fault(HTTPStatus.NOT_FOUND, f"Keypair {name} not found for user {USER_ID}")
    return name


def _view(call: Call, name: str) -> dict[str, Any]:
    keypair = dict(call.region.keypairs[name])
    if call.microversion < TYPE_SINCE:
        del keypair["type"]
    return keypair


def _fingerprint(public_key: str) -> str:
    """Return a key's MD5, as Nova shows it; also the only test that it is a key."""
    try:
        key = base64.b64decode(public_key.split(" ")[1])
    except (IndexError, ValueError) as error:
        raise Fault(HTTPStatus.BAD_REQUEST, _NO_KEY) from error
    digest = hashlib.md5(key, usedforsecurity=False)
    return digest.digest().hex(":")


ROUTES: list[Route] = [
    ("GET", "/os-keypairs", listed),
    ("POST", "/os-keypairs", create),
    ("GET", "/os-keypairs/{name}", show),
    ("DELETE", "/os-keypairs/{name}", delete),
]
