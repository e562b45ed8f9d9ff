"""The API as OpenAPI 3.1: put together of what each endpoint tells of itself."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from openmultistack.api.operations import COUNT, TEXT, Json, Named, Operation, list_of, object_of
from openmultistack.api.problems import OURS
from openmultistack.domain import errors

if TYPE_CHECKING:
    from openmultistack.api.calls import Endpoint

_BY_REGION: Json = {"type": "object", "additionalProperties": TEXT}
_COUNTS: Json = {"type": "object", "additionalProperties": COUNT}
PROBLEM = Named(
    "Problem",
    {
        "type": "object",
        "description": "RFC 9457; `errors` has a JSON pointer for each fault of a 422.",
        "properties": {
            "type": TEXT,
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "request_id": TEXT,
            "errors": list_of(object_of(pointer=TEXT, detail=TEXT)),
            "nearest": list_of(TEXT),
            "instances": list_of(TEXT),
            "regions": _BY_REGION,
            "quota": _COUNTS,
            "used": _COUNTS,
            "unreachable": list_of(TEXT),
            # What its cloud calls the request that it refused.
            "cloud_request_ids": _BY_REGION,
        },
        "required": ["type", "title", "status", "detail"],
    },
)


class _Schemas(dict[str, Json]):
    """Schemas that the description has under names, each found where something refers to it."""

    def resolve(self, value: Any) -> Any:  # noqa: ANN401  what JSON can have, and the same again
        """Return a part of the description with references in the place of named schemas."""
        if isinstance(value, Named):
            if value.name not in self:
                self[value.name] = self.resolve(value.schema)
            return _reference(value.name)
        if isinstance(value, Mapping):
            return {name: self.resolve(it) for name, it in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolve(it) for it in value]
        return value

    def command(self, told: Operation) -> Json:
        """Return the body that an operation takes, whose schema is the model's own."""
        if told.body is None:
            return {}
        schema = told.body.model_json_schema(ref_template="#/components/schemas/{model}")
        self.update(schema.pop("$defs", {}))
        self[told.body.__name__] = schema
        content = {"application/json": {"schema": _reference(told.body.__name__)}}
        return {"requestBody": {"required": told.needs_body, "content": content}}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def document(endpoints: "Iterable[Endpoint]") -> Json:
    """Return the whole document; endpoints that tell nothing of themselves are not in it."""
    schemas, paths = _Schemas(), dict[str, Json]()
    for it in endpoints:
        if it.operation is not None:
            described = _operation(it.operation, it.guard.scope) | schemas.command(it.operation)
            paths.setdefault(it.path, {})[it.method.lower()] = schemas.resolve(described)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenMultiStack",
            "version": "1",
            "description": "Instances on many capped OpenStack regions, behind one API.",
        },
        "servers": [{"url": OURS.prefix}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _operation(told: Operation, scope: str | None) -> Json:
    status, schema = told.answer
    always = (errors.Unauthenticated, errors.InsufficientScope) if scope else ()
    responses = {str(status): _response("as asked", "application/json", schema)}
    for problem in (*always, *told.problems, errors.LedgerUnavailable):
        said = f"{problem.slug}: {problem.title}"
        responses[str(problem.status)] = _response(said, "application/problem+json", PROBLEM)
    return {
        "summary": told.summary,
        "responses": responses,
        "parameters": told.parameters,
        "security": [{"bearer": [scope]}] if scope else [],
    }


def _response(description: str, kind: str, schema: Json | Named) -> Json:
    return {"description": description, "content": {kind: {"schema": schema}}}
