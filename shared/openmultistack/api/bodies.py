"""A body -> a command, or every fault of it with a JSON pointer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from openmultistack.domain.errors import FAULTS_SHOWN, Invalid, Malformed
from openmultistack.domain.strict import read_json

if TYPE_CHECKING:  # imported by functions that take commands, at the first one
    from pydantic import BaseModel

# No list or mapping of a command may have so many by far.
MEMBERS_MAX = 1000

Command = TypeVar("Command", bound="BaseModel")


def parse(model: type[Command], body: bytes) -> Command:
    """Return the command in a body.

    Raises:
        Malformed: it is not a JSON object.
        Invalid: it is one, and wrong.
    """
    from pydantic import ValidationError  # noqa: PLC0415  as above

    from openmultistack.domain.faults import explain_all  # noqa: PLC0415  as above

    try:
        raw = read_json(body)
    except ValueError as error:
        raise Malformed(f"the body is not JSON as it is taken here: {error}") from None
    if not isinstance(raw, dict):
        raise Malformed("the body is not a JSON object")
    _refuse_many(raw)
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        faults, more = explain_all(error, raw, model, most=FAULTS_SHOWN)
    raise Invalid([(_pointer(it.path), it.said) for it in faults], more=more)


def _refuse_many(raw: Mapping[str, Any]) -> None:
    """Refuse what has far more members than any command: to tell of each takes seconds.

    Raises:
        Invalid: says where, and how many.
    """
    for path, value in ((), raw), *(((name,), it) for name, it in raw.items()):
        if isinstance(value, dict | list) and len(value) > MEMBERS_MAX:
            said = f"has {len(value)} members, expected at most {MEMBERS_MAX}"
            raise Invalid([(_pointer(path), said)])


def _pointer(path: Sequence[object]) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join("/" + str(it).replace("~", "~0").replace("/", "~1") for it in path)
