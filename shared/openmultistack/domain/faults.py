"""What is wrong in fleet.yaml or a command, in our words: where, what was found, what was expected.

A text that was found is not shown: what stands in a wrong place may be a secret.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_NUMBER_CHARS = 20
# No key is longer; nothing that is gets compared with them.
_KEY_CHARS = 63
# What a value that is bounded has: the shortest and the longest.
_LENGTHS = {
    "string_too_short": ("at least {} character", "min_length"),
    "string_too_long": ("at most {} character", "max_length"),
    "too_short": ("at least {} item", "min_length"),
    "too_long": ("at most {} item", "max_length"),
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}
# What was expected, by how pydantic names the fault: the first that such a name begins with.
_EXPECTED = {
    "bool": "true or false",
    "int_from_float": "a whole number",
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a number",
    "string": "a text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
}


class Fault(NamedTuple):
    """One fault: the keys that lead to it, and what to say."""

    path: tuple[object, ...]
    said: str


def explain(error: ValidationError, document: Mapping[str, Any], model: type[BaseModel]) -> Fault:
    """Return the fault to tell of several.

    It is the deepest: where a value may have two shapes, it is in the one that was meant. A
    pattern of regions is no misspelt key of a size.
    """

    def rank(it: ErrorDetails) -> tuple[int, bool]:
        key = str(it["loc"][-1]) if it["loc"] else ""
        return len(it["loc"]), not (it["type"] == "extra_forbidden" and _is_pattern(key))

    faults = error.errors()
    fault = max(faults, key=rank)
    keys = _keys(fault, document)
    alike = [it for it in faults if _keys(it, document) == keys]
    return Fault(keys, _said(fault, alike, _fields(model, keys[:-1])))


def explain_all(
    error: ValidationError, document: Mapping[str, Any], model: type[BaseModel], *, most: int
) -> tuple[list[Fault], int]:
    """Return the faults of the first `most` values, each once, and how many more there are.

    A list whose items are wrong is not at fault itself. The work is bounded as the answer is.
    """
    return _each(error.errors(), document, model, most)


def explain_file(
    error: ValidationError, document: Mapping[str, Any], model: type[BaseModel], *, most: int
) -> tuple[list[Fault], int]:
    """Return the fault that `explain` tells, then the others, and how many more there are."""
    first = explain(error, document, model)
    each, more = _each(_meant(error.errors(), document), document, model, most)
    faults = [first, *(it for it in each if it.path != first.path)]
    return faults[:most], more + max(0, len(faults) - most)


def _meant(faults: Sequence[ErrorDetails], document: Mapping[str, Any]) -> Sequence[ErrorDetails]:
    """Leave out patterns that are no keys of a value which was not to have such keys."""
    keys = [_keys(it, document) for it in faults]
    patterns = [
        it["type"] == "extra_forbidden" and _is_pattern(str(it["loc"][-1])) for it in faults
    ]
    others = [path for path, pattern in zip(keys, patterns, strict=True) if not pattern]
    beside = {path[:at] for path in others for at in range(1, len(path))}
    return [
        it
        for it, path, pattern in zip(faults, keys, patterns, strict=True)
        if not pattern or path[:-1] not in beside
    ]


def _each(
    faults: Sequence[ErrorDetails], document: Mapping[str, Any], model: type[BaseModel], most: int
) -> tuple[list[Fault], int]:
    by_path: dict[tuple[object, ...], list[ErrorDetails]] = {}
    for it in faults:
        by_path.setdefault(_keys(it, document), []).append(it)
    above = {path[:at] for path in by_path for at in range(len(path))}
    paths = [it for it in by_path if it not in above]
    told: dict[tuple[object, ...], str] = {}
    for path in paths[:most]:
        said = _said(by_path[path][0], by_path[path], _fields(model, path[:-1]))
        # What may stand there is said once.
        told[path] = said.partition(";")[0] if said in told.values() else said
    return [Fault(*it) for it in told.items()], len(paths) - len(told)


def _is_pattern(key: str) -> bool:
    return "/" in key or "*" in key


def _keys(fault: ErrorDetails, document: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the keys that lead to a fault, without the names of the shapes that were tried."""
    keys: list[object] = []
    at: Any = document
    part: Any
    for part in fault["loc"]:
        listed = isinstance(at, list) and isinstance(part, int)
        if listed or (isinstance(at, Mapping) and part in at):
            at = at[part]
        elif fault["type"] != "missing" or part != fault["loc"][-1]:
            continue
        keys.append(part)
    return tuple(keys)


def _said(fault: ErrorDetails, alike: Sequence[ErrorDetails], known: Sequence[str]) -> str:
    """Say what is wrong with a value.

    `alike`: all faults that were found of it; `known`: the keys that may stand beside its own.
    """
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown(str(fault["loc"][-1]), known)
    if fault["loc"][-1:] == ("[key]",):
        found = "is" if isinstance(value, str) and value else f"{_shown(value)} is"
        return f"{found} a key here, expected {_expected(kind, context)} as key"
    if kind.endswith("_form"):  # of our own
        return f"is {_shown(value)}, expected {fault['msg']}"
    kinds = [it["type"] for it in alike if it["type"] != "extra_forbidden"]
    expected = dict.fromkeys(_expected(it, context if it == kind else {}) for it in kinds)
    return f"is {_shown(value)}, expected {' or '.join(filter(None, expected))}"


def _expected(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind in _LENGTHS and context:
        words, bound = _LENGTHS[kind]
        number = context[bound]
        return words.format(number) + ("s" if number != 1 else "")
    if kind == "string_pattern_mismatch" and context:
        return f"what {context['pattern']} matches"
    if kind in _BOUNDS and context:
        words, bound = _BOUNDS[kind]
        number = context[bound]
        return f"{words} {number if isinstance(number, int) else format(number, 'g')}"
    return next((it for name, it in _EXPECTED.items() if kind.startswith(name)), "another value")


def _unknown(key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key, known, n=1) if len(key) <= _KEY_CHARS else ()
    meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"is no key here; {meant}"


def _fields(model: type[BaseModel], keys: Sequence[object]) -> list[str]:
    """Return the keys that may stand where these keys lead, by the model's own schema."""
    schema = _schema(model)
    at = list(_shapes(schema, schema))
    for key in keys:
        below = [it.get("properties", {}).get(key, it.get("additionalProperties")) for it in at]
        at = [shape for it in below if isinstance(it, dict) for shape in _shapes(it, schema)]
    return [name for it in at for name in it.get("properties", {})]


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _shapes(node: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give all that a node of a schema may be."""
    several = node.get("anyOf") or node.get("oneOf")
    if "$ref" in node:
        yield from _shapes(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    elif several:
        for it in several:
            yield from _shapes(it, schema)
    else:
        yield node


def _shown(value: object) -> str:
    """Return what was found; of a text, a list or a mapping only that it is one."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)[:_NUMBER_CHARS]
    if isinstance(value, str):
        return "a text" if value else "an empty text"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    return "a list" if isinstance(value, Sequence) else "a date or the like"
