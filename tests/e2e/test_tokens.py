"""Who is let in: the gateway and the function each refuse by themselves."""

import base64
import json
import time

import httpx
import pytest
from jose import jwt

from openmultistack.auth.own_issuer import LOCAL_AUDIENCE, LOCAL_ISSUER, make_signing_key
from openmultistack.auth.principal import SCOPES

PATHS = [("GET", "/v1/instances"), ("POST", "/v1/instances"), ("POST", "/v1/reap")]


def claims(**changes) -> dict:
    """Return good claims with some changed; None leaves one out."""
    now = int(time.time())
    good = {
        "iss": LOCAL_ISSUER, "aud": LOCAL_AUDIENCE, "sub": "dev", "iat": now, "exp": now + 300,
        "scope": " ".join(SCOPES),
    }  # fmt: skip
    return {name: value for name, value in (good | changes).items() if value is not None}


def ask(product, name: str | None, method: str, path: str, headers: dict) -> httpx.Response:
    """Ask a function by its own socket, or the gateway."""
    transport = httpx.HTTPTransport(uds=product.socket(name) if name else None)
    with httpx.Client(transport=transport, base_url=product.url) as client:
        return client.request(method, path, headers=headers)


def unsigned(payload: dict, header: dict) -> str:
    """Return a token without a signature."""
    parts = [base64.urlsafe_b64encode(json.dumps(it).encode()) for it in (header, payload)]
    return ".".join(part.rstrip(b"=").decode() for part in parts) + "."


def bad_tokens(product, tmp_path) -> dict[str, str]:
    """Return a token for each way to be wrong."""
    pem = (product.home / "keys" / "signing.pem").read_text()
    jwks = (product.home / "keys" / "jwks.json").read_text()
    kid = json.loads(jwks)["keys"][0]["kid"]
    make_signing_key(tmp_path)
    other_pem = (tmp_path / "signing.pem").read_text()

    def sign(payload: dict, key: str = pem, algorithm: str = "ES256") -> str:
        return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": kid})

    return {
        "garbage": "garbage",
        "bad signature": sign(claims(), other_pem),
        "expired": sign(claims(exp=int(time.time()) - 120)),
        "wrong aud": sign(claims(aud="somebody-else")),
        "wrong iss": sign(claims(iss="urn:somebody:else")),
        "missing aud": sign(claims(aud=None)),
        "missing exp": sign(claims(exp=None)),
        "missing sub": sign(claims(sub=None)),
        "missing iss": sign(claims(iss=None)),
        "alg none": unsigned(claims(), {"alg": "none", "typ": "JWT", "kid": kid}),
        "HS256 with the public key": sign(claims(), jwks, "HS256"),
    }


@pytest.mark.parametrize("door", ["gateway", "function"])
def test_fail_closed_a_bad_token_is_refused_by_gateway_and_function(product, tmp_path, door):
    """401 with a problem document and WWW-Authenticate, whatever is wrong with the token."""
    functions = {"GET": "list-1", "POST": "create-1"}
    tokens = {"no token": None} | bad_tokens(product, tmp_path)
    for what, token in tokens.items():
        for method, path in PATHS[:2]:
            name = None if door == "gateway" else functions[method]
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = ask(product, name, method, path, headers)
            assert answer.status_code == 401, (door, what, answer.text)
            assert answer.headers["content-type"] == "application/problem+json", (door, what)
            assert answer.json()["type"] == "urn:openmultistack:problem:unauthenticated"
            assert answer.headers["www-authenticate"].startswith("Bearer"), (door, what)
            assert token is None or token not in answer.text
    assert product.instances() == []


def test_a_good_token_is_let_in_by_both(product):
    """The control for the test above."""
    headers = {"Authorization": f"Bearer {product.token()}"}
    for name in (None, "list-1"):
        assert ask(product, name, "GET", "/v1/instances", headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/instances", "instances:create"),
        ("GET", "/instances", "instances:read"),
        ("PATCH", "/instances/i-1", "instances:create"),
        ("DELETE", "/instances/i-1", "instances:destroy"),
        ("GET", "/regions", "fleet:read"),
        ("POST", "/reap", "fleet:reap"),
    ],
)
def test_a_missing_scope_is_403(product, method, path, scope):
    """Every other scope together does not make up for the one that is needed."""
    token = product.token(scopes=[it for it in SCOPES if it != scope])
    answer = httpx.request(
        method, f"{product.url}/v1{path}", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 403
    assert answer.json()["type"].endswith("insufficient-scope")
    assert scope in answer.json()["detail"]


def test_isolation_another_owners_instance_is_404(product):
    """Bob can neither see, nor hear of, nor renew, nor destroy what is Alice's."""
    (made,) = product.create(owner="alice", labels={"run": "1"})
    for method, path, body in (
        ("GET", f"/instances/{made['id']}", None),
        ("GET", f"/instances/{made['id']}/events", None),
        ("PATCH", f"/instances/{made['id']}", {"ttl": 60}),
        ("DELETE", f"/instances/{made['id']}", None),
    ):
        answer = product.call(method, path, owner="bob", json=body)
        assert answer.status_code == 404, (method, path)
        assert "alice" not in answer.text
    assert product.instances("bob") == []
    assert product.call("DELETE", "/instances?label=run:1", owner="bob").json()["instances"] == []
    assert product.show(made["id"], owner="alice")["status"] in ("BUILD", "ACTIVE")
    assert product.call("GET", "/instances/i-nobodys", owner="bob").status_code == 404
