"""Texts of others, taken in the one form that they may have: base64url and JSON.

What can be read in two ways is read by two programs in two ways; here it is refused.
"""

import base64
import json
import re
from typing import Any

# Nothing of ours, and no claim that is known, is nested deeper.
DEPTH_MAX = 32


def decode_base64url(text: str) -> bytes:
    """Return what a text stands for (RFC 4648, 5), which has no padding and no spare bits.

    Raises:
        ValueError: it is no such text.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("expected base64url without padding")
    decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode_base64url(decoded) != text:
        raise ValueError("expected base64url without spare bits")
    return decoded


def encode_base64url(content: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def read_json(text: bytes) -> Any:  # noqa: ANN401  JSON is anything
    """Return what a JSON text in UTF-8 says: each member once, finite numbers, not nested deep.

    Half of a surrogate pair, which an escape can write, is no text (RFC 8259, 8.2): whoever writes
    it on, be it into a log, fails.

    Raises:
        ValueError: it is no such text.
    """
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=_each_once,
            parse_int=_finite_int,
            parse_float=_finite_float,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise ValueError("nested too deep") from None
    _check(value, DEPTH_MAX)
    return value


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member comes twice")
    return found


def _finite_int(digits: str) -> int:
    _finite_float(digits)
    return int(digits)


def _finite_float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return number


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _check(value: object, left: int) -> None:
    """Refuse what is nested too deep, and what is no text."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        if left == 0:
            raise ValueError("nested too deep")
        for it in value:
            _check(it, left - 1)
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair is no text") from None
