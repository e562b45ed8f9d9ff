"""What every answer is held to: openapi.json's schemas, and RFC 9457 for those that say no."""

from typing import Any

from jsonschema import Draft202012Validator

from openmultistack.wiring.doors import describe

DOCUMENT = describe()


def check(answer: Any, method: str, path: str) -> Any:
    """Return the document of an answer, which is one that openapi.json tells of."""
    responses = DOCUMENT["paths"][path][method.lower()]["responses"]
    assert str(answer.status_code) in responses, answer.text
    (kind, content), *more = responses[str(answer.status_code)]["content"].items()
    assert not more
    assert answer.headers["content-type"] == kind
    schema = content["schema"] | {"components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(answer.json())
    return answer.json()


def refused(answer: Any, status: int, slug: str) -> Any:
    """Return the problem in an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:openmultistack:problem:{slug}"
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


def pointers(problem: Any) -> set[str]:
    """Return where the faults are."""
    return {it["pointer"] for it in problem["errors"]}
