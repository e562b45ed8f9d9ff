"""Who is let in: the issuers file as rules of Envoy's jwt_authn filter.

Envoy checks signature, issuer, audience and times; `require_expiration` and `subjects` make it
insist on `exp` and `sub`, which it otherwise takes as they come. It knows no list of algorithms
for an issuer, so it is given only the keys made for them, each with its own. The functions read the
same files with the same code, and verify again, more strictly.
"""

import itertools
import json
from pathlib import Path
from typing import Any

from routes import ROUTES, Route, method_match, path_match

from openmultistack.principal import Issuer, load_issuers

Json = dict[str, Any]

# Where the access log finds the claims of a token that was good.
NAMESPACE, CLAIMS = "envoy.filters.http.jwt_authn", "claims"
# Envoy compares the scheme as it is written, and its case does not matter (RFC 9110, 11.1).
SCHEMES = ["".join(it) for it in itertools.product(*zip("bearer", "BEARER", strict=True))]

_TYPES = "type.googleapis.com/envoy.extensions.filters.http"


def gate(issuers_file: Path) -> Json:
    """Return the filter that lets in.

    Raises:
        ConfigurationError: the file, or a file of keys that it names, is not as it should be.
    """
    providers = [_provider(it) for it in load_issuers(issuers_file).values()]
    if not providers:
        return _nobody()
    names = [f"issuer-{n}" for n, _ in enumerate(providers)]
    known = [{"provider_name": name} for name in names]
    required = known[0] if len(known) == 1 else {"requires_any": {"requirements": known}}
    public = [{"match": _match(it)} for it in ROUTES if it.public]
    # CONNECT has no path, so that the prefix alone would let it by.
    others = [
        {"match": it, "requires": required} for it in ({"prefix": "/"}, {"connect_matcher": {}})
    ]
    config = {
        "@type": f"{_TYPES}.jwt_authn.v3.JwtAuthentication",
        "providers": dict(zip(names, providers, strict=True)),
        "rules": [*public, *others],
    }
    return {"name": NAMESPACE, "typed_config": config}


def _match(route: Route) -> Json:
    return path_match(route) | {"headers": [method_match(route.method)]}


def _nobody() -> Json:
    """Return the filter for no issuers: jwt_authn takes no empty key set, and nobody is known."""
    allowed = [
        {"and_rules": {"rules": [{"header": method_match(it.method)}, _url_path(it.path)]}}
        for it in ROUTES
        if it.public
    ]
    policy = {"permissions": allowed, "principals": [{"any": True}]}
    rules = {"action": "ALLOW", "policies": {"public": policy}}
    config = {"@type": f"{_TYPES}.rbac.v3.RBAC", "rules": rules}
    return {"name": "envoy.filters.http.rbac", "typed_config": config}


def _url_path(path: str) -> Json:
    return {"url_path": {"path": {"exact": path}}}


def _provider(issuer: Issuer) -> Json:
    keys = [dict(key.members) for key in issuer.keys.values()]
    return {
        "issuer": issuer.issuer,
        "audiences": [issuer.audience],
        "local_jwks": {"inline_string": json.dumps({"keys": keys})},
        "require_expiration": True,
        "subjects": {"safe_regex": {"regex": ".+"}},
        # 0 would mean Envoy's own 60 s; the functions allow none.
        "clock_skew_seconds": 1,
        # The functions verify again.
        "forward": True,
        "from_headers": [{"name": "Authorization", "value_prefix": f"{it} "} for it in SCHEMES],
        "payload_in_metadata": CLAIMS,
    }
