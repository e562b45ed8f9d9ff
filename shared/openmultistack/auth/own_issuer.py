"""The own issuer: its key, and the tokens that it signs."""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jose import jwk, jwt
from jose.exceptions import JOSEError

from openmultistack.domain.errors import ConfigurationError

LOCAL_ISSUER = "urn:openmultistack:local"
LOCAL_AUDIENCE = "openmultistack"


def make_signing_key(directory: Path) -> None:
    """Make an own issuer's ES256 key, or what is missing of it; safe to repeat.

    Folder and files (signing.pem, jwks.json) are their owner's alone afterwards, also if they were
    there. A lost jwks.json is made again of the same key: tokens that are out stay good.

    Raises:
        ConfigurationError: jwks.json is lost, and signing.pem is no key.
    """
    private, public = directory / "signing.pem", directory / "jwks.json"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    if not private.exists():
        public.unlink(missing_ok=True)
        _write(private, _new_key())
    if not public.exists():
        jwks = {"keys": [_read_key(private)[1]]}
        _write(public, (json.dumps(jwks, indent=1) + "\n").encode())
    for path in (private, public):
        path.chmod(0o600)


def _new_key() -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  costs the doors 40 ms
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415  same

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, for its owner alone."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)


def _read_key(path: Path) -> tuple[str, dict[str, str]]:
    """Return a private key in PEM, and the public one as a JWK."""
    try:
        pem = path.read_text()
        return pem, _public_jwk(pem)
    except OSError as error:
        raise ConfigurationError(str(path), "", f"cannot be read ({error.strerror})") from error
    except (JOSEError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigurationError(str(path), "", "expected an ES256 private key in PEM") from error


def _public_jwk(pem: str) -> dict[str, str]:
    key: Any = jwk.construct(pem, "ES256")
    if key.is_public() or key.prepared_key.curve.name != "secp256r1":
        raise ValueError("no private key for ES256")
    public = key.public_key().to_dict()
    named = {k: v.decode() if isinstance(v, bytes) else v for k, v in public.items()}
    # RFC 7638: the thumbprint over the required members, in this order, without white space.
    members = json.dumps({k: named[k] for k in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    kid = hashlib.sha256(members.encode()).hexdigest()[:16]
    return named | {"kid": kid, "use": "sig", "alg": "ES256"}


def issue_token(
    key_file: Path,
    *,
    owner: str,
    scopes: Sequence[str],
    ttl_s: int,
    issuer: str = LOCAL_ISSUER,
    audience: str = LOCAL_AUDIENCE,
) -> str:
    """Return a token of the own issuer, signed with the key that `make_signing_key` made.

    Raises:
        ConfigurationError: the key cannot be read.
    """
    pem, public = _read_key(key_file)
    now = int(time.time())
    claims = {
        "iss": issuer, "aud": audience, "sub": owner, "scope": " ".join(scopes),
        "iat": now, "exp": now + ttl_s, "jti": secrets.token_hex(12),
    }  # fmt: skip
    return jwt.encode(claims, pem, algorithm="ES256", headers={"kid": public["kid"]})
