"""Which files of keys are taken, by gateway and functions alike, and what is said of the others."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk

from openmultistack.auth.keys import read_keys
from openmultistack.domain.errors import ConfigurationError
from openmultistack.domain.strict import DEPTH_MAX, encode_base64url, read_json

Key = dict[str, Any]
ES, RS = ("ES256",), ("RS256",)


def number(value: int, size: int | None = None) -> str:
    """Return a number as a JWK has it."""
    return encode_base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def on(curve: ec.EllipticCurve, name: str, size: int) -> Key:
    """Return a private key as a JWK: `d` is its private member."""
    private = ec.generate_private_key(curve).private_numbers()
    x, y = private.public_numbers.x, private.public_numbers.y
    members = {"x": number(x, size), "y": number(y, size), "d": number(private.private_value, size)}
    return {"kty": "EC", "kid": "a", "crv": name} | members


def of(bits: int) -> Key:
    """Return a private RSA key as a JWK."""
    private = rsa.generate_private_key(65537, bits).private_numbers()
    own = {"d": private.d, "p": private.p, "q": private.q}
    public = {"n": private.public_numbers.n, "e": private.public_numbers.e}
    return {"kty": "RSA", "kid": "a"} | {it: number(value) for it, value in (public | own).items()}


def public(key: Key, **changed: object) -> Key:
    """Return what is public of a key, with some of it changed; None takes a member out."""
    shown = {it: value for it, value in key.items() if it not in ("d", "p", "q")} | changed
    return {it: value for it, value in shown.items() if value is not None}


P256 = on(ec.SECP256R1(), "P-256", 32)
P384 = on(ec.SECP384R1(), "P-384", 48)
P521 = on(ec.SECP521R1(), "P-521", 66)
KOBLITZ = on(ec.SECP256K1(), "secp256k1", 32)
RSA = of(2048)
OTHER = on(ec.SECP256R1(), "P-256", 32)
OCT = {"kty": "oct", "kid": "a", "k": number(2**255)}
OKP = {"kty": "OKP", "kid": "a", "crv": "Ed25519", "x": number(7, 32)}
GOOD = public(OTHER, kid="good")

# What a file holds, for which algorithms, and what is said of it.
REFUSED: Mapping[str, tuple[object, Sequence[str], str]] = {
    "empty": ("", ES, "expected JSON"),
    "not JSON": ("not json", ES, "expected JSON"),
    "cut short": ('{"keys": [', ES, "expected JSON"),
    "not UTF-8": (b"\xff\xfe{}", ES, "expected JSON (not UTF-8)"),
    "two documents": ("{} {}", ES, "expected JSON"),
    "nested deep": ("[" * 5000, ES, "expected JSON (nested too deep)"),
    "NaN": ('{"keys": NaN}', ES, "expected JSON"),
    "a member twice": ('{"keys": [], "keys": []}', ES, "a member comes twice"),
    "a list": ([], ES, "keys: expected a JWKS"),
    "no keys": ({}, ES, "keys: expected a JWKS"),
    "keys is no list": ({"keys": 5}, ES, "keys: expected a JWKS"),
    "keys is an object": ({"keys": {"a": public(P256)}}, ES, "keys: expected a JWKS"),
    "an empty set": ([[]], ES, "keys: has no key that is for ES256"),
    "a key that is none": ([[5]], ES, "keys.0: expected an object"),
    "an empty key": ([[{}]], ES, "keys.0: expected a kid"),
    "no kid": ([[public(P256, kid=None)]], ES, "keys.0: expected a kid"),
    "an empty kid": ([[public(P256, kid="")]], ES, "keys.0: expected a kid"),
    "a kid that is a number": ([[public(P256, kid=7)]], ES, "keys.0: expected a kid"),
    "a kid of two lines": ([[public(P256, kid="a\nb")]], ES, "key 'a\\nb': expected a kid"),
    "a kid without end": ([[public(P256, kid="k" * 256)]], ES, "expected a kid of 1 to 255"),
    "a kid twice": ([[GOOD, public(P256, kid="good")]], ES, "key 'good': comes twice"),
    "no kty": ([[public(P256, kty=None)]], ES, "key 'a': kty None: expected EC or RSA"),
    "a shared secret": ([[OCT]], ES, "key 'a': kty 'oct' is a shared secret"),
    "a shared secret for HS256": ([[GOOD, OCT | {"alg": "HS256"}]], ES, "is a shared secret"),
    "a shared secret as ES256": ([[GOOD, OCT | {"alg": "ES256"}]], ES, "is a shared secret"),
    "a shared secret to encrypt": ([[GOOD, OCT | {"use": "enc"}]], ES, "is a shared secret"),
    "Ed25519": ([[OKP]], ES, "key 'a': kty 'OKP': expected EC or RSA"),
    "Ed25519 as ES256": ([[OKP | {"alg": "ES256"}]], ES, "key 'a': kty 'OKP'"),
    "only Ed25519 that says so": ([[OKP | {"alg": "EdDSA"}]], ES, "has no key that is for ES256"),
    "an unknown curve": ([[public(KOBLITZ)]], ES, "key 'a': crv 'secp256k1': expected P-256"),
    "an unknown curve as ES256": ([[public(KOBLITZ, alg="ES256")]], ES, "crv 'secp256k1'"),
    "no curve": ([[public(P256, crv=None)]], ES, "key 'a': crv None: expected P-256"),
    "a curve that is a list": ([[public(P256, crv=["P-256"])]], ES, "crv ['P-256']: expected"),
    "P-384 as ES256": ([[public(P384, alg="ES256")]], ES, "alg ES256 does not fit"),
    "P-256 as ES384": ([[public(P256, alg="ES384")]], ("ES256", "ES384"), "expected ES256"),
    "P-256 as RS256": ([[public(P256, alg="RS256")]], RS, "alg RS256 does not fit"),
    "RSA as ES256": ([[public(RSA, alg="ES256")]], ES, "alg ES256 does not fit the key"),
    "only RS256 for ES256": ([[public(RSA, alg="RS256")]], ES, "has no key that is for ES256"),
    "only ES256 for RS256": ([[public(P256, alg="ES256")]], RS, "has no key that is for RS256"),
    "only P-384 for ES256": ([[public(P384)]], ES, "has no key that is for ES256"),
    "only to encrypt": ([[public(P256, use="enc")]], ES, "has no key that is for ES256"),
    "a use that is none": ([[public(P256, use=5)]], ES, "has no key that is for ES256"),
    "only to sign": ([[P256 | {"key_ops": ["sign"]}]], ES, "has no key that is for ES256"),
    "key_ops is a text": ([[public(P256, key_ops="verify")]], ES, "key_ops: expected a list"),
    "alg none": ([[public(P256, alg="none")]], ES, "has no key that is for ES256"),
    "alg is a list": ([[public(P256, alg=["ES256"])]], ES, "has no key that is for ES256"),
    "1024 bits": ([[public(of(1024))]], RS, "an RSA key of 1024 bits, expected 2048 to 8192"),
    "1024 bits that say RS256": ([[public(of(1024), alg="RS256")]], RS, "of 1024 bits"),
    "no modulus": ([[public(RSA, n=None)]], RS, "n: is required"),
    "a modulus of 16 Ki bits": ([[public(RSA, n=number(2**16384 - 1))]], RS, "of 16384 bits"),
    "a padded modulus": ([[public(RSA, n=RSA["n"] + "==")]], RS, "n: expected base64url without"),
    "an even exponent": ([[public(RSA, e=number(65536))]], RS, "e: expected an odd number"),
    "an exponent of 1": ([[public(RSA, e=number(1))]], RS, "e: expected an odd number"),
    "an exponent of 64 bits": ([[public(RSA, e=number(2**63 + 1))]], RS, "e: expected an odd"),
    "no y": ([[public(P256, y=None)]], ES, "y: is required"),
    "an empty x": ([[public(P256, x="")]], ES, "x: is required"),
    "x is a number": ([[public(P256, x=5)]], ES, "x: is required"),
    "a short x": ([[public(P256, x=number(5))]], ES, "x: expected 32 bytes on P-256"),
    "a point beside the curve": ([[public(P256, x=number(5, 32))]], ES, "is no key of its kind"),
    "x of base64": ([[public(P256, x="+/" + P256["x"][2:])]], ES, "x: expected base64url"),
}

# What a file holds, for which algorithms, and which kids are taken with which algorithm.
ACCEPTED: Mapping[str, tuple[Sequence[Key], Sequence[str], Mapping[str, str]]] = {
    "P-256": ([public(P256, alg="ES256", use="sig")], ES, {"a": "ES256"}),
    "silent about all but itself": ([public(P256)], ES, {"a": "ES256"}),
    "P-384 beside P-256": (
        [public(P256, kid="b"), public(P384)], ("ES256", "ES384"), {"a": "ES384", "b": "ES256"},
    ),
    "P-521": ([public(P521, alg="ES512")], ("ES512",), {"a": "ES512"}),
    "P-384 of an issuer that uses ES256": ([public(P384), GOOD], ES, {"good": "ES256"}),
    "RSA": ([public(RSA, alg="RS256")], RS, {"a": "RS256"}),
    "RSA, silent": ([public(RSA)], ("ES256", "RS512", "RS256"), {"a": "RS512"}),
    "RSA that says RS256": ([public(RSA, alg="RS256")], ("RS512", "RS256"), {"a": "RS256"}),
    "a modulus with a zero before": (
        [public(RSA, n=encode_base64url(b"\0" + base64.urlsafe_b64decode(RSA["n"] + "==")))],
        RS, {"a": "RS256"},
    ),
    "to verify": ([public(P256, key_ops=["verify"])], ES, {"a": "ES256"}),
    "a private key": ([P256], ES, {"a": "ES256"}),
    "a private RSA key": ([RSA], RS, {"a": "RS256"}),
    "beside one to encrypt": ([GOOD, public(RSA, use="enc")], ES, {"good": "ES256"}),
    "beside one of another algorithm": ([GOOD, OKP | {"alg": "EdDSA"}], ES, {"good": "ES256"}),
    "beside one that is too weak, for others": (
        [GOOD, public(of(1024), alg="RS256")], ES, {"good": "ES256"},
    ),
    "beside a kid twice, for others": (
        [GOOD, public(RSA, kid="good", use="enc")], ES, {"good": "ES256"},
    ),
    "the largest kid": ([public(P256, kid="k" * 255)], ES, {"k" * 255: "ES256"}),
    "with a certificate": ([public(P256, x5c=["MIIB"], x5t="x")], ES, {"a": "ES256"}),
}  # fmt: skip


def written(folder: Path, content: object) -> Path:
    """Return a file of a text, a document, or (a list in a list) of these keys."""
    path = folder / "jwks.json"
    if isinstance(content, list) and content:
        content = {"keys": content[0]}
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_is_refused_by_name_with_what_was_expected(name: str, tmp_path: Path) -> None:
    content, algorithms, said = REFUSED[name]
    path = written(tmp_path, content)
    with pytest.raises(ConfigurationError) as caught:
        read_keys(path, algorithms)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_good_file_gives_each_key_its_one_algorithm(name: str, tmp_path: Path) -> None:
    keys, algorithms, wanted = ACCEPTED[name]
    found = read_keys(written(tmp_path, [list(keys)]), algorithms)
    assert {kid: key.algorithm for kid, key in found.items()} == wanted
    for kid, key in found.items():
        assert (key.kid, key.members["kid"]) == (kid, kid)
        assert key.members["alg"] == key.algorithm


@pytest.mark.parametrize("private", [P256, RSA], ids=["EC", "RSA"])
def test_nothing_but_what_is_public_is_taken_out_of_a_file(private: Key, tmp_path: Path) -> None:
    odd = private | {"note": "of-nobodys-business", "oth": [], "key_ops": ["sign", "verify"]}
    key = read_keys(written(tmp_path, [[odd]]), ("ES256", "RS256"))["a"]
    material = ("crv", "x", "y") if private is P256 else ("n", "e")
    assert set(key.members) == {"kty", "kid", "use", "alg", *material}
    assert key.prepared.is_public()
    assert not {"d", "p", "q"} & set(key.prepared.to_dict())


def test_a_key_verifies_what_it_signed_and_nothing_else(tmp_path: Path) -> None:
    signer = ec.generate_private_key(ec.SECP256R1())
    numbers = signer.public_key().public_numbers()
    key = public(P256, x=number(numbers.x, 32), y=number(numbers.y, 32))
    found = read_keys(written(tmp_path, [[key]]), ES)["a"]
    signature = jwk.construct(signer, "ES256").sign(b"content")
    assert found.verifies(b"content", signature)
    assert not found.verifies(b"content2", signature)
    for odd in (b"", signature[:-1], signature + b"0", b"0" * 64):
        assert not found.verifies(b"content", odd)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_keys(path, ES)


def test_enough_files_are_tried() -> None:
    assert len(REFUSED) + len(ACCEPTED) >= 40


def test_json_is_nested_so_deep_and_no_deeper() -> None:
    assert read_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    with pytest.raises(ValueError, match="deep"):
        read_json(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))
    with pytest.raises(ValueError, match="deep"):
        read_json(b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1))
