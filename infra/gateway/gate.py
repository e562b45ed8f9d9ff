"""The gate: the file in which Envoy finds who is let in, apart from everything else.

Envoy takes another file over as it runs, within a second of a rename over it, and no connection
ends for that (its extension config discovery). One that it cannot take changes nothing. It starts
only where there is such a file; until it has taken one, it lets no request through.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infra.gateway import jwt_rules
from openmultistack.auth.issuers import Issuer

Json = dict[str, Any]

NAME = "gate"
_TYPE = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"


def discovered(file: Path) -> Json:
    """Return the filter of which a file says what it does.

    Without a configuration of its own: until the file is read, Envoy's listener waits for it.
    """
    source = {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
    discovery = {
        "config_source": source,
        "apply_default_config_without_warming": False,
        "type_urls": list(jwt_rules.TYPES),
    }
    return {"name": NAME, "config_discovery": discovery}


def document(issuers: Iterable[Issuer]) -> str:
    """Return what the file has to say for these issuers: the same for the same ones.

    Raises:
        ConfigurationError: a file of keys is not as it should be.
    """
    resource = {"@type": _TYPE, "name": NAME, "typed_config": jwt_rules.rules(list(issuers))}
    version = hashlib.sha256(json.dumps(resource).encode()).hexdigest()
    return json.dumps({"version_info": version, "resources": [resource]}, indent=1)


def put(file: Path, text: str) -> None:
    """Put another file in place of one in one moment, which is what Envoy looks for; mode 0600."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as it:
        it.write(text)
    draft.replace(file)
