"""Whether a manifest is one that Kubernetes, or Knative's definitions, would take.

An unknown kind is a fault, and so is a field that a schema does not know: `kubectl apply` refuses
both. What platforms refuse beyond their schemas is in platform_rules.py.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator

from tests.support.platform_rules import broken_rules

Manifest = Mapping[str, Any]
# The oldest that we say these are for, and the newest that there are schemas of.
KUBERNETES = ("1.30", kubernetes_validate.latest_version())
OURS = Path(__file__).parent.parent / "kubernetes" / "schemas" / "knative.json"


def faults(manifest: Manifest) -> list[str]:
    """Return what is wrong with a manifest, and where; its rules only if its form is good."""
    return list(_malformed(manifest)) or list(broken_rules(manifest))


def _malformed(manifest: Manifest) -> Iterator[str]:
    api, kind = str(manifest.get("apiVersion")), str(manifest.get("kind"))
    if "knative.dev/" not in api:
        yield from _unlike_kubernetes(manifest, api, kind)
        return
    schema = knative().get(kind)
    if schema is None:
        yield f"kind: {kind} of {api} is unknown"
        return
    for error in Draft202012Validator(schema).iter_errors(manifest):
        yield f"{_path(error.absolute_path)}: {error.message}"


@cache
def knative() -> dict[str, Any]:
    """Return the schemas of Knative's kinds that we write."""
    return dict(json.loads(OURS.read_text()))


def _unlike_kubernetes(manifest: Manifest, api: str, kind: str) -> Iterator[str]:
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{_path(error.absolute_path)}: {error.message} (Kubernetes {version})"
        except (KeyError, kubernetes_validate.SchemaNotFoundError):
            yield f"kind: {kind} of {api} is unknown to Kubernetes {version}"


def _path(parts: Iterable[object]) -> str:
    return ".".join(str(it) for it in parts) or "(the whole)"
