"""Which tokens are believed."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jose import jwt

from openmultistack.auth.issuers import Issuer
from openmultistack.auth.own_issuer import (
    LOCAL_AUDIENCE,
    LOCAL_ISSUER,
    issue_token,
    make_signing_key,
)
from openmultistack.auth.principal import SCOPES, principal
from openmultistack.auth.verify import verify
from openmultistack.domain.errors import Unauthenticated
from openmultistack.domain.models import Principal


class Signer:
    """An issuer with its key: makes tokens of any claims, good and bad."""

    def __init__(self, directory: Path, *, issuer: str = LOCAL_ISSUER, **more: object) -> None:
        make_signing_key(directory)
        self.pem = (directory / "signing.pem").read_text()
        self.jwks_file = directory / "jwks.json"
        self.kid = json.loads(self.jwks_file.read_text())["keys"][0]["kid"]
        self.issuer = Issuer(
            **{
                "issuer": issuer,
                "audience": LOCAL_AUDIENCE,
                "algorithms": ("ES256",),
                "jwks_file": self.jwks_file,
            }
            | more
        )

    def token(
        self,
        claims: Mapping[str, object],
        *,
        key: str | None = None,
        alg: str = "ES256",
        headers: Mapping[str, object] | None = None,
    ) -> str:
        """Return a signed token of exactly these claims."""
        named = {"kid": self.kid} if headers is None else dict(headers)
        return jwt.encode(dict(claims), key or self.pem, algorithm=alg, headers=named)


@pytest.fixture
def make_signer(tmp_path: Path) -> Callable[..., Signer]:
    """Return a maker of issuers, each with a key of its own."""
    made: list[Signer] = []

    def make(**more: object) -> Signer:
        made.append(Signer(tmp_path / f"issuer-{len(made)}", **more))
        return made[-1]

    return make


@pytest.fixture
def signer(make_signer: Callable[..., Signer]) -> Signer:
    """Return the own issuer."""
    return make_signer()


def good_claims(**changed: object) -> dict[str, object]:
    """Return claims that are believed; a change to None takes the claim away."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": LOCAL_ISSUER, "aud": LOCAL_AUDIENCE, "sub": "alice",
        "scope": "instances:read", "iat": now, "exp": now + 60,
    }  # fmt: skip
    return {name: v for name, v in (claims | changed).items() if v is not None}


def segment(value: object) -> str:
    """Return one part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def refused(token: str, signer: Signer) -> str:
    """Return what is said to a token that must not be believed."""
    with pytest.raises(Unauthenticated) as caught:
        verify(token, {signer.issuer.issuer: signer.issuer})
    assert not token or token not in str(caught.value)
    return str(caught.value)


def test_a_good_token_is_believed_and_names_its_owner_and_scopes(signer: Signer) -> None:
    claims, issuer = verify(signer.token(good_claims()), {LOCAL_ISSUER: signer.issuer})
    assert principal(claims, issuer) == Principal(
        owner="alice", scopes=frozenset({"instances:read"})
    )


def test_a_token_from_the_command_line_is_believed(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_text(signer.pem)
    token = issue_token(tmp_path / "k.pem", owner="dev", scopes=SCOPES, ttl_s=60)
    claims, issuer = verify(token, {LOCAL_ISSUER: signer.issuer})
    assert principal(claims, issuer) == Principal(owner="dev", scopes=frozenset(SCOPES))
    assert claims["exp"] - claims["iat"] == 60


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": int(time.time()) - 3600},
        {"exp": int(time.time()) - 1},
        {"nbf": int(time.time()) + 3600},
        {"aud": "another-service"},
        {"aud": ["another-service", "a-third"]},
        {"aud": 5},
        {"iss": "urn:openmultistack:other"},
        {"iss": LOCAL_ISSUER + "/"},
        {"iss": ""},
        {"iss": [LOCAL_ISSUER]},
        {"iss": {"a": LOCAL_ISSUER}},
        {"iss": 0},
        {"sub": 5},
        {"exp": "soon"},
        {"exp": [1]},
        {"aud": None},
        {"exp": None},
        {"iss": None},
        {"sub": None},
    ],
)
def test_a_token_with_a_bad_or_missing_claim_is_refused(
    changed: Mapping[str, object],
    signer: Signer,
) -> None:
    refused(signer.token(good_claims(**changed)), signer)


def test_an_endless_expiry_is_refused(signer: Signer) -> None:
    refused(signer.token(good_claims(exp=float("inf"))), signer)


def test_a_token_for_several_audiences_that_names_this_one_is_believed(signer: Signer) -> None:
    token = signer.token(good_claims(aud=["other", LOCAL_AUDIENCE]))
    assert verify(token, {LOCAL_ISSUER: signer.issuer})[0]["sub"] == "alice"


def test_a_bad_signature_is_refused(signer: Signer) -> None:
    header, claims, signature = signer.token(good_claims()).split(".")
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    refused(f"{header}.{claims}.{flipped}", signer)
    refused(f"{header}.{segment(good_claims(sub='mallory'))}.{signature}", signer)
    refused(f"{header}.{claims}.", signer)


def test_a_token_signed_by_another_key_with_the_right_kid_is_refused(
    signer: Signer,
    make_signer: Callable[..., Signer],
) -> None:
    other = make_signer()
    refused(signer.token(good_claims(), key=other.pem), signer)


def test_alg_none_is_refused_with_and_without_a_signature(signer: Signer) -> None:
    for alg in ("none", "None", "NONE", "", None, ["ES256"], 5):
        head = segment({"alg": alg, "typ": "JWT", "kid": signer.kid})
        body = segment(good_claims())
        refused(f"{head}.{body}.", signer)
        refused(f"{head}.{body}.{signer.token(good_claims()).split('.')[2]}", signer)
    refused(f"{segment({'kid': signer.kid})}.{segment(good_claims())}.", signer)


def hs256(secret: bytes, kid: str) -> str:
    """Return a token signed with a secret, made by hand as python-jose refuses PEM as one."""
    signed = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{segment(good_claims())}"
    mac = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_hs256_with_the_public_key_as_secret_is_refused(signer: Signer) -> None:
    jwks = signer.jwks_file.read_bytes()
    public = signer.issuer.keys[signer.kid].prepared.to_pem()
    key = json.dumps(json.loads(jwks)["keys"][0]).encode()
    for secret in (public, public.strip(), jwks, key, b""):
        refused(hs256(secret, signer.kid), signer)


@pytest.mark.parametrize("headers", [{"kid": "another"}, {}, {"kid": None}, {"kid": ["a"]}])
def test_a_token_of_an_unknown_kid_is_refused(
    headers: Mapping[str, object],
    signer: Signer,
) -> None:
    refused(signer.token(good_claims(), headers=headers), signer)


def test_an_algorithm_the_issuer_does_not_use_is_refused(
    make_signer: Callable[..., Signer],
) -> None:
    signer = make_signer(algorithms=("ES256", "ES384"))
    for said in ("ES384", "RS256"):
        head = segment({"alg": said, "kid": signer.kid})
        _, body, signature = signer.token(good_claims()).split(".")
        refused(f"{head}.{body}.{signature}", signer)


def test_one_issuer_cannot_speak_for_another(make_signer: Callable[..., Signer]) -> None:
    own, foreign = make_signer(), make_signer(issuer="https://ci.example", owner_prefix="ci:")
    issuers = {it.issuer.issuer: it.issuer for it in (own, foreign)}
    posing = foreign.token(good_claims(iss=LOCAL_ISSUER))
    with pytest.raises(Unauthenticated):
        verify(posing, issuers)
    claims, issuer = verify(foreign.token(good_claims(iss="https://ci.example")), issuers)
    assert principal(claims, issuer).owner == "ci:alice"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        "\0",
        "\ud800.a.b",
        "Bearer x",
        "a" * 10000,
        ".".join(["e30"] * 3),
        f"{segment([])}.{segment([])}.x",
        f"{segment({})}.{segment({'iss': LOCAL_ISSUER})}.x",
        f"{segment(5)}.{segment('iss')}.AA",
        base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.x",
    ],
    ids=lambda token: ascii(token[:20]),
)
def test_garbage_is_refused(token: str, signer: Signer) -> None:
    refused(token, signer)


@given(token=st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
def test_nothing_made_up_is_believed_or_breaks_anything(token: str) -> None:
    with pytest.raises(Unauthenticated):
        verify(token, {})


def test_with_no_issuer_configured_nobody_is_let_in(signer: Signer) -> None:
    with pytest.raises(Unauthenticated):
        verify(signer.token(good_claims()), {})
