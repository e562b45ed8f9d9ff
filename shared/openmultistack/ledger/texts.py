"""Values as the texts that Redis keeps, both ways; what is not as we write it raises."""

import json

# No time after the year 9999 can be shown.
_LAST_MS = 253_402_300_799_999


def compact(value: object) -> str:
    """Return a value as JSON that takes the least room."""
    return json.dumps(value, separators=(",", ":"))


def read_text(value: object) -> str:
    """Return a value of JSON that must be text."""
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def read_texts(text: str) -> dict[str, str]:
    """Return a JSON object of texts."""
    return {read_text(key): read_text(value) for key, value in json.loads(text).items()}


def read_ms(text: str) -> int:
    """Return a time; Lua writes a large number with an exponent."""
    ms = int(float(text))
    if not 0 <= ms <= _LAST_MS:
        raise ValueError("expected a time that can be shown")
    return ms
