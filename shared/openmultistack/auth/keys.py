"""Public keys from a file (JWKS, RFC 7517): what the gateway and the functions verify with.

The one reader for both. What verifying needs is copied out of the file and nothing else, so that a
private key that lies in it by mistake goes no further.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jose import jwk
from jose.exceptions import JOSEError

from openmultistack.domain.errors import ConfigurationError
from openmultistack.domain.strict import decode_base64url, encode_base64url, read_json

# Signatures that prove who signed; a shared secret (HS*) proves only that somebody had it.
# Those that python-jose can verify: it knows no PS*.
ASYMMETRIC = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
# Of each curve its one algorithm, and the bytes of a coordinate (RFC 7518, 3.4 and 6.2.1.2).
CURVES = {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
# RFC 7518, 3.3 wants 2048 at least; Envoy's library takes 8192 at most, and no longer exponent.
RSA_BITS = range(2048, 8193)
RSA_EXPONENTS = range(3, 2**32)
KID_CHARS = 255
# Of what a file says so much is shown when it is wrong.
_SHOWN_CHARS = 64


class PublicKey(NamedTuple):
    """A key of an issuer; it verifies signatures of one algorithm."""

    kid: str
    algorithm: str
    # Its public members (RFC 7518, 6) with kid, use and alg: all that others may be given.
    members: Mapping[str, str]
    # What python-jose made of them.
    prepared: Any

    def verifies(self, content: bytes, signature: bytes) -> bool:
        """Whether this key signed the content."""
        return bool(self.prepared.verify(content, signature))


class _Fault(Exception):
    """What is wrong with a key, and what was expected."""


def read_keys(path: Path, algorithms: Sequence[str]) -> dict[str, PublicKey]:
    """Return by `kid` the keys of a file that are for one of an issuer's algorithms.

    A key that says it is for something else (`use`, `key_ops`, `alg`) is passed over, as providers
    publish all of theirs in one set; a shared secret never is. One that names no `alg` is for the
    first of the issuer's that fits it.

    Raises:
        ConfigurationError: the file, or a key that is meant for us, is not as it must be; names
            file, kid and what was expected.
    """
    found: dict[str, PublicKey] = {}
    for position, entry in enumerate(_entries(path)):
        try:
            key = _public_key(entry, algorithms, found)
        except _Fault as fault:
            raise ConfigurationError(str(path), _called(position, entry), str(fault)) from None
        if key is not None:
            found[key.kid] = key
    if not found:
        expected = f"has no key that is for {', '.join(algorithms)}, expected at least 1"
        raise ConfigurationError(str(path), "keys", expected)
    return found


def _entries(path: Path) -> list[object]:
    try:
        document = read_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(str(path), "", f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        said = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigurationError(str(path), "", f"expected JSON ({said})") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ConfigurationError(str(path), "keys", 'expected a JWKS, `{"keys": [...]}`')
    return list(document["keys"])


def _called(position: int, entry: object) -> str:
    """Return how a key is named to its operator."""
    kid = entry.get("kid") if isinstance(entry, Mapping) else None
    return f"key {kid[:_SHOWN_CHARS]!a}" if isinstance(kid, str) and kid else f"keys.{position}"


def _public_key(
    entry: object, algorithms: Sequence[str], others: Container[str]
) -> PublicKey | None:
    """Return a key that is for one of the algorithms; None if it is for something else."""
    if not isinstance(entry, Mapping):
        raise _Fault("expected an object")
    if entry.get("kty") == "oct":
        raise _Fault("kty 'oct' is a shared secret, expected a public key: kty EC or RSA")
    if not _is_for_verifying(entry) or ("alg" in entry and entry["alg"] not in algorithms):
        return None
    kid = entry.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARS or not kid.isprintable():
        raise _Fault(f"expected a kid of 1 to {KID_CHARS} printable characters")
    if kid in others:
        raise _Fault("comes twice, expected a kid of its own for each key")
    fitting, members = _material(entry)
    algorithm = entry.get("alg") or next((it for it in algorithms if it in fitting), None)
    if algorithm is None:
        return None
    if algorithm not in fitting:
        raise _Fault(f"alg {algorithm} does not fit the key, expected {' or '.join(fitting)}")
    named = {"kty": str(entry["kty"])} | members | {"kid": kid, "use": "sig", "alg": algorithm}
    return PublicKey(kid, algorithm, named, _prepared(named))


def _is_for_verifying(entry: Mapping[str, object]) -> bool:
    """Whether a key is for signatures, as far as it says (RFC 7517, 4.2 and 4.3)."""
    operations = entry.get("key_ops")
    if operations is not None and not isinstance(operations, list):
        raise _Fault("key_ops: expected a list")
    return entry.get("use", "sig") == "sig" and (operations is None or "verify" in operations)


def _material(entry: Mapping[str, object]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the algorithms that a key can be for, and what is public of it."""
    if entry.get("kty") == "EC":
        return _curve(entry)
    if entry.get("kty") == "RSA":
        return tuple(it for it in ASYMMETRIC if it.startswith("RS")), dict(_modulus(entry))
    raise _Fault(f"kty {_shown(entry.get('kty'))}: expected EC or RSA")


def _curve(entry: Mapping[str, object]) -> tuple[tuple[str, ...], dict[str, str]]:
    name = entry.get("crv")
    if not isinstance(name, str) or name not in CURVES:
        raise _Fault(f"crv {_shown(name)}: expected {', '.join(CURVES)}")
    algorithm, size = CURVES[name]
    found = {"crv": name}
    for member in ("x", "y"):
        if len(_bytes(entry, member)) != size:
            raise _Fault(f"{member}: expected {size} bytes on {name}")
        found[member] = str(entry[member])
    return (algorithm,), found


def _modulus(entry: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    numbers = {it: int.from_bytes(_bytes(entry, it), "big") for it in ("n", "e")}
    bits = numbers["n"].bit_length()
    if bits not in RSA_BITS:
        least, most = RSA_BITS[0], RSA_BITS[-1]
        raise _Fault(f"is an RSA key of {bits} bits, expected {least} to {most}")
    if numbers["e"] not in RSA_EXPONENTS or numbers["e"] % 2 == 0:
        raise _Fault("e: expected an odd number from 3 to 2^32, as 65537 (AQAB)")
    for name, number in numbers.items():
        yield name, encode_base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _bytes(entry: Mapping[str, object], member: str) -> bytes:
    value = entry.get(member)
    if not isinstance(value, str) or not value:
        raise _Fault(f"{member}: is required, a number in base64url")
    try:
        return decode_base64url(value)
    except ValueError as error:
        raise _Fault(f"{member}: {error}") from None


def _prepared(members: Mapping[str, str]) -> object:
    try:
        return jwk.construct(dict(members), members["alg"])
    except (ValueError, JOSEError):
        raise _Fault("is no key of its kind: expected a point of its curve, or a modulus") from None


def _shown(value: object) -> str:
    return ascii(value)[:_SHOWN_CHARS]
