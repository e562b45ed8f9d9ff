"""Who is let in: the issuers file as rules of Envoy's jwt_authn filter.

Envoy checks signature, issuer, audience and times; `require_expiration` and `subjects` make it
insist on `exp` and `sub`, which it otherwise takes as they come. The functions verify again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from routes import ROUTES, method_match, path_match

Json = dict[str, Any]
TYPE = "filters.http.jwt_authn.v3.JwtAuthentication"
# Where the access log finds the claims of a token that was good.
NAMESPACE, CLAIMS = "envoy.filters.http.jwt_authn", "claims"
# What nobody can have signed for: with no issuer configured, nobody is let in.
NOBODY = {"issuer": "urn:openmultistack:nobody", "audience": "nobody", "jwks": '{"keys": []}'}


def rules(issuers_file: Path) -> Json:
    """Return the filter's configuration.

    Raises:
        ValueError: the file does not list issuers as it should.
    """
    issuers = _issuers(issuers_file) or [NOBODY]
    providers = {f"issuer-{n}": _provider(it) for n, it in enumerate(issuers)}
    names = [{"provider_name": name} for name in providers]
    required = names[0] if len(names) == 1 else {"requires_any": {"requirements": names}}
    public = [
        {"match": path_match(it) | {"headers": [method_match(it.method)]}}
        for it in ROUTES
        if it.public
    ]
    everything = {"match": {"prefix": "/"}, "requires": required}
    return {"providers": providers, "rules": [*public, everything]}


def _issuers(path: Path) -> list[Mapping[str, str]]:
    try:
        entries = (yaml.safe_load(path.read_text()) or {}).get("issuers") or []
        return [
            {
                "issuer": it["issuer"],
                "audience": it["audience"],
                "jwks": (path.parent / it["jwks_file"]).read_text(),
            }
            for it in entries
        ]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: issuers: expected a list of {{issuer, audience, algorithms, jwks_file}}"
        ) from error


def _provider(issuer: Mapping[str, str]) -> Json:
    return {
        "issuer": issuer["issuer"],
        "audiences": [issuer["audience"]],
        "local_jwks": {"inline_string": issuer["jwks"]},
        "require_expiration": True,
        "subjects": {"safe_regex": {"regex": ".+"}},
        "clock_skew_seconds": 0,
        # The functions verify again.
        "forward": True,
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": CLAIMS,
    }
