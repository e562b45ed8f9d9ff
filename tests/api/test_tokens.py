"""Who is let in: each function verifies by itself, whatever stands in front of it."""

import time
from typing import Any

import pytest
from jose import jwk

from openmultistack.auth.own_issuer import make_signing_key
from openmultistack.auth.principal import SCOPES
from openmultistack.wiring.doors import DOORS, endpoints_of
from tests.support.doors import Books, Door
from tests.support.signer import Signer

# Of every endpoint that wants a token: its function, a call of it, and what the token must allow.
ENDPOINTS = [
    (name, it.method, it.path.replace("{id}", "i-1"), it.guard.scope)
    for name in DOORS
    for it in endpoints_of(name)
    if it.guard.scope is not None
]


def public_pem(signer: Signer) -> bytes:
    """Return the public key as an attacker can write it down."""
    pem = jwk.construct(signer.pem, "ES256").public_key().to_pem()
    return pem if isinstance(pem, bytes) else pem.encode()


@pytest.fixture(scope="module")
def bad_tokens(signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a token for each way to be wrong."""
    other = tmp_path_factory.mktemp("other")
    make_signing_key(other)
    good = signer.token()
    head, body, signature = good.split(".")
    other_signer = type(signer)(other)
    other_signer.kid = signer.kid
    return {
        "garbage": "garbage",
        "three dots": "a.b.c",
        "another's key": other_signer.token(),
        "bad signature": f"{head}.{body}.{signature[:-4]}AAAA",
        "changed claims": f"{head}.{signer.token(sub='bob').split('.')[1]}.{signature}",
        "no signature": f"{head}.{body}.",
        "expired": signer.token(exp=int(time.time()) - 5),
        "not yet valid": signer.token(nbf=int(time.time()) + 600),
        "wrong aud": signer.token(aud="somebody-else"),
        "wrong iss": signer.token(iss="urn:somebody:else"),
        "missing aud": signer.token(aud=None),
        "missing exp": signer.token(exp=None),
        "missing sub": signer.token(sub=None),
        "missing iss": signer.token(iss=None),
        "empty sub": signer.token(sub=""),
        "alg none": signer.by_hand("none", None),
        "alg None with a signature": signer.by_hand("None", b"x"),
        "HS256 with the public key as PEM": signer.by_hand("HS256", public_pem(signer)),
        "HS256 with the public key as JWKS": signer.by_hand("HS256", signer.jwks.encode()),
        "ES256 said, HMAC done": signer.by_hand("ES256", public_pem(signer)),
    }


def assert_unauthenticated(answer: Any) -> None:
    """A 401 as RFC 6750 and RFC 9457 want it."""
    assert answer.status_code == 401, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    problem = answer.json()
    assert problem["type"] == "urn:openmultistack:problem:unauthenticated"
    assert problem["status"] == 401


@pytest.mark.parametrize(("door", "method", "path", "scope"), ENDPOINTS)
def test_a_bad_token_of_any_kind_is_401_from_every_function_itself(
    doors: dict[str, Door],
    bad_tokens: dict[str, str],
    door: str,
    method: str,
    path: str,
    scope: str,
) -> None:
    assert scope in SCOPES
    assert_unauthenticated(doors[door].call(method, path))
    for what, bad in bad_tokens.items():
        answer = doors[door].call(method, path, bad)
        assert answer.status_code == 401, what
        assert_unauthenticated(answer)
        assert bad not in answer.text, what
    shown = doors[door].out() + doors[door].err()
    assert not [what for what, bad in bad_tokens.items() if len(bad) > 10 and bad in shown]


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "token"])
def test_other_schemes_are_401(doors: dict[str, Door], header: str) -> None:
    assert_unauthenticated(
        doors["list"].call("GET", "/instances", headers={"Authorization": header})
    )


@pytest.mark.parametrize(("door", "method", "path", "scope"), ENDPOINTS)
def test_all_other_scopes_together_do_not_make_up_for_the_one_that_is_missing(
    doors: dict[str, Door], signer: Signer, door: str, method: str, path: str, scope: str
) -> None:
    others = signer.token(scope=" ".join(it for it in SCOPES if it != scope))
    answer = doors[door].call(method, path, others)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:openmultistack:problem:insufficient-scope"
    assert scope in answer.json()["detail"]


@pytest.mark.parametrize(
    "quota",
    [7, "many", [], None, {"instances": -1}, {"instances": "x"}, {"creates_per_minute": 0},
     {"servers": 1}],
)  # fmt: skip
def test_a_quota_claim_that_is_none_is_401(
    doors: dict[str, Door], signer: Signer, books: Books, quota: Any
) -> None:
    assert books
    bad = signer.signed(signer.claims() | {"quota": quota})
    answer = doors["create"].call("POST", "/instances", bad, json={"image": "x", "size": "y"})
    assert_unauthenticated(answer)
    assert "quota" in answer.json()["detail"]


def test_a_good_token_is_let_in(doors: dict[str, Door], token: str, books: Books) -> None:
    """The control for the tests above."""
    assert books.ledger.regions()
    assert doors["list"].call("GET", "/instances", token).status_code == 200


@pytest.mark.parametrize(
    ("door", "method", "path", "body"),
    [
        ("list", "GET", "", None),
        ("list", "GET", "/events", None),
        ("renew", "PATCH", "", {"ttl": 60}),
        ("destroy", "DELETE", "", None),
    ],
)
def test_isolation_another_owners_instance_is_404_and_looks_like_none(
    doors: dict[str, Door],
    token: str,
    books: Books,
    door: str,
    method: str,
    path: str,
    body: Any,
) -> None:
    theirs = books.add(owner="bob", labels={"job": "7"})
    answer = doors[door].call(method, f"/instances/{theirs}{path}", token, json=body)
    none = doors[door].call(method, f"/instances/i-none{path}", token, json=body)
    assert (answer.status_code, none.status_code) == (404, 404)
    assert "bob" not in answer.text
    ours, others = answer.json(), none.json()
    assert ours["detail"].replace(theirs, "X") == others["detail"].replace("i-none", "X")
    (untouched,) = books.ledger.get([theirs])
    assert untouched.status == "ACTIVE"


def test_lists_and_labels_reach_only_ones_own(
    doors: dict[str, Door], token: str, books: Books
) -> None:
    theirs = books.add(owner="bob", labels={"job": "7"})
    mine = books.add(labels={"job": "7"})
    listed = doors["list"].call("GET", "/instances?label=job:7", token).json()["instances"]
    assert [it["id"] for it in listed] == [mine]
    gone = doors["destroy"].call("DELETE", "/instances?label=job:7", token)
    assert [it["id"] for it in gone.json()["instances"]] == [mine]
    assert books.ledger.get([theirs])[0].status == "ACTIVE"


def test_fail_closed_without_an_issuers_file_nobody_is_let_in(running: Any, token: str) -> None:
    with running("list", OMS_ISSUERS_FILE=None) as door:
        assert_unauthenticated(door.call("GET", "/instances", token))


def test_fail_closed_with_an_empty_issuers_file_nobody_is_let_in(
    running: Any, token: str, tmp_path: Any
) -> None:
    empty = tmp_path / "issuers.yaml"
    empty.write_text("issuers: []\n")
    with running("list", OMS_ISSUERS_FILE=empty) as door:
        assert_unauthenticated(door.call("GET", "/instances", token))
