"""What goes wrong at the command line: a sentence on stderr, and an exit code for scripts."""

import os
import re
import sys
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

Json = dict[str, Any]

_JWT = re.compile(r"eyJ[\w-]+(?:\.[\w-]*){1,2}")
# Where in the order a fault is, as the API has it: `/regions/0: `.
_POINTER = re.compile(r"^( *)/(\w+)(?:/\w+)*: ")
# Shorter ones would blot out ordinary words.
_SECRET_CHARS = 8


class Exit(IntEnum):
    """Why a command ended, for scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2
    FORBIDDEN = 3
    NOT_FOUND = 4
    NO_CAPACITY = 5
    UNREACHABLE = 6
    ENDED = 7
    INTERRUPTED = 130  # as shells say it: 128 + SIGINT


_BY_STATUS = {
    400: Exit.USAGE,
    401: Exit.FORBIDDEN,
    403: Exit.FORBIDDEN,
    404: Exit.NOT_FOUND,
    409: Exit.USAGE,
    410: Exit.ENDED,
    413: Exit.USAGE,
    422: Exit.USAGE,
    429: Exit.NO_CAPACITY,
}
_BY_SLUG = {
    "capacity-exhausted": Exit.NO_CAPACITY,
    "no-region-ready": Exit.NO_CAPACITY,
    "queue-full": Exit.NO_CAPACITY,
    # A part of the service gives no answer: a function (so says the gateway), or the ledger.
    "unavailable": Exit.UNREACHABLE,
    "timeout": Exit.UNREACHABLE,
    "ledger-unavailable": Exit.UNREACHABLE,
}
# The gateway's status when no function took the request: nothing was done.
_NOBODY = 503
_WORDS = {
    "creates_per_minute": "creates a minute",
    "commands_per_minute": "commands a minute",
}


class CommandError(Exception):
    """Ends a command.

    `passing` says that the same question may be answered a little later, `doubt` that what was
    asked for may have been done although nobody said so.
    """

    def __init__(
        self,
        message: str,
        exit_code: Exit = Exit.FAILED,
        *,
        passing: bool = False,
        doubt: bool = False,
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.passing = passing
        self.doubt = doubt


def refusal(status: int, problem: Json, retry_after: str | None) -> CommandError:
    """Return a problem document (RFC 9457) as a sentence, what helps to mend it below."""
    slug = str(problem.get("type", "")).rpartition(":")[2]
    said = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
    said = one_line(said)
    faults = map(one_line, _faults(problem))
    lines = [said, *(f"  {fault}" for fault in faults if fault not in said)]
    lines = [_POINTER.sub(r"\1\2: ", it) for it in lines]
    if problem.get("nearest"):
        lines.append("  did you mean: " + one_line(", ".join(map(str, problem["nearest"]))))
    regions = problem.get("regions")
    if isinstance(regions, dict):
        said_by = sorted(_words(regions, problem))
        lines += [one_line(f"  {region}: {why}") for region, why in said_by]
    if isinstance(problem.get("quota"), dict) and problem["quota"]:
        lines.append(f"  {_quota(problem['quota'], problem.get('used') or {})}")
    if retry_after and re.fullmatch(r"[0-9]{1,6}", retry_after):
        lines.append(f"  worth another try in {retry_after} s")
    if slug == "capacity-exhausted" and regions:
        lines.append("  --on-full queue has it wait for room, --partial takes what there is")
    if problem.get("request_id"):
        lines.append(one_line(f"  request {problem['request_id']}"))
    server_fault = status >= 500  # noqa: PLR2004  HTTP's own boundary
    code = _BY_SLUG.get(slug) if server_fault else _BY_STATUS.get(status)
    doubt = code == Exit.UNREACHABLE and not (slug == "unavailable" and status == _NOBODY)
    return CommandError("\n".join(lines), code or Exit.FAILED, passing=server_fault, doubt=doubt)


def _words(regions: Json, problem: Json) -> Iterator[tuple[str, str]]:
    """Return what each region said, and by which id those who run it find that."""
    ids = problem.get("cloud_request_ids")
    for region, why in regions.items():
        its_own = ids.get(region) if isinstance(ids, dict) else None
        yield region, f"{why} (there: {its_own})" if its_own else str(why)


def _quota(quota: Json, used: Json) -> str:
    """Return what an owner may have, and how much of it they have."""
    from openmultistack.domain.resources import word_of  # noqa: PLC0415  starts faster without

    parts = [
        f"{f'{used[what]} of ' if what in used else ''}{most} {_WORDS.get(what) or word_of(what)}"
        for what, most in quota.items()
    ]
    return f"the quota: {', '.join(parts)}"


def _faults(problem: Json) -> Iterator[str]:
    for entry in problem.get("errors") or ():
        if isinstance(entry, dict):
            pointer, detail = entry.get("pointer"), entry.get("detail")
            yield f"{pointer}: {detail}" if pointer else str(detail)


def say(message: object) -> None:
    """Write a sentence to stderr; secrets and control characters stay out of it."""
    print(f"oms: {clean(str(message))}", file=sys.stderr)


def clean(text: str) -> str:
    """Return a text that may be shown: no token in it, nothing that moves the cursor."""
    for secret in _secrets():
        text = text.replace(secret, "(token)")
    return printable(_JWT.sub("(token)", text))


def printable(text: str) -> str:
    """Return a text with a blank for whatever is not printable, but for the ends of lines.

    What a server says is not obeyed by the terminal that shows it, nor turned round in it.
    """
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() or it == "\n" else " " for it in text)


def one_line(text: str) -> str:
    """Return what a server said as a part of one line: it must not pose as another."""
    return printable(text).replace("\n", " ")


def _secrets() -> Iterator[str]:
    """Return the tokens that this run was given, however they look."""
    given = [os.environ.get("OMS_TOKEN", "")]
    given += [
        after for name, after in zip(sys.argv, sys.argv[1:], strict=False) if name == "--token"
    ]
    given += [it.removeprefix("--token=") for it in sys.argv if it.startswith("--token=")]
    yield from (it.strip() for it in given if len(it.strip()) >= _SECRET_CHARS)
