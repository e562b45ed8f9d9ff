"""Which issuers files are taken, and how the own key is made."""

import json
import stat
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jwk

from openmultistack.auth.issuers import Issuer, load_issuers
from openmultistack.auth.own_issuer import (
    LOCAL_AUDIENCE,
    LOCAL_ISSUER,
    issue_token,
    make_signing_key,
)
from openmultistack.auth.verify import verify
from openmultistack.domain.errors import ConfigurationError, Unauthenticated

OWN: dict[str, Any] = {
    "issuer": LOCAL_ISSUER,
    "audience": LOCAL_AUDIENCE,
    "algorithms": ["ES256"],
    "jwks_file": "jwks.json",
}
PUBLIC_PEM = b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
"""
P384_PEM = ec.generate_private_key(ec.SECP384R1()).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
CI = OWN | {"issuer": "https://ci.example", "owner_prefix": "ci:"}


def written(directory: Path, document: object) -> Path:
    """Return an issuers file of this content."""
    path = directory / "issuers.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    """Return an entry that lacks a key."""
    return {name: value for name, value in entry.items() if name != key}


def test_several_issuers_are_known_by_name_and_their_key_files_lie_beside_the_file(
    tmp_path: Path,
) -> None:
    issuers = load_issuers(written(tmp_path, {"issuers": [OWN | {"owner_prefix": "own:"}, CI]}))
    assert set(issuers) == {LOCAL_ISSUER, "https://ci.example"}
    assert issuers[LOCAL_ISSUER].jwks_file == tmp_path / "jwks.json"


@pytest.mark.parametrize("empty", [{"issuers": []}, {"issuers": None}])
def test_fail_closed_an_empty_list_believes_nobody(empty: object, tmp_path: Path) -> None:
    make_signing_key(tmp_path)
    issuers = load_issuers(written(tmp_path, empty))
    token = issue_token(tmp_path / "signing.pem", owner="x", scopes=["a"], ttl_s=60)
    with pytest.raises(Unauthenticated):
        verify(token, issuers)


@pytest.mark.parametrize(
    ("document", "key", "expectation"),
    [
        ("[" * 5000, "issuers", "expected a list"),
        ({"issuers": [OWN, OWN]}, "issuers.issuer", "different"),
        ({"issuers": [OWN | {"algorithms": [["ES256"]]}]}, "issuers.algorithms", "ES256"),
        ({"issuers": [OWN | {"algorithms": ["es256"]}]}, "issuers.algorithms", "es256"),
        ({"issuers": [OWN | {"scope_claim": 5}]}, "issuers.scope_claim", "string"),
        ({"issuers": [OWN | {"owner_claim": None}]}, "issuers.owner_claim", "string"),
        ({"issuers": [OWN | {1: 2}]}, "issuers", "expected a list"),
        ("", "issuers", "expected a list"),
        ("issuers: [", "issuers", "expected a list"),
        ("just text", "issuers", "expected a list"),
        ("[]", "issuers", "expected a list"),
        ({"other": []}, "issuers", "expected a list"),
        ({"issuers": 5}, "issuers", "expected a list"),
        ({"issuers": "text"}, "issuers", "expected a list"),
        ({"issuers": {"a": OWN}}, "issuers", "expected a list"),
        ({"issuers": [5]}, "issuers", "expected a list"),
        ({"issuers": [without(OWN, "jwks_file")]}, "issuers.jwks_file", "required"),
        ({"issuers": [OWN | {"jwks_file": 5}]}, "issuers.jwks_file", "string"),
        ({"issuers": [without(OWN, "issuer")]}, "issuers.issuer", "required"),
        ({"issuers": [without(OWN, "audience")]}, "issuers.audience", "required"),
        ({"issuers": [without(OWN, "algorithms")]}, "issuers.algorithms", "required"),
        ({"issuers": [OWN | {"algorithms": []}]}, "issuers.algorithms", "at least 1"),
        ({"issuers": [OWN | {"algorithms": "ES256"}]}, "issuers.algorithms", "expected a list"),
        ({"issuers": [OWN | {"issuer": ""}]}, "issuers.issuer", "at least 1"),
        ({"issuers": [OWN | {"audience": ""}]}, "issuers.audience", "at least 1"),
        ({"issuers": [OWN | {"audience": None}]}, "issuers.audience", "string"),
        ({"issuers": [OWN | {"extra": 1}]}, "issuers.extra", "not permitted"),
        ({"issuers": [OWN | {"revoked": "a"}]}, "issuers.revoked", "list of jti"),
        ({"issuers": [OWN | {"revoked": [7]}]}, "issuers.revoked", "list of jti"),
        ({"issuers": [OWN | {"revoked": [""]}]}, "issuers.revoked", "list of jti"),
        ({"issuers": [OWN | {"revoked": [{"until": 5}]}]}, "issuers.revoked", "list of jti"),
        ({"issuers": [OWN | {"revoked": [{"jti": "a", "x": 1}]}]}, "issuers.revoked", "jti"),
        (
            {"issuers": [OWN | {"revoked": [{"jti": "a", "until": True}]}]},
            "issuers.revoked",
            "seconds",
        ),
        ({"issuers": [OWN | {"not_before": "soon"}]}, "issuers.not_before", "zone"),
        ({"issuers": [OWN | {"not_before": 10**13}]}, "issuers.not_before", "seconds"),
        ({"issuers": [OWN | {"not_before": True}]}, "issuers.not_before", "seconds"),
        ({"issuers": [OWN | {"not_before": date(2026, 1, 1)}]}, "issuers.not_before", "zone"),
        ({"issuers": [OWN | {"algorithms": ["HS256"]}]}, "issuers.algorithms", "ES256"),
        ({"issuers": [OWN | {"algorithms": ["ES256", "HS512"]}]}, "issuers.algorithms", "HS512"),
        ({"issuers": [OWN | {"algorithms": ["none"]}]}, "issuers.algorithms", "none"),
        ({"issuers": [CI, OWN | {"issuer": CI["issuer"]}]}, "issuers.issuer", "different"),
        ({"issuers": [OWN, without(CI, "owner_prefix")]}, "issuers.owner_prefix", "begins another"),
        (
            {"issuers": [OWN | {"owner_prefix": "ci:"}, CI]},
            "issuers.owner_prefix",
            "begins another",
        ),
    ],
)
def test_a_bad_issuers_file_is_refused_naming_file_key_and_expectation(
    document: object, key: str, expectation: str, tmp_path: Path
) -> None:
    path = written(tmp_path, document)
    with pytest.raises(ConfigurationError) as caught:
        load_issuers(path)
    assert str(caught.value).startswith(f"{path}: {key}: ")
    assert expectation in str(caught.value)


def test_a_missing_issuers_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read"):
        load_issuers(tmp_path / "absent.yaml")


def test_an_issuers_file_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "issuers.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"issuers\.yaml"):
        load_issuers(tmp_path / "issuers.yaml")


@pytest.mark.parametrize("prefix", ["", "c"])
def test_no_owner_of_one_issuer_can_pose_as_an_owner_of_another(
    prefix: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="owner_prefix"):
        load_issuers(written(tmp_path, {"issuers": [OWN | {"owner_prefix": prefix}, CI]}))


def test_an_algorithm_that_cannot_be_verified_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="PS256"):
        load_issuers(written(tmp_path, {"issuers": [OWN | {"algorithms": ["PS256"]}]}))


def test_the_own_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    make_signing_key(directory)
    files = directory / "signing.pem", directory / "jwks.json"
    first = [it.read_bytes() for it in files]
    directory.chmod(0o755)
    for it in files:
        it.chmod(0o644)
    make_signing_key(directory)
    assert [it.read_bytes() for it in files] == first
    assert [stat.S_IMODE(it.stat().st_mode) for it in files] == [0o600, 0o600]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert sorted(it.name for it in directory.iterdir()) == ["jwks.json", "signing.pem"]


def test_the_published_key_holds_nothing_private(tmp_path: Path) -> None:
    make_signing_key(tmp_path)
    (key,) = json.loads((tmp_path / "jwks.json").read_text())["keys"]
    assert set(key) == {"kid", "use", "alg", "kty", "crv", "x", "y"}
    assert not jwk.construct(key, "ES256").to_dict().get("d")


def test_lost_public_keys_are_made_again_of_the_private_one_and_tokens_stay_good(
    tmp_path: Path,
) -> None:
    make_signing_key(tmp_path)
    token = issue_token(tmp_path / "signing.pem", owner="x", scopes=[], ttl_s=60)
    before = (tmp_path / "jwks.json").read_bytes()
    (tmp_path / "jwks.json").unlink()
    make_signing_key(tmp_path)
    assert (tmp_path / "jwks.json").read_bytes() == before
    issuer = Issuer(**OWN | {"jwks_file": tmp_path / "jwks.json"})
    assert verify(token, {LOCAL_ISSUER: issuer})[0]["sub"] == "x"


def test_a_lost_private_key_is_replaced_with_its_public_one(tmp_path: Path) -> None:
    make_signing_key(tmp_path)
    (tmp_path / "signing.pem").unlink()
    make_signing_key(tmp_path)
    issuer = Issuer(**OWN | {"jwks_file": tmp_path / "jwks.json"})
    token = issue_token(tmp_path / "signing.pem", owner="x", scopes=[], ttl_s=60)
    assert verify(token, {LOCAL_ISSUER: issuer})[0]["sub"] == "x"


def test_a_private_key_that_is_none_is_named_and_stays(tmp_path: Path) -> None:
    for content in (b"no pem", b"\xff\xfe\x00", PUBLIC_PEM, P384_PEM):
        (tmp_path / "signing.pem").write_bytes(content)
        with pytest.raises(
            ConfigurationError, match=r"signing\.pem: expected an ES256 private key"
        ):
            make_signing_key(tmp_path)
        assert (tmp_path / "signing.pem").read_bytes() == content


@pytest.mark.parametrize("content", [None, "no pem", ""])
def test_a_signing_key_that_cannot_be_used_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"signing\.pem: "):
        issue_token(path, owner="x", scopes=[], ttl_s=60)
