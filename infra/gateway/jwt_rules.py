"""Who is let in: the issuers file as rules of Envoy's jwt_authn filter.

Envoy checks signature, issuer, audience and times; `require_expiration` and `subjects` make it
insist on `exp` and `sub`, which it otherwise takes as they come. It knows no list of algorithms
for an issuer, so it is given only the keys made for them. The functions verify again.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from routes import ROUTES, Route, method_match, path_match

Json = dict[str, Any]

# Where the access log finds the claims of a token that was good.
NAMESPACE, CLAIMS = "envoy.filters.http.jwt_authn", "claims"
# A shared secret proves only that somebody had it; the functions have the same list.
ASYMMETRIC = {f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)}

_TYPES = "type.googleapis.com/envoy.extensions.filters.http"


def gate(issuers_file: Path) -> Json:
    """Return the filter that lets in.

    Raises:
        ValueError: the file does not list issuers as it should.
        OSError: it, or a file of keys, cannot be read.
    """
    providers = [_provider(issuers_file, it) for it in _issuers(issuers_file)]
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


def _issuers(path: Path) -> Sequence[Mapping[str, Any]]:
    expected = f"{path}: issuers: expected a list of {{issuer, audience, algorithms, jwks_file}}"
    try:
        entries = (yaml.safe_load(path.read_text()) or {}).get("issuers") or []
        wanted = ("issuer", "audience", "algorithms", "jwks_file")
        issuers = [{key: entry[key] for key in wanted} for entry in entries]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(expected) from error
    if not all(all(issuer.values()) for issuer in issuers):
        raise ValueError(expected)
    return issuers


def _provider(issuers_file: Path, issuer: Mapping[str, Any]) -> Json:
    return {
        "issuer": issuer["issuer"],
        "audiences": [issuer["audience"]],
        "local_jwks": {"inline_string": json.dumps({"keys": _keys(issuers_file, issuer)})},
        "require_expiration": True,
        "subjects": {"safe_regex": {"regex": ".+"}},
        # 0 would mean Envoy's own 60 s; the functions allow none.
        "clock_skew_seconds": 1,
        # The functions verify again.
        "forward": True,
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": CLAIMS,
    }


def _keys(issuers_file: Path, issuer: Mapping[str, Any]) -> list[Json]:
    """Return the public keys whose algorithm is one of the issuer's."""
    algorithms = set(issuer["algorithms"])
    if not algorithms <= ASYMMETRIC:
        raise ValueError(f"{issuers_file}: algorithms: expected some of {sorted(ASYMMETRIC)}")
    path = issuers_file.parent / issuer["jwks_file"]
    try:
        keys = [it for it in json.loads(path.read_text())["keys"] if it["alg"] in algorithms]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: expected a JWKS whose keys each have kid and alg") from error
    if not keys:
        raise ValueError(f"{path}: no key is for {', '.join(sorted(algorithms))}")
    return keys
