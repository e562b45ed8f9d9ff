"""Every way that is known to be wrong with a token, made systematically: each has a name.

A row is a request's headers (and query) that must be 401 everywhere; `good` are those that must
be let in, so that nothing here is refused for another reason than its own fault.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key

# The order of P-256's group (FIPS 186-5): a signature's halves are below.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ABSENT = object()
HUGE = "1" + "0" * 400


class Row(NamedTuple):
    """What is sent beside method and path."""

    headers: list[tuple[str, bytes]]
    query: str = ""


def bearer(token: str | bytes, scheme: str = "Bearer") -> Row:
    """Return a row that sends a token as it is usual."""
    raw = token if isinstance(token, bytes) else token.encode("latin-1")
    return Row([("Authorization", scheme.encode() + b" " + raw)])


def b64(content: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Raw(str):
    """A value of JSON as it is to be written."""

    __slots__ = ()


def written(members: Mapping[str, object]) -> bytes:
    """Return an object as JSON; a member that is ABSENT is left out."""
    shown = ",".join(
        f"{json.dumps(name)}:{value if isinstance(value, Raw) else json.dumps(value)}"
        for name, value in members.items()
        if value is not ABSENT
    )
    return ("{" + shown + "}").encode()


class Maker:
    """Makes tokens part by part; each can be wrong."""

    def __init__(self, pem: str, jwks: str, claims: Mapping[str, object]) -> None:
        key = load_pem_private_key(pem.encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key, self.jwks, self._claims = key, jwks, claims
        self.jwk = json.loads(jwks)["keys"][0]
        self.stranger = ec.generate_private_key(ec.SECP256R1())

    def header(self, **changed: object) -> bytes:
        """Return a good header, changed."""
        return written({"alg": "ES256", "typ": "JWT", "kid": self.jwk["kid"]} | changed)

    def claims(self, **changed: object) -> bytes:
        """Return good claims, changed."""
        return written(dict(self._claims) | changed)

    def signature(self, signed: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        """Return a signature as JWS has it."""
        r, s = decode_dss_signature((key or self.key).sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def token(
        self,
        header: bytes | None = None,
        claims: bytes | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> str:
        """Return a token that is good but for the given parts, and signed as it stands."""
        parts = (self.header() if header is None else header, claims or self.claims())
        signed = ".".join(map(b64, parts if claims != b"" else (parts[0], b"")))
        return f"{signed}.{b64(self.signature(signed.encode(), key))}"


# ---------------------------------------------------------------- claims

_NO_TIMES: Mapping[str, object] = {
    "null": None, "a text": "soon", "digits": "4102444800", "true": True, "false": False,
    "a list": [4102444800], "an object": {"at": 1}, "empty": "", "1e400": Raw("1e400"),
    "10^400": Raw(HUGE), "minus 10^400": Raw(f"-{HUGE}"), "1e300": 1e300, "NaN": Raw("NaN"),
    "Infinity": Raw("Infinity"), "-Infinity": Raw("-Infinity"), "negative": -1,
    "in milliseconds": 4102444800000, "hexadecimal": Raw("0xF48AF900"),
    "a plus": Raw("+4102444800"),
    "a leading zero": Raw("04102444800"),
}  # fmt: skip
_NO_TEXTS: Mapping[str, object] = {
    "absent": ABSENT, "null": None, "a number": 5, "true": True, "a list": [], "an object": {},
    "empty": "",
}  # fmt: skip


def _claims(make: Maker) -> Iterator[tuple[str, str]]:
    now = int(time.time())
    iss, aud, sub = (str(json.loads(make.claims())[it]) for it in ("iss", "aud", "sub"))
    faults: dict[str, Mapping[str, object]] = {
        "exp": _NO_TIMES | {"absent": ABSENT, "0": 0, "now": now, "a second ago": now - 1,
                            "half a second ago": time.time() - 0.5, "long ago": 86400},
        "nbf": _NO_TIMES | {"in an hour": now + 3600, "in two minutes": now + 120},
        "iat": _NO_TIMES,
        "iss": _NO_TEXTS | {"unknown": "https://else.example", "upper case": iss.upper(),
                            "with a slash": iss + "/", "after a blank": " " + iss,
                            "before a blank": iss + " ", "in a list": [iss], "cut": iss[:-1],
                            "before a NUL": iss + "\0", "in an object": {"a": iss},
                            "half of a surrogate pair": "\ud800"},
        "aud": _NO_TEXTS | {"others": "elsewhere", "others, in a list": ["a", "b"],
                            "with a number": [aud, 5], "with null": [aud, None],
                            "in two lists": [[aud]], "upper case": aud.upper(), "cut": aud[:-1],
                            "in an object": {"aud": aud}, "in a text": f"a {aud}"},
        "sub": _NO_TEXTS | {"in a list": [sub], "too long": "x" * 201, "a NUL": "a\0",
                            "two lines": "a\nb", "an escape": "a\x1b[2J", "a surrogate": "\ud800",
                            "turned round": "\u202ea", "a line separator": "a\u2028b",
                            "an emoji": "\U0001f642"},
        "scope": {"null": None, "a number": 5, "true": True, "an object": {"fleet:reap": True},
                  "numbers": [1], "lists": [["instances:create"]]},
        "jti": {"null": None, "a number": 5, "true": True, "a list": ["a"], "empty": "",
                "half of a surrogate pair": "\ud800"},
        "quota": {"a number": 7, "a text": "many", "a list": [], "negative": {"instances": -1},
                  "unknown": {"servers": 1}, "10^400": {"instances": Raw(HUGE)}},
    }  # fmt: skip
    faults["quota"] = {
        what: Raw('{"instances":' + HUGE + "}") if what == "10^400" else it
        for what, it in faults["quota"].items()
    }
    for claim, values in faults.items():
        for what, value in values.items():
            yield f"{claim}: {what}", make.token(claims=make.claims(**{claim: value}))
    deep = {"another's: half of a surrogate pair": {"a": ["\udfff"]},
            "another's: a name of half a pair": {"\ud800": 1},
            "another's: 10^400": Raw(HUGE), "another's: 1e400": Raw("1e400"),
            "another's: nested deep": Raw("[" * 900 + "]" * 900),
            "another's: objects nested deep": Raw('{"a":' * 400 + "1" + "}" * 400)}  # fmt: skip
    for what, value in deep.items():
        yield what, make.token(claims=make.claims(more=value))


def _documents(good: bytes, other: bytes) -> Mapping[str, bytes]:
    """Return what is no JSON object, or one that can be read in two ways."""
    inner = good[1:-1]
    return {
        "nothing": b"", "an empty object": b"{}", "a list": b"[]", "a number": b"5",
        "null": b"null", "a text": b'"text"', "true": b"true", "cut": good[:-1],
        "in a list": b"[" + good + b"]", "twice": good + good, "with garbage after": good + b"x",
        "with a NUL after": good + b"\0", "with a comment": b"/**/" + good,
        "with a comma at its end": good[:-1] + b",}", "single quotes": good.replace(b'"', b"'"),
        "a byte order mark": b"\xef\xbb\xbf" + good, "UTF-16": good.decode().encode("utf-16"),
        "UTF-32": good.decode().encode("utf-32"), "no UTF-8": good[:-1] + b',"x":"\xff"}',
        "an overlong character": good[:-1] + b',"x":"\xc0\xaf"}',
        "the first members twice": b"{" + other[1:-1] + b"," + inner + b"}",
        "the last members twice": b"{" + inner + b"," + other[1:-1] + b"}",
        "all members twice": b"{" + inner + b"," + inner + b"}",
        "an inner member twice": good[:-1] + b',"x":{"a":1,"a":2}}',
        "a member twice, once escaped": good[:-1] + b',"x":1,"\\u0078":2}',
        "NaN in it": good[:-1] + b',"x":NaN}', "nested deep": b"[" * 2500,
        "objects without end": b'{"a":' * 900,
    }  # fmt: skip


# ---------------------------------------------------------------- headers


def _headers(make: Maker) -> Iterator[tuple[str, str]]:
    kid = make.jwk["kid"]
    algorithms = [f"{it}S{bits}" for it in "HRPE" for bits in (256, 384, 512)]
    algorithms.remove("ES256")
    algorithms += ["none", "None", "NONE", "nOnE", "ES256K", "EdDSA", "Ed25519"]
    algorithms += ["es256", "Es256", "ES-256", "dir", "A128KW", "RSA-OAEP"]
    faults: dict[str, Mapping[str, object]] = {
        "alg": _NO_TEXTS | {it: it for it in algorithms}
        | {"a blank before": " ES256", "a NUL after": "ES256\0", "in a list": ["ES256"]},
        "kid": _NO_TEXTS | {"unknown": "other", "in a list": [kid], "upper case": kid.upper(),
                            "a blank after": kid + " ", "cut": kid[:-1], "a NUL after": kid + "\0",
                            "a path": "../../../../dev/null", "a query": "' OR 1=1 --"},
        "typ": {it: it for it in ("logout+jwt", "secevent+jwt", "dpop+jwt", "JOSE", "JWE", "")}
        | {"null": None, "a number": 5},
        "crit": {"empty": [], "exp": ["exp"], "b64": ["b64"], "null": None, "a text": "exp",
                 "unknown": ["urn:x"]},
    }  # fmt: skip
    for member, values in faults.items():
        for what, value in values.items():
            yield f"{member}: {what}", make.token(make.header(**{member: value}))
    yield "b64 false", make.token(make.header(b64=False, crit=["b64"]))


def _strangers(make: Maker) -> Iterator[tuple[str, str]]:
    """Give tokens of a stranger's key that say where it is to be had."""
    numbers = make.stranger.public_key().public_numbers()
    shown = {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32, "big")),
             "y": b64(numbers.y.to_bytes(32, "big"))}  # fmt: skip
    where: Mapping[str, object] = {
        "jwk": shown | {"kid": make.jwk["kid"]}, "jku": "https://else.example/jwks.json",
        "x5u": "https://else.example/cert.pem", "x5c": ["MIIB"], "x5t": "abc",
        "nothing": ABSENT,
    }  # fmt: skip
    for member, value in where.items():
        for what, kid in (("kid", make.jwk["kid"]), ("other kid", "x"), ("no kid", ABSENT)):
            header = make.header(**{member: value, "kid": kid})
            yield f"a stranger's with {member}, {what}", make.token(header, key=make.stranger)


# ---------------------------------------------------------------- signatures


def _signatures(make: Maker) -> Iterator[tuple[str, str]]:
    signed = f"{b64(make.header())}.{b64(make.claims())}"
    good = make.signature(signed.encode())
    r, s = good[:32], good[32:]
    zero, order = bytes(32), ORDER.to_bytes(32, "big")
    other = make.signature(f"{b64(make.header())}.{b64(make.claims(sub='bob'))}".encode())
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    wrong = {
        "empty": b"", "a byte": b"\0", "cut": good[:-1], "half": r, "a byte more": good + b"\0",
        "a zero before": b"\0" + good, "twice": good + good, "zeros": zero + zero,
        "r zero": zero + s, "s zero": r + zero, "r the order": order + s, "s the order": r + order,
        "both the order": order + order, "ones": b"\xff" * 64, "turned round": s + r,
        "DER": der, "of other claims": other, "of nothing": make.signature(b""),
        "of the claims alone": make.signature(signed.partition(".")[2].encode()),
        "of a stranger": make.signature(signed.encode(), make.stranger),
    }  # fmt: skip
    for bit in range(0, 512, 32):
        at, mask = divmod(bit, 8)
        flipped = bytes(it ^ (1 << mask) if n == at else it for n, it in enumerate(good))
        wrong[f"bit {bit} turned"] = flipped
    for what, signature in wrong.items():
        yield f"signature: {what}", f"{signed}.{b64(signature)}"
    changed = b64(make.claims(sub="bob"))
    yield (
        "signature: of claims that were exchanged",
        f"{signed.partition('.')[0]}.{changed}.{b64(good)}",
    )


def _secrets(make: Maker) -> Iterator[tuple[str, str]]:
    """Give tokens that are signed with what is public, as if it were a secret."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
    )

    public = make.key.public_key()
    info = PublicFormat.SubjectPublicKeyInfo
    secrets = {
        "the PEM": public.public_bytes(Encoding.PEM, info),
        "the PEM without its end": public.public_bytes(Encoding.PEM, info).strip(),
        "the DER": public.public_bytes(Encoding.DER, info),
        "the point": public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        "the JWKS": make.jwks.encode(), "the JWK": json.dumps(make.jwk).encode(),
        "x": make.jwk["x"].encode(), "kid": make.jwk["kid"].encode(), "nothing": b"",
    }  # fmt: skip
    for what, secret in secrets.items():
        for said, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512),
                             ("ES256", hashlib.sha256), ("none", hashlib.sha256)):  # fmt: skip
            signed = f"{b64(make.header(alg=said))}.{b64(make.claims())}"
            mac = hmac.digest(secret, signed.encode(), digest)
            yield f"{said} by a hash with {what}", f"{signed}.{b64(mac)}"
    strange = rsa.generate_private_key(65537, 2048)
    for said in ("RS256", "ES256"):
        signed = f"{b64(make.header(alg=said))}.{b64(make.claims())}"
        signature = strange.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        yield f"{said} by a stranger's RSA key", f"{signed}.{b64(signature)}"


# ---------------------------------------------------------------- encoding


def _encodings(make: Maker) -> Iterator[tuple[str, str]]:
    header = make.header(x="???>>>")  # in base64 these have the characters that differ
    good = make.token(header, make.claims(x="???>>>"))
    while "-" not in good.rpartition(".")[2]:
        good = make.token(header, make.claims(x="???>>>"))
    for position, part in enumerate(("header", "claims", "signature")):
        own = good.split(".")[position]
        middle = len(own) // 2
        wrong = {
            "padded": own + "=" * (-len(own) % 4 or 4), "a = after": own + "=",
            "base64": own.replace("-", "+").replace("_", "/"), "a blank in it":
            own[:middle] + " " + own[middle:], "a tab in it": own[:middle] + "\t" + own[middle:],
            "a character more": own + "A", "without its end": own[:-1], "nothing": "",
            "a percent in it": own[:middle] + "%2E" + own[middle:], "é in it":
            own[:middle] + "é" + own[middle:], "a dot in it": own[:middle] + "." + own[middle:],
            "encoded twice": b64(own.encode()), "in quotes": f'"{own}"', "spare bits": _spare(own),
            "a comma after": own + ",", "a tilde after": own + "~",
        }  # fmt: skip
        for what, text in wrong.items():
            parts = good.split(".")
            parts[position] = text
            if ".".join(parts) != good:
                yield f"{part}: {what}", ".".join(parts)


def _spare(part: str) -> str:
    """Return a part of the same bytes, with bits at its end that no byte has; itself if none."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(part) % 4 in (0, 1):
        return part
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def _forms(make: Maker) -> Iterator[tuple[str, str]]:
    good = make.token()
    header, claims, signature = good.split(".")
    flat = {"protected": header, "payload": claims, "signature": signature}
    several = {"payload": claims, "signatures": [{"protected": header, "signature": signature}]}
    forms = {
        "garbage": "garbage", "a dot": ".", "two dots": "..", "three dots": "...",
        "letters": "a.b.c", "one part": header, "two parts": f"{header}.{claims}",
        "no signature": f"{header}.{claims}.", "four parts": f"{good}.{signature}",
        "five parts": f"{header}..{claims}.{signature}.", "a dot before": f".{good}",
        "a dot after": f"{good}.", "turned round": f"{signature}.{claims}.{header}",
        "no header": f".{claims}.{signature}", "no claims": f"{header}..{signature}",
        "detached": f"{header}..{signature}", "flattened JSON": json.dumps(flat),
        "general JSON": json.dumps(several), "base64 of all": b64(good.encode()),
        "in quotes": f'"{good}"', "in brackets": f"<{good}>", "as a parameter": f"token={good}",
        "two with a comma": f"{good},{good}", "two with a blank": f"{good} {good}",
        "garbage before": f"x {good}", "garbage after": f"{good} x", "another scheme's in it":
        f"Bearer {good}", "7,000 letters": "a" * 7000, "2,000 dots": "." * 2000,
        "empty objects": "e30.e30.e30", "empty objects, no signature": "e30.e30.",
        "not ASCII": "é.é.é", "unsecured": f"{b64(make.header(alg='none'))}.{claims}.",
    }  # fmt: skip
    yield from ((f"form: {what}", text) for what, text in forms.items())


_OTHER_HEADERS = (
    "X-Auth-Token", "Proxy-Authorization", "X-Authorization", "X-Access-Token",
    "X-Forwarded-Authorization", "Authentication", "Token", "Sec-WebSocket-Protocol",
)  # fmt: skip


def _transports(make: Maker) -> Iterator[tuple[str, Row]]:
    good = make.token().encode()
    bad = b"nonsense"
    yield "no header", Row([])
    for what, value in {
        "empty": b"", "the scheme alone": b"Bearer", "the scheme and a blank": b"Bearer ",
        "the token alone": good, "Basic": b"Basic " + good, "Token": b"Token " + good,
        "JWT": b"JWT " + good, "DPoP": b"DPoP " + good, "a colon": b"Bearer: " + good,
        "a comma": b"Bearer," + good, "no blank": b"Bearer" + good, "an equals": b"Bearer=" + good,
        "a tab": b"Bearer\t" + good, "Bearers": b"Bearers " + good, "a letter before": b"xBearer "
        + good, "Basic of it": b"Basic " + base64.b64encode(b"x:" + good), "Negotiate":
        b"Negotiate " + good, "two schemes": b"Basic Bearer " + good,
    }.items():  # fmt: skip
        yield f"Authorization: {what}", Row([("Authorization", value)])
    for name in _OTHER_HEADERS:
        yield f"only in {name}", Row([(name, b"Bearer " + good)])
        yield f"only in {name}, bare", Row([(name, good)])
    yield "only in a cookie", Row([("Cookie", b"token=" + good + b"; access_token=" + good)])
    for name in ("access_token", "token", "jwt", "Authorization"):
        yield f"only in the query's {name}", Row([], f"{name}={good.decode()}")
    pairs = {"good and bad": (good, bad), "bad and good": (bad, good), "good twice": (good, good)}
    for what, pair in pairs.items():
        yield f"two headers, {what}", Row([("Authorization", b"Bearer " + it) for it in pair])


def rows(make: Maker) -> dict[str, Row]:
    """Return all rows that are to be refused, by what is wrong with them."""
    made: dict[str, Row] = {}
    tokens = [
        *_claims(make), *_headers(make), *_strangers(make), *_signatures(make), *_secrets(make),
        *_encodings(make), *_forms(make),
    ]  # fmt: skip
    for what, text in _documents(make.claims(), b'{"sub":"bob"}').items():
        tokens.append((f"claims are {what}", make.token(claims=text)))
    for what, text in _documents(make.header(), b'{"alg":"none"}').items():
        tokens.append((f"header is {what}", make.token(text)))
    for name, it in [*((name, bearer(text)) for name, text in tokens), *_transports(make)]:
        assert name not in made, name
        made[name] = it
    return made


def good(make: Maker) -> dict[str, Row]:
    """Return rows beside those that are to be let in: each is as near to a fault as it may be."""
    now, token = int(time.time()), make.token()
    aud = json.loads(make.claims())["aud"]
    claims: Mapping[str, Mapping[str, object]] = {
        "exp in two minutes": {"exp": now + 120}, "exp with a fraction": {"exp": now + 120.5},
        "exp in the year 9999": {"exp": 253402300799}, "nbf now": {"nbf": now},
        "nbf with a fraction": {"nbf": now - 0.5}, "no iat": {"iat": ABSENT}, "iat 0": {"iat": 0},
        "aud in a list": {"aud": ["else", aud]}, "a name of 200": {"sub": "x" * 200},
        "a name with a blank": {"sub": "a b"}, "a name not of ASCII": {"sub": "zoë"},
        "scopes in a list": {"scope": ["instances:read", "fleet:read"]}, "a jti": {"jti": "a"},
        "more claims": {"more": {"a": [1, {"b": None}]}, "at_hash": "x"},
        "10^300 in another's": {"more": Raw("1" + "0" * 300)},
    }  # fmt: skip
    headers: Mapping[str, Mapping[str, object]] = {
        "no typ": {"typ": ABSENT}, "at+jwt": {"typ": "at+jwt"}, "jwt": {"typ": "jwt"},
        "where keys are said to be": {"jku": "https://else.example", "x5t": "x", "jwk": {}},
    }  # fmt: skip
    made = {it: bearer(make.token(claims=make.claims(**more))) for it, more in claims.items()}
    made |= {it: bearer(make.token(make.header(**more))) for it, more in headers.items()}
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR", "Bearer "):
        made[f"the scheme {scheme!r}"] = bearer(token, scheme)
    return made
