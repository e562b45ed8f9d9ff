"""Who is believed: the operator's issuers file, and the files of keys that it names."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from openmultistack.auth.keys import ASYMMETRIC, PublicKey, read_keys
from openmultistack.domain.errors import ConfigurationError
from openmultistack.domain.tokens import TIME_MAX

# What reading a file of another kind, or of another form, raises.
_UNREADABLE = (
    yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError,
)  # fmt: skip


@dataclass(frozen=True)
class Issuer:
    """One party whose tokens are believed, and what its claims mean."""

    issuer: str
    audience: str
    algorithms: Sequence[str]
    jwks_file: Path
    owner_claim: str = "sub"
    # Keeps the owners of two issuers apart: each issuer needs its own.
    owner_prefix: str = ""
    scope_claim: str = "scope"
    # The claim that may narrow the owner's quota, as {"instances": 5, ...}; none by default.
    quota_claim: str | None = None
    # Tokens taken back: by `jti`, until when (seconds since 1970).
    revoked: Mapping[str, float] = field(default_factory=dict)
    # Tokens issued before this (seconds since 1970), or at no known time, are taken back; 0: none.
    not_before: float = 0

    @cached_property
    def keys(self) -> Mapping[str, PublicKey]:
        """The issuer's public keys by `kid`.

        Two issuers may have a kid or a key in common, as tenants of one provider have: a key
        counts only for the issuer whose file it is in.
        """
        return read_keys(self.jwks_file, self.algorithms)


def load_issuers(path: Path) -> dict[str, Issuer]:
    """Return the believed issuers by name; an empty list believes nobody.

    Raises:
        ConfigurationError: the file is missing or wrong.
    """
    try:
        raw = yaml.safe_load(path.read_text()) or {}
        issuers = [_issuer(path, **entry) for entry in raw["issuers"] or []]
    except OSError as error:
        raise ConfigurationError(str(path), "", f"cannot be read ({error.strerror})") from error
    except _UNREADABLE as error:
        raise ConfigurationError(
            str(path), "issuers", "expected a list of {issuer, audience, algorithms, jwks_file}"
        ) from error
    _refuse_confusable(path, issuers)
    return {issuer.issuer: issuer for issuer in issuers}


def _issuer(path: Path, **entry: object) -> Issuer:
    for key, expected in _faults(entry):
        raise ConfigurationError(str(path), f"issuers.{key}", expected)
    given: dict[str, Any] = {**entry, "jwks_file": path.parent / str(entry["jwks_file"])}
    for key, read in _READ.items():
        if key in entry:
            try:
                given[key] = read(entry[key])
            except ValueError as error:
                raise ConfigurationError(str(path), f"issuers.{key}", str(error)) from None
    return Issuer(**given)


def _revoked(value: object) -> dict[str, float]:
    """Return by `jti` until when it is refused: for good where nothing is said of that."""
    expected = "expected a list of jti, each a string or {jti: STRING, until: TIME}"
    if not isinstance(value, list):
        raise ValueError(expected)  # noqa: TRY004  one kind for the caller
    found = {}
    for it in value:
        entry = it if isinstance(it, dict) else {"jti": it}
        jti, until = entry.get("jti"), entry.get("until")
        if not isinstance(jti, str) or not jti or not set(entry) <= {"jti", "until"}:
            raise ValueError(expected)
        found[jti] = math.inf if until is None else _time(until)
    return found


def _time(value: object) -> float:
    """Return a time of the file in seconds since 1970."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.timestamp()
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= TIME_MAX:
        return value
    raise ValueError(
        "expected a time with its zone, as 2026-01-31T12:00:00Z, or seconds since 1970"
    )


# What is no text in an entry, and how it is read.
_READ = {"revoked": _revoked, "not_before": _time}


def _faults(entry: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Give what is wrong with an entry: the key, and what was expected."""
    known = [it.name for it in fields(Issuer)]
    for key in entry:
        if key not in known:
            yield key, f"is not permitted here, expected some of {', '.join(known)}"
    for key in known[:4]:  # the others have defaults
        if key not in entry:
            yield key, "is required"
    texts = {key: value for key, value in entry.items() if key not in _READ}
    for key, value in texts.items():
        if key == "algorithms":
            if not isinstance(value, list) or not value:
                yield key, f"expected a list of at least 1 of {', '.join(ASYMMETRIC)}"
        elif not isinstance(value, str) and not (key == "quota_claim" and value is None):
            yield key, "expected a string"
        elif not value and key in known[:4]:
            yield key, "expected at least 1 character"


def _refuse_confusable(path: Path, issuers: Sequence[Issuer]) -> None:
    weak = [a for issuer in issuers for a in issuer.algorithms if a not in ASYMMETRIC]
    if weak:
        raise ConfigurationError(
            str(path),
            "issuers.algorithms",
            f"{weak[0]!r}: expected some of {', '.join(ASYMMETRIC)}",
        )
    if len({issuer.issuer for issuer in issuers}) < len(issuers):
        raise ConfigurationError(
            str(path), "issuers.issuer", "expected a different one for each issuer"
        )
    for one, other in itertools.permutations(issuers, 2):
        # Else a subject of the one could be written so as to pose as an owner of the other.
        if other.owner_prefix.startswith(one.owner_prefix):
            raise ConfigurationError(
                str(path),
                "issuers.owner_prefix",
                f"{one.owner_prefix!r} begins {other.owner_prefix!r}: expected, with several"
                " issuers, prefixes none of which begins another",
            )
