"""What bodies of calls to Nova must look like: upstream's JSON schemas, as far as they are used."""

import base64
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from uuid import UUID

from calls import Microversion
from faults import Fault
from jsonschema import Draft4Validator, FormatChecker

NAME = {"type": "string", "minLength": 1, "maxLength": 255}
METADATA = {
    "type": "object",
    "patternProperties": {r"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}
TAG = {"type": "string", "pattern": "^[^,/]*$", "minLength": 1, "maxLength": 60}
TAGS = {"type": "array", "items": TAG, "maxItems": 50}
NETWORK = {
    "type": "object",
    "properties": {"uuid": {"type": "string", "format": "uuid"}},
    "required": ["uuid"],
    "additionalProperties": False,
}
NETWORKS = {
    "oneOf": [
        {"type": "array", "items": NETWORK},
        {"type": "string", "enum": ["none", "auto"]},
    ]
}
# A POST makes one server here, and as the sdk's cloud layer does it may say so.
ONE = {"enum": [1, "1"]}
# What the command line says of a server that boots from an image and has no volume.
IMAGE_ON_DISK = {
    "type": "object",
    "properties": {"source_type": {"const": "image"}, "destination_type": {"const": "local"}},
    "required": ["source_type", "destination_type"],
}
SERVER = {
    "name": NAME,
    "flavorRef": {"type": ["string", "integer"], "minLength": 1},
    "imageRef": {
        "oneOf": [{"type": "string", "format": "uuid"}, {"type": "string", "maxLength": 0}]
    },
    "metadata": METADATA,
    "networks": NETWORKS,
    "key_name": NAME,
    "user_data": {"type": "string", "format": "base64", "maxLength": 65535},
    "security_groups": {"type": "array", "items": {"type": "object"}},
    "availability_zone": NAME,
    "config_drive": {},
    "min_count": ONE,
    "max_count": ONE,
    "block_device_mapping_v2": {"type": "array", "items": IMAGE_ON_DISK, "maxItems": 1},
    "OS-DCF:diskConfig": {"type": "string", "enum": ["AUTO", "MANUAL"]},
}
SINCE: Mapping[Microversion, Mapping[str, Any]] = {
    (2, 19): {"description": {"type": ["string", "null"], "maxLength": 255}},
    (2, 52): {"tags": TAGS},
}
NETWORKS_REQUIRED_SINCE = (2, 37)
SET_METADATA = {
    "type": "object",
    "properties": {"metadata": METADATA},
    "required": ["metadata"],
    "additionalProperties": False,
}
KEYPAIR = {"name": NAME, "public_key": {"type": "string"}}
KEYPAIR_SINCE: Mapping[Microversion, Mapping[str, Any]] = {
    (2, 2): {"type": {"type": "string", "enum": ["ssh", "x509"]}},
    (2, 10): {"user_id": {"type": "string"}},
}

FORMATS = FormatChecker(formats=())


@FORMATS.checks("uuid", raises=ValueError)
def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or bool(UUID(value))


@FORMATS.checks("base64", raises=ValueError)
def _is_base64(value: object) -> bool:
    if isinstance(value, str):
        base64.b64decode(value)  # as upstream: what is no letter of base64 is passed over
    return True


@lru_cache
def create_server(version: Microversion) -> Draft4Validator:
    """Return what a create must look like at a microversion."""
    properties = dict(SERVER)
    for since, more in SINCE.items():
        if version >= since:
            properties |= more
    required = ["name", "flavorRef", "imageRef"]
    required += ["networks"] if version >= NETWORKS_REQUIRED_SINCE else []
    server = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    whole = {"type": "object", "properties": {"server": server}, "required": ["server"]}
    return Draft4Validator(whole, format_checker=FORMATS)


@lru_cache
def import_keypair(version: Microversion) -> Draft4Validator:
    """Return what the import of a key must look like at a microversion."""
    properties: dict[str, Any] = dict(KEYPAIR)
    for since, more in KEYPAIR_SINCE.items():
        if version >= since:
            properties |= more
    keypair = {
        "type": "object",
        "properties": properties,
        "required": ["name", "public_key"],
        "additionalProperties": False,
    }
    whole = {"type": "object", "properties": {"keypair": keypair}, "required": ["keypair"]}
    return Draft4Validator(whole, format_checker=FORMATS)


set_metadata = Draft4Validator(SET_METADATA, format_checker=FORMATS)


def check(validator: Draft4Validator, body: object) -> None:
    """Pass a body that is as it must be.

    Raises:
        Fault: 400 in Nova's words (nova/api/validation/validators.py).
    """
    error = next(validator.iter_errors(body), None)
    if error is None:
        return
    message = error.message
    if error.absolute_path:
        where = error.absolute_path[-1]
        message = f"Invalid input for field/attribute {where}. Value: {error.instance}. {message}"
    raise Fault(HTTPStatus.BAD_REQUEST, message)
