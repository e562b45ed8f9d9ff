"""Writes what is installed in a folder as a bill of materials: CycloneDX 1.6, JSON.

    python3 sbom.py FOLDER > sbom.cdx.json

The same packages always make the same bill: it has no time and no chance in it.
"""

import json
import sys
import uuid
from importlib.metadata import Distribution, distributions
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PRODUCT = "openmultistack"


def bill_of(folder: str) -> dict[str, Any]:
    """Return the bill of what is installed there."""
    found = {canonicalize_name(it.name): it for it in distributions(path=[folder])}
    parts = [component(found[name]) for name in sorted(found)]
    (product,) = (it for it in parts if it["name"] == PRODUCT)
    others = [it for it in parts if it is not product]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(parts))}",
        "version": 1,
        "metadata": {"component": product | {"type": "application"}},
        "components": others,
        "dependencies": [
            {"ref": ref_of(found[name]), "dependsOn": needed_by(found[name], found)}
            for name in sorted(found)
        ],
    }


def component(package: Distribution) -> dict[str, Any]:
    """Return a package as CycloneDX has it."""
    told: dict[str, Any] = {
        "type": "library",
        "bom-ref": ref_of(package),
        "name": canonicalize_name(package.name),
        "version": package.version,
        "purl": ref_of(package),
    }
    if licence := licence_of(package):
        told["licenses"] = [licence]
    return told


def ref_of(package: Distribution) -> str:
    """Return a package's URL (https://github.com/package-url/purl-spec)."""
    return f"pkg:pypi/{canonicalize_name(package.name)}@{package.version}"


def licence_of(package: Distribution) -> dict[str, Any] | None:
    """Return a package's licence as it says it: an SPDX expression, a classifier, or some name."""
    told = package.metadata
    if "License-Expression" in told:
        return {"expression": told["License-Expression"]}
    classifiers = told.get_all("Classifier") or []
    names = [it.rpartition(" :: ")[2] for it in classifiers if it.startswith("License :: ")]
    if "License" in told:
        names.append(told["License"].strip().partition("\n")[0])
    name = next(filter(None, names), None)
    return {"license": {"name": name}} if name else None


def needed_by(package: Distribution, found: dict[Any, Distribution]) -> list[str]:
    """Return which of the packages that are there one names as its needs, extras included."""
    needs = {canonicalize_name(Requirement(it).name) for it in package.requires or []}
    return sorted(
        ref_of(found[it]) for it in needs & found.keys() - {canonicalize_name(package.name)}
    )


if __name__ == "__main__":
    json.dump(bill_of(sys.argv[1]), sys.stdout, indent=1)
