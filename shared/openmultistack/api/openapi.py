"""The API as OpenAPI 3.1, for `GET /openapi.json`: the commands' schemas are the models' own."""

from collections.abc import Mapping
from typing import Any, get_args

from openmultistack.domain import errors
from openmultistack.domain.commands import (
    AdoptUnverified,
    CreateInstances,
    DestroyCopies,
    DrainRegions,
    ForgetRegions,
    OpenRegions,
    Reap,
    RenewInstance,
)
from openmultistack.domain.models import AddressKind, Status
from openmultistack.domain.regions import RegionHealth

Json = dict[str, Any]

_TIME: Json = {"type": "string", "format": "date-time"}
_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}


def _object(**properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def _maybe(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: Json) -> Json:
    return {"type": "array", "items": schema}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_COUNTS = _object(cap=_COUNT, held=_COUNT, foreign=_COUNT, free=_COUNT)

_SCHEMAS: Mapping[str, Json] = {
    "Instance": _object(
        id={"type": "string", "pattern": "^i-[0-9A-Z]{26}$"},
        name=_TEXT,
        status={"enum": [it.value for it in Status]},
        cloud_status=_maybe(
            _TEXT | {"description": "the cloud's own word where it says more, as SHUTOFF or RESCUE"}
        ),
        owner=_TEXT,
        region=_maybe(_TEXT),
        provider=_maybe(_TEXT),
        server_id=_maybe(_TEXT),
        image=_TEXT,
        flavor=_TEXT,
        addresses=_list(
            _object(
                address=_TEXT,
                version={"enum": [4, 6]},
                network=_TEXT,
                kind={"enum": list(get_args(AddressKind))},
            )
        ),
        address=_maybe(_TEXT | {"description": "the one to use: floating, else public if any is"}),
        labels={"type": "object", "additionalProperties": _TEXT},
        attempt=_COUNT,
        created_at=_TIME,
        expires_at=_TIME
        | {"description": "of one that is QUEUED the end of its wait; its ttl begins with a slot"},
        error=_maybe(_TEXT),
    ),
    "Event": _object(
        at=_TIME, what=_TEXT, region=_maybe(_TEXT), attempt={"type": "integer"}, why=_TEXT
    ),
    "Region": _object(
        region=_TEXT,
        provider=_TEXT,
        state={"enum": list(get_args(RegionHealth))},
        cap=_COUNT,
        held=_COUNT,
        foreign=_COUNT,
        free=_COUNT,
        resources=_object(instances=_COUNTS, vcpus=_COUNTS, ram_mb=_COUNTS),
        building=_COUNT,
        max_building=_maybe(_COUNT),
        drained=_maybe(_TEXT),
        resting_s=_COUNT,
        last_error=_maybe(_TEXT),
        last_error_at=_maybe(_TIME),
        swept_at=_maybe(_TIME),
        strangers={
            "type": "object",
            "additionalProperties": _COUNT,
            "description": "of the foreign servers those that say they are the fleet's: how many"
            " are a `copy`, `unsigned` or `unverified`; and how many are an instance's own by their"
            " ids, with marks and name `spoilt`",
        },
    ),
    "Sweep": _object(
        region=_TEXT,
        outcome={"enum": ["swept", "busy", "failed", "refused"]},
        error=_maybe(_TEXT),
        actions={"type": "object", "additionalProperties": _COUNT},
        duration_ms=_COUNT,
    ),
    "Token": _object(
        id=_TEXT,
        jti=_maybe(_TEXT),
        issuer=_TEXT,
        owner=_TEXT,
        scopes=_list(_TEXT),
        expires_at=_TIME,
        used_at=_TIME,
        revoked={"type": "boolean"},
    ),
    "Problem": {
        "type": "object",
        "description": "RFC 9457; `errors` has a JSON pointer for each fault of a 422.",
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "request_id": _TEXT,
            "errors": _list(_object(pointer=_TEXT, detail=_TEXT)),
            "nearest": _list(_TEXT),
            "instances": _list(_TEXT),
            "regions": {"type": "object", "additionalProperties": _TEXT},
            "quota": {"type": "object", "additionalProperties": _COUNT},
            "used": {"type": "object", "additionalProperties": _COUNT},
            "unreachable": _list(_TEXT),
            # By region, what its cloud calls the request that it refused.
            "cloud_request_ids": {"type": "object", "additionalProperties": _TEXT},
        },
        "required": ["type", "title", "status", "detail"],
    },
}

_INSTANCES = _list(_ref("Instance"))
_LABEL = {
    "name": "label",
    "in": "query",
    "description": "key:value; repeat it to ask for several at once",
    "schema": _list(_TEXT),
    "explode": True,
}
_ID = {"name": "id", "in": "path", "required": True, "schema": _TEXT}


def _query(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "schema": schema}


# Commands that say all by themselves, without a body.
_MAY_BE_LEFT_OUT = ("Reap",)


def _operation(
    summary: str,
    scope: str | None,
    answer: tuple[int, Json],
    *problems: type[errors.Problem],
    parameters: tuple[Json, ...] = (),
    body: str | None = None,
) -> Json:
    status, schema = answer
    always = (errors.Unauthenticated, errors.InsufficientScope) if scope else ()
    responses = {str(status): _response("as asked", "application/json", schema)}
    for problem in (*always, *problems, errors.LedgerUnavailable):
        said = f"{problem.slug}: {problem.title}"
        responses[str(problem.status)] = _response(
            said, "application/problem+json", _ref("Problem")
        )
    operation: Json = {"summary": summary, "responses": responses, "parameters": [*parameters]}
    operation["security"] = [{"bearer": [scope]}] if scope else []
    if body:
        content = {"application/json": {"schema": _ref(body)}}
        operation["requestBody"] = {"required": body not in _MAY_BE_LEFT_OUT, "content": content}
    return operation


def _response(description: str, kind: str, schema: Json) -> Json:
    return {"description": description, "content": {kind: {"schema": schema}}}


# All that can be wrong with a command.
_BAD_BODY = (errors.Malformed, errors.TooSlow, errors.TooLarge, errors.Invalid)
_SHOWN = (202, _object(instances=_INSTANCES))


def _instances() -> Json:
    wait = {
        "name": "Prefer",
        "in": "header",
        "description": "wait=SECONDS: answer when all are ACTIVE, or the time (at most 60) is over",
        "schema": _TEXT,
    }
    filters = (
        _LABEL,
        _query("status", {"enum": [it.value for it in Status]}),
        _query("region", _TEXT),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}),
        _query("cursor", _TEXT),
    )
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "the same key and command give the same instances again, for 24 hours",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
    placed = _object(instances=_INSTANCES, requested=_COUNT, placed=_COUNT, queued=_COUNT)
    refused = (
        errors.IdempotencyConflict, errors.InstancesEnded, errors.OwnerQuotaExceeded,
        errors.NoRegionWorked, errors.CapacityExhausted,
    )  # fmt: skip
    return {
        "post": _operation(
            "Create instances", "instances:create", (202, placed), *_BAD_BODY, *refused,
            parameters=(wait, key), body="CreateInstances",
        ),
        "get": _operation(
            "List own instances, newest first", "instances:read",
            (200, _object(instances=_INSTANCES, next=_maybe(_TEXT))), errors.Invalid,
            parameters=filters,
        ),
        "delete": _operation(
            "Destroy all own instances with these labels", "instances:destroy", _SHOWN,
            errors.Invalid, errors.ProviderRemoved, parameters=(_LABEL,),
        ),
    }  # fmt: skip


def _instance() -> Json:
    queue = _object(place=_COUNT, waiting=_COUNT, why=_TEXT)
    shown = dict(_SCHEMAS["Instance"])
    shown["properties"] = shown["properties"] | {"queue": queue}
    return {
        "get": _operation(
            "Show an instance, and how it waits", "instances:read", (200, shown), errors.NotFound,
            parameters=(_ID,),
        ),
        "patch": _operation(
            "Move an instance's expiry", "instances:create", (200, _ref("Instance")),
            *_BAD_BODY, errors.NotFound,
            parameters=(_ID,), body="RenewInstance",
        ),
        "delete": _operation(
            "Destroy an instance; repeating it is harmless", "instances:destroy", _SHOWN,
            errors.NotFound, errors.ProviderRemoved, parameters=(_ID,),
        ),
    }  # fmt: skip


def _regions() -> Json:
    shown = (200, _object(regions=_list(_ref("Region"))))
    return {
        "/regions": {
            "get": _operation("Show every region's counts and state", "fleet:read", shown)
        },
        "/regions/drain": {
            "post": _operation(
                "Let nothing new into regions", "fleet:drain", shown, *_BAD_BODY,
                body="DrainRegions",
            )
        },
        "/regions/open": {
            "post": _operation(
                "Open drained regions", "fleet:drain", shown, *_BAD_BODY, body="OpenRegions"
            )
        },
        "/regions/forget": {
            "post": _operation(
                "Drop removed regions with what they hold", "fleet:drain", shown, *_BAD_BODY,
                body="ForgetRegions",
            )
        },
        "/regions/adopt": {
            "post": _operation(
                "Sweep regions, and adopt servers whose marks nothing proves", "fleet:reap",
                (200, _object(regions=_list(_ref("Sweep")))), *_BAD_BODY, body="AdoptUnverified",
            )
        },
        "/copies/destroy": {
            "post": _operation(
                "Delete servers that are copies of an instance's", "fleet:reap",
                (200, _object(copies=_list(_object(server=_TEXT, region=_TEXT, instance=_TEXT)))),
                *_BAD_BODY, errors.NotFound, body="DestroyCopies",
            )
        },
    }  # fmt: skip


def _tokens() -> Json:
    named = _ID | {"description": "the id or the jti of a token"}
    until = {"type": "integer", "minimum": 0, "description": "seconds since 1970"}
    return {
        "/tokens": {
            "get": _operation(
                "List own tokens that were seen, the last used first; with fleet:tokens all",
                "tokens:own", (200, _object(tokens=_list(_ref("Token")))), errors.Invalid,
            )
        },
        "/tokens/{id}": {
            "delete": _operation(
                "Revoke an own token that was seen; with fleet:tokens any",
                "tokens:own", (200, _object(revoked=_list(_TEXT))),
                errors.NotFound, errors.Invalid, errors.OwnerQuotaExceeded,
                parameters=(named, _query("issuer", _TEXT), _query("until", until)),
            )
        },
    }  # fmt: skip


def _paths() -> Json:
    return _regions() | _tokens() | {
        "/instances": _instances(),
        "/instances/{id}": _instance(),
        "/instances/{id}/events": {
            "get": _operation(
                "Tell an instance's story", "instances:read",
                (200, _object(events=_list(_ref("Event")))), errors.NotFound, parameters=(_ID,),
            )
        },
        "/reap": {
            "post": _operation(
                "Sweep all regions", "fleet:reap",
                (200, _object(regions=_list(_ref("Sweep")), expired=_COUNT, forgotten=_COUNT)),
                *_BAD_BODY, body="Reap",
            )
        },
        "/healthz": {
            "get": _operation(
                "Say whether the ledger answers", None, (200, _object(status=_TEXT))
            )
        },
    }  # fmt: skip


_COMMANDS = (
    CreateInstances, RenewInstance, DrainRegions, OpenRegions, ForgetRegions, AdoptUnverified,
    DestroyCopies, Reap,
)  # fmt: skip


def document() -> Json:
    """Return the whole document."""
    schemas = dict(_SCHEMAS)
    for model in _COMMANDS:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenMultiStack",
            "version": "1",
            "description": "Instances on many capped OpenStack regions, behind one API.",
        },
        "servers": [{"url": "/v1"}],
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }
