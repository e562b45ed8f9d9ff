"""Who is let in: the issuers file as rules of Envoy's jwt_authn filter.

Envoy checks signature, issuer, audience and times; `require_expiration` and `subjects` make it
insist on `exp` and `sub`, which it otherwise takes as they come. It knows no list of algorithms
for an issuer, so it is given only the keys made for them, each with its own. The functions read the
same files with the same code, and verify again, more strictly.
"""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from infra.gateway.routes import ROUTES, Route, method_match, path_match
from openmultistack.auth.issuers import Issuer

Json = dict[str, Any]

# Where the access log finds the claims of a token that was good.
NAMESPACE, CLAIMS = "envoy.filters.http.jwt_authn", "claims"
# Envoy compares the scheme as it is written, and its case does not matter (RFC 9110, 11.1).
SCHEMES = ["".join(it) for it in itertools.product(*zip("bearer", "BEARER", strict=True))]

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
_JWT, _RBAC = f"{_FILTERS}.jwt_authn.v3.JwtAuthentication", f"{_FILTERS}.rbac.v3.RBAC"
# What the rules may be of.
TYPES = (_JWT, _RBAC)


def rules(issuers: Sequence[Issuer]) -> Json:
    """Return the configuration of the filter that lets in.

    Raises:
        ConfigurationError: a file of keys is not as it should be.
    """
    if not issuers:
        return _nobody()
    names = [f"issuer-{n}" for n, _ in enumerate(issuers)]
    known = [{"provider_name": name} for name in names]
    required = known[0] if len(known) == 1 else {"requires_any": {"requirements": known}}
    public = [{"match": _match(it)} for it in ROUTES if it.public]
    # CONNECT has no path, so that the prefix alone would let it by.
    everything: list[Json] = [{"prefix": "/"}, {"connect_matcher": {}}]
    others = [{"match": it, "requires": required} for it in everything]
    return {
        "@type": _JWT,
        "providers": dict(zip(names, map(_provider, issuers), strict=True)),
        "rules": [*public, *others],
    }


def _match(route: Route) -> Json:
    return path_match(route) | {"headers": [method_match(route.method)]}


def _nobody() -> Json:
    """Return the rules for no issuers: jwt_authn takes no empty key set, and nobody is known."""
    allowed = [
        {"and_rules": {"rules": [{"header": method_match(it.method)}, _url_path(it.path)]}}
        for it in ROUTES
        if it.public
    ]
    policy = {"permissions": allowed, "principals": [{"any": True}]}
    return {"@type": _RBAC, "rules": {"action": "ALLOW", "policies": {"public": policy}}}


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
