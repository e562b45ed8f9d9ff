"""What an endpoint tells of itself for the API's description, and the words to tell it with.

Costs nothing at a cold start: a schema is built of plain mappings, and models are only named.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from openmultistack.domain import errors

if TYPE_CHECKING:
    from pydantic import BaseModel

Json = dict[str, Any]


class Named(NamedTuple):
    """A schema that the description has once, under a name; it may stand wherever a schema may."""

    name: str
    schema: Json


Schema = Json | Named
TEXT: Json = {"type": "string"}
TIME: Json = {"type": "string", "format": "date-time"}
COUNT: Json = {"type": "integer", "minimum": 0}


def object_of(**properties: Schema) -> Json:
    """Return the schema of an object with all of these members, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def maybe(schema: Schema) -> Json:
    """Return the schema of something that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(schema: Schema) -> Json:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def in_query(name: str, schema: Schema) -> Json:
    """Return a parameter of the query."""
    return {"name": name, "in": "query", "schema": schema}


ID: Json = {"name": "id", "in": "path", "required": True, "schema": TEXT}
# All that can be wrong with a command.
BAD_BODY = (errors.Malformed, errors.TooSlow, errors.TooLarge, errors.Invalid)


class Operation(NamedTuple):
    """What the description says of an endpoint, beside its method, path and scope."""

    summary: str
    # Status and schema of the answer as it was asked for.
    answer: tuple[int, Schema]
    # What it may say no with, beside what tokens and the ledger can always be wrong with.
    problems: tuple[type[errors.Problem], ...] = ()
    parameters: tuple[Json, ...] = ()
    body: "type[BaseModel] | None" = None
    # A command may say all by itself, without a body.
    needs_body: bool = True
