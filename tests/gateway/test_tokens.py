"""Nobody is let in without a token that is good in every part."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from jose import jwt

from openmultistack.auth.own_issuer import issue_token, make_signing_key

ISSUER, AUDIENCE = "urn:openmultistack:local", "openmultistack"
CI = "https://ci.example"
PROTECTED = [
    ("POST", "/v1/instances"),
    ("GET", "/v1/instances"),
    ("DELETE", "/v1/instances"),
    ("GET", "/v1/instances/i-1"),
    ("PATCH", "/v1/instances/i-1"),
    ("DELETE", "/v1/instances/i-1"),
    ("GET", "/v1/instances/i-1/events"),
    ("GET", "/v1/regions"),
    ("GET", "/v1/tokens"),
    ("DELETE", "/v1/tokens/a"),
    ("POST", "/v1/reap"),
    ("POST", "/v1/regions/drain"),
    ("POST", "/v1/regions/open"),
    ("POST", "/v1/regions/forget"),
    ("POST", "/v1/regions/adopt"),
    ("POST", "/v1/copies/destroy"),
    ("GET", "/v1/metrics"),
    ("GET", "/metrics"),
    ("POST", "/v1/healthz"),
    ("GET", "/v1/healthz/"),
    ("GET", "/v1/openapi.json/more"),
    ("OPTIONS", "/v1/instances"),
    ("GET", "/"),
]


def claims(**changed):
    """Return the claims of a good token, changed; one that is None is left out."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 600, "iat": now}
    return {key: value for key, value in (good | changed).items() if value is not None}


def signed(home, who="own", **changed):
    """Return a token of changed claims, with a good signature of that issuer's key."""
    key = json.loads((home / who / "jwks.json").read_text())["keys"][0]
    pem = (home / who / "signing.pem").read_text()
    return jwt.encode(claims(**changed), pem, algorithm="ES256", headers={"kid": key["kid"]})


def part(document):
    """Return a part of a token as it is written."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(algorithm):
    """Return a token that says it needs no signature."""
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims())}."


def confused(home, secret):
    """Return a token signed with HS256, the public key being the secret."""
    kid = json.loads((home / "own" / "jwks.json").read_text())["keys"][0]["kid"]
    body = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{part(claims())}"
    return f"{body}.{part(hmac.new(secret, body.encode(), hashlib.sha256).digest())}"


def tampered(home):
    """Return a good token of which the claims were exchanged afterwards."""
    header, _, signature = signed(home).split(".")
    return f"{header}.{part(claims(sub='bob'))}.{signature}"


def of_a_stranger(home):
    """Return a token signed with a key that nobody here knows, under the known key's id."""
    make_signing_key(home / "stranger")
    kid = json.loads((home / "own" / "jwks.json").read_text())["keys"][0]["kid"]
    pem = (home / "stranger" / "signing.pem").read_text()
    return jwt.encode(claims(), pem, algorithm="ES256", headers={"kid": kid})


BAD = {
    "no token at all": lambda _: "nonsense",
    "three empty parts": lambda _: "..",
    "expired": lambda home: signed(home, exp=int(time.time()) - 3),
    "not yet valid": lambda home: signed(home, nbf=int(time.time()) + 600),
    "for another service": lambda home: signed(home, aud="elsewhere"),
    "for others, in a list": lambda home: signed(home, aud=["a", "b"]),
    "of an unknown issuer": lambda home: signed(home, iss="https://else.example"),
    "of another case of issuer": lambda home: signed(home, iss=ISSUER.upper()),
    "without exp": lambda home: signed(home, exp=None),
    "without aud": lambda home: signed(home, aud=None),
    "without sub": lambda home: signed(home, sub=None),
    "with an empty sub": lambda home: signed(home, sub=""),
    "without iss": lambda home: signed(home, iss=None),
    "with an empty iss": lambda home: signed(home, iss=""),
    "tampered": tampered,
    "of a stranger": of_a_stranger,
    "alg none": lambda _: unsigned("none"),
    "alg None": lambda _: unsigned("None"),
    "HS256 with the PEM": lambda home: confused(home, (home / "own" / "signing.pem").read_bytes()),
    "HS256 with the JWKS": lambda home: confused(home, (home / "own" / "jwks.json").read_bytes()),
    "HS256 with nothing": lambda home: confused(home, b""),
}


def test_a_good_token_is_let_in_and_forwarded(gateway, token):
    answer = gateway.call("GET", "/v1/instances", token)
    assert answer.status_code == 200
    assert ["Authorization", f"Bearer {token}"] in answer.json()["headers"]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_without_a_token_every_other_path_is_refused(gateway, expect_problem, method, path):
    answer = gateway.call(method, path)
    document = expect_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert answer.headers["x-request-id"] == document["request_id"]


@pytest.mark.parametrize("path", ["/v1/healthz", "/v1/openapi.json"])
def test_health_and_the_api_document_are_for_everybody(gateway, path):
    assert gateway.call("GET", path).json()["function"] == "list"


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("issuers", ["gateway", "gateway_of_two"])
def test_a_bad_token_is_refused(request, expect_problem, home, issuers, name):
    gateway = request.getfixturevalue(issuers)
    answer = gateway.call("POST", "/v1/instances", BAD[name](home), json={})
    expect_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEARER", "beareR", "Bearer "])
def test_the_case_of_the_scheme_does_not_matter(gateway, gateway_of_two, home, token, scheme):
    """RFC 9110, 11.1; a bad token is as bad under each."""
    for it in (gateway, gateway_of_two):
        headers = {"Authorization": f"{scheme} {token}"}
        assert it.call("GET", "/v1/regions", headers=headers).status_code == 200
        for bad in (signed(home, exp=1), "nonsense", unsigned("none")):
            headers = {"Authorization": f"{scheme} {bad}"}
            assert it.call("GET", "/v1/regions", headers=headers).status_code == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer nonsense extra", "nonsense"])
def test_a_header_without_a_token_is_refused(gateway, expect_problem, header):
    answer = gateway.call("GET", "/v1/regions", headers={"Authorization": header})
    expect_problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize("scheme", ["Basic", "Token", "Bearer,"])
def test_another_scheme_is_refused(gateway, expect_problem, token, scheme):
    answer = gateway.call("GET", "/v1/regions", headers={"Authorization": f"{scheme} {token}"})
    expect_problem(answer, 401, "unauthenticated")


def test_a_token_in_the_query_is_refused(gateway, expect_problem, token):
    answer = gateway.call("GET", f"/v1/regions?access_token={token}")
    expect_problem(answer, 401, "unauthenticated")


def test_every_token_must_be_good_if_several_are_sent(gateway, expect_problem, token):
    both = f"Authorization: Bearer {token}\r\nAuthorization: Bearer nonsense\r\n"
    request = f"GET /v1/regions HTTP/1.1\r\nHost: a\r\n{both}\r\n"
    expect_problem(gateway.raw(request.encode()), 401, "unauthenticated")


def test_an_audience_may_be_one_of_a_list(gateway, home):
    good = signed(home, aud=["else", AUDIENCE])
    assert gateway.call("GET", "/v1/regions", good).status_code == 200


def test_two_issuers_are_believed_each_for_itself(gateway_of_two, home):
    for good in (signed(home), signed(home, "ci", iss=CI)):
        assert gateway_of_two.call("GET", "/v1/regions", good).status_code == 200


@pytest.mark.parametrize(("who", "issuer"), [("ci", ISSUER), ("own", CI)])
def test_an_issuer_cannot_sign_for_another(gateway_of_two, expect_problem, home, who, issuer):
    answer = gateway_of_two.call("GET", "/v1/regions", signed(home, who, iss=issuer))
    expect_problem(answer, 401, "unauthenticated")


def test_a_second_issuer_is_a_stranger_where_it_is_not_listed(gateway, expect_problem, home):
    stranger = signed(home, "ci", iss=CI)
    expect_problem(gateway.call("GET", "/v1/regions", stranger), 401, "unauthenticated")


def test_without_issuers_nobody_is_let_in(run_gateway, expect_problem, token):
    with run_gateway("none.yaml") as gateway:
        for method, path in PROTECTED:
            for given in (None, token, unsigned("none")):
                expect_problem(gateway.call(method, path, given), 401, "unauthenticated")
        assert gateway.call("GET", "/v1/healthz").status_code == 200


def test_a_tunnel_is_no_way_around(gateway, run_gateway, expect_problem):
    """CONNECT has no path that a rule for paths could match."""
    tunnel = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"
    expect_problem(gateway.raw(tunnel), 401, "unauthenticated")
    with run_gateway("none.yaml") as closed:
        expect_problem(closed.raw(tunnel), 401, "unauthenticated")


def test_tokens_of_the_own_command_are_good(gateway, home):
    own = issue_token(home / "own" / "signing.pem", owner="bob", scopes=[], ttl_s=60)
    assert gateway.call("GET", "/v1/instances", own).status_code == 200
