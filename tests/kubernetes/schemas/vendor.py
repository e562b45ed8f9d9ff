"""Write knative.json: the schemas of the two kinds of Knative's that we write.

They are those of Knative's custom resource definitions, as two packages of PyPI have them, each
under the Apache License 2.0; with Python 3.14, in an environment of its own:

    pip install cloudcoil-models-knative-{serving,eventing}==1.23.0.1
    python tests/kubernetes/schemas/vendor.py

What a definition has no field for is refused, as `kubectl apply` refuses it. These packages would
be dependencies of the tests if they were there for the Python that we support.
"""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODELS = {
    "Service": ("cloudcoil.models.knative_serving.serving_knative_dev.v1", "knative-serving"),
    "PingSource": ("cloudcoil.models.knative_eventing.sources_knative_dev.v1", "knative-eventing"),
}
VERSION = "1.23.0.1"
SAID = (
    "Of Knative {version}, (c) The Knative Authors, Apache License 2.0; by the package"
    " cloudcoil-models-{package} {version} of PyPI, Apache License 2.0. Written by vendor.py."
)
# Of the models, not of the definitions; a status is never written by us.
LEFT_OUT = ("title", "default", "status")


def strict(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a model's schema as its definition has it: nothing is null, nothing unknown."""
    if isinstance(schema, list):
        return [strict(it, definitions) for it in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return strict(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        said = [it for it in schema["anyOf"] if it != {"type": "null"}]
        inner = strict(said, definitions)
        return inner[0] if len(inner) == 1 else {"anyOf": inner}
    plain = dict(_plain(schema, definitions))
    if "properties" in plain:
        plain["additionalProperties"] = False
    return plain


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, it in schema.items():
        if key == "properties":
            kept = {name: at for name, at in it.items() if name != "status"}
            yield key, {name: strict(at, definitions) for name, at in kept.items()}
        elif key not in LEFT_OUT and key != "$defs":
            yield key, strict(it, definitions)


def schema_of(kind: str) -> Any:
    """Return the schema of a kind, with where it comes from."""
    module, package = MODELS[kind]
    told = getattr(importlib.import_module(module), kind).model_json_schema(by_alias=True)
    told["required"] = ["apiVersion", "kind", "metadata", "spec"]
    said = SAID.format(version=VERSION, package=package)
    return {"$comment": said} | strict(told, told["$defs"])


if __name__ == "__main__":
    written = {kind: schema_of(kind) for kind in MODELS}
    file = Path(__file__).parent / "knative.json"
    file.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
