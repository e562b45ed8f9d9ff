"""The own issuer's key in the hand of a test."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path

from jose import jwt

from openmultistack.auth.own_issuer import LOCAL_AUDIENCE, LOCAL_ISSUER, make_signing_key
from openmultistack.auth.principal import SCOPES


class Signer:
    """The own issuer's key: makes tokens, good and bad."""

    def __init__(self, directory: Path) -> None:
        make_signing_key(directory)
        self.pem = (directory / "signing.pem").read_text()
        self.jwks = (directory / "jwks.json").read_text()
        self.kid = json.loads(self.jwks)["keys"][0]["kid"]
        self.issuers_file = directory / "issuers.yaml"
        issuer = {
            "issuer": LOCAL_ISSUER,
            "audience": LOCAL_AUDIENCE,
            "algorithms": ["ES256"],
            "jwks_file": "jwks.json",
            "quota_claim": "quota",
        }
        self.issuers_file.write_text(json.dumps({"issuers": [issuer]}))

    def claims(self, **changes: object) -> dict[str, object]:
        """Return good claims with some changed; None leaves one out."""
        now = int(time.time())
        good: dict[str, object] = {
            "iss": LOCAL_ISSUER,
            "aud": LOCAL_AUDIENCE,
            "sub": "alice",
            "scope": " ".join(SCOPES),
            "iat": now,
            "exp": now + 600,
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, **changes: object) -> str:
        """Return a token, signed as it should be."""
        return self.signed(self.claims(**changes))

    def signed(self, claims: dict[str, object]) -> str:
        """Return a token of these claims, whatever they are, signed as it should be."""
        return str(jwt.encode(claims, self.pem, "ES256", headers={"kid": self.kid}))

    def by_hand(self, algorithm: str, secret: bytes | None) -> str:
        """Return a token of good claims with an HMAC of a secret, or without a signature."""
        header = {"alg": algorithm, "typ": "JWT", "kid": self.kid}
        signed = b".".join(_base64(json.dumps(it).encode()) for it in (header, self.claims()))
        mac = hmac.digest(secret, signed, hashlib.sha256) if secret else b""
        return (signed + b"." + _base64(mac)).decode()


def _base64(text: bytes) -> bytes:
    return base64.urlsafe_b64encode(text).rstrip(b"=")
