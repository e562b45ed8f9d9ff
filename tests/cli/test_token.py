"""`oms token`: what it issues is believed by the library's own rules."""

import json

import pytest
import yaml
from jose import jwt

from openmultistack.auth.issuers import load_issuers
from openmultistack.auth.own_issuer import LOCAL_AUDIENCE, LOCAL_ISSUER, make_signing_key
from openmultistack.auth.principal import SCOPES, principal
from openmultistack.auth.verify import verify
from openmultistack.domain.errors import Unauthenticated


@pytest.fixture
def key(tmp_path):
    """A signing key of an own issuer."""
    make_signing_key(tmp_path)
    return tmp_path / "signing.pem"


@pytest.fixture
def issuers(key):
    """The own issuer, as a function believes it."""
    entry = {
        "issuer": LOCAL_ISSUER, "audience": LOCAL_AUDIENCE,
        "algorithms": ["ES256"], "jwks_file": "jwks.json",
    }  # fmt: skip
    path = key.parent / "issuers.yaml"
    path.write_text(yaml.safe_dump({"issuers": [entry]}))
    return load_issuers(path)


def test_a_token_names_its_owner_and_all_scopes(oms, key, issuers):
    issued = oms("token", "--owner", "ci", OMS_SIGNING_KEY=str(key), OMS_URL=None, OMS_TOKEN=None)
    named = principal(*verify(issued.stdout.strip(), issuers))
    assert named.owner == "ci"
    assert named.scopes == set(SCOPES)


def test_scopes_and_life_can_be_less(oms, key, issuers):
    document = oms.json(
        "token", "--owner", "ci", "--ttl", "2m", "--key", str(key),
        "--scope", "instances:read", "--scope", "fleet:read",
    )  # fmt: skip
    claims, issuer = verify(document["token"], issuers)
    assert claims["exp"] - claims["iat"] == 120
    assert principal(claims, issuer).scopes == {"instances:read", "fleet:read"}


def test_each_token_says_when_it_was_issued_and_has_an_id_of_its_own(oms, key, issuers):
    issued = [oms("token", "--owner", "ci", "--key", str(key)).stdout.strip() for _ in range(2)]
    claims = [verify(it, issuers)[0] for it in issued]
    assert len({it["jti"] for it in claims}) == 2
    assert all(it["iat"] < it["exp"] for it in claims)


def test_a_token_of_another_key_is_not_believed(oms, tmp_path, issuers):
    other = tmp_path / "other"
    make_signing_key(other)
    issued = oms("token", "--owner", "ci", "--key", str(other / "signing.pem")).stdout.strip()
    with pytest.raises(Unauthenticated):
        verify(issued, issuers)


def test_what_is_missing_or_wrong_is_told(oms, key, tmp_path):
    assert "OMS_SIGNING_KEY" in oms("token", "--owner", "ci", code=2).stderr
    done = oms("token", "--owner", "ci", "--scope", "instances:all", "--key", str(key), code=2)
    assert "'instances:all' is no scope" in done.stderr
    done = oms("token", "--owner", "ci", "--key", str(tmp_path / "none.pem"), code=2)
    assert "none.pem: cannot be read" in done.stderr
    broken = tmp_path / "broken.pem"
    broken.write_text(json.dumps("no key"))
    done = oms("token", "--owner", "ci", "--key", str(broken), code=2)
    assert "broken.pem" in done.stderr
    assert done.stdout == ""


def test_tokens_that_were_used_are_listed(oms, stub):
    shown = oms("token", "list").stdout.splitlines()
    assert [line.split()[:2] for line in shown[1:]] == [["jti-1", "ci"], ["a" * 32, "ci"]]
    assert [line.rstrip().endswith("revoked") for line in shown[1:]] == [False, True]
    assert oms.json("token", "list")["tokens"] == stub.tokens


def test_a_token_is_revoked_by_its_jti_or_as_a_whole(oms, key, stub):
    assert "revoked" in oms("token", "revoke", "jti-1").stdout
    assert "nothing at" in oms("token", "revoke", "jti-2", code=4).stderr
    issued = oms("token", "--owner", "ci", "--key", str(key)).stdout.strip()
    claims = jwt.get_unverified_claims(issued)
    stub.tokens[0]["jti"] = claims["jti"]
    stub.asked.clear()
    assert oms.json("token", "revoke", issued)["revoked"]
    (asked,) = stub.asked
    assert (asked.method, asked.path) == ("DELETE", f"/v1/tokens/{claims['jti']}")
    assert dict(asked.query) == {"issuer": LOCAL_ISSUER, "until": str(claims["exp"])}


def test_what_is_no_token_is_no_request(oms, stub):
    for bad in ("../instances", "a b", "", "x" * 65, "a.b/c"):
        assert "no token" in oms("token", "revoke", bad, code=2).stderr
    assert stub.asked == []
