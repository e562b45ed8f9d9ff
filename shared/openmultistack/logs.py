"""The log, and the request that it is about: one id from the client to the clouds' own logs.

A line is one JSON object, of some KB at most, and shows no secret: see `bounded` and `masked`.
"""

import json
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, TypeVar

T = TypeVar("T")

# Of the ids that clouds gave their own answers so many are kept for the log.
HEARD_MAX = 100
# So many failed attempts of one request have a line each; how many more there were is told.
ATTEMPTS_TOLD = 100
# What a line has of a text, of one within a list or an object, and of a traceback (its end), as
# JSON has it; and of a list or an object.
TEXT_BYTES, INNER_BYTES, TRACEBACK_BYTES = 2000, 200, 8000
ITEMS_MAX = 20
# A list of objects is the most that is written in full.
DEPTH_MAX = 2

_SECRETS = (
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL), "(key)"),
    (re.compile(r"eyJ[\w-]+(?:\.[\w-]*){1,2}"), "(token)"),
    (re.compile(r"gAAAA[\w=-]{30,}"), "(token)"),
    (re.compile(r"://[^/\s@]+@"), "://(login)@"),
    (
        re.compile(
            r"""(?ix) \b ([\w-]*(?:passw(?:or)?d|passphrase|secret|token)) (["']?\s*[:=]\s*["']?)
            [^\s"',;}]+"""
        ),
        r"\1\2(secret)",
    ),
)
# What clouds and clients say: keys, tokens and user_data as they are sent. Paths look like it.
_RUN = "[A-Za-z0-9+/]"
_ENCODED = re.compile(f"(?={_RUN}*[0-9])(?={_RUN}*[A-Z])(?={_RUN}*[a-z]){_RUN}{{40,}}={{0,2}}")


@dataclass
class Asking:
    """A request while it is served; shared by all threads that serve it."""

    request_id: str
    # What clouds call those of our calls that make something.
    heard: list[str] = field(default_factory=list)
    # Whether a cloud was called for it, and how many of its attempts failed.
    called: bool = False
    failed: int = 0

    @property
    def global_id(self) -> str:
        """The id as OpenStack's services take it from others: `req-` and a UUID."""
        if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", self.request_id):
            return f"req-{self.request_id}"
        import uuid  # noqa: PLC0415  a start is quicker without

        return f"req-{uuid.uuid5(uuid.NAMESPACE_URL, self.request_id)}"

    def hear(self, cloud_id: str) -> None:
        """Keep what a cloud calls a call of ours."""
        if len(self.heard) < HEARD_MAX and _is_id(cloud_id):
            self.heard.append(cloud_id)


ASKING: ContextVar[Asking | None] = ContextVar("asking", default=None)
# What the cloud that was called last, in this thread, calls that itself; '': it did not say.
ANSWERED: ContextVar[str] = ContextVar("answered", default="")


def answered(cloud_id: str) -> None:
    """Take note of what a cloud calls the call that this thread made last."""
    ANSWERED.set(cloud_id if _is_id(cloud_id) else "")


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text) is not None


def ask_anew() -> None:
    """Have what this thread does from now on known by an id of its own: no client asks for it."""
    random = secrets.token_hex(16)
    parts = [random[start:end] for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))]
    ASKING.set(Asking("-".join(parts)))


def in_context(acts: Sequence[Callable[[], T]]) -> list[Callable[[], T]]:
    """Return acts that know in another thread, too, which request they serve."""
    return [_bound(act) for act in acts]


def _bound(act: Callable[[], T]) -> Callable[[], T]:
    context = copy_context()
    return lambda: context.run(act)


# ---------------------------------------------------------------- lines


def tell(
    event: str, level: Literal["info", "warning", "exception"] = "info", /, **fields: object
) -> None:
    """Write a line about an event; a log that cannot be written stops nothing."""
    with suppress(OSError):
        getattr(_log(), level)(event, **fields)


def tell_attempt(*, region: str, instance: str, attempt: int, outcome: str, **more: object) -> None:
    """Write what came of an attempt to have an instance made; of so many of one request."""
    asking = ASKING.get()
    if asking:
        asking.failed += outcome != "made"
        if asking.failed > ATTEMPTS_TOLD:
            return
    tell("attempt", region=region, instance=instance, attempt=attempt, outcome=outcome, **more)


def tell_deletion(
    *,
    region: str,
    why: str,
    cloud_request_id: str,
    failed: str = "",
    instance: str | None = None,
    attempt: int | None = None,
    server: str | None = None,
    keypair: str | None = None,
) -> None:
    """Write what was deleted in a cloud, and why; `failed`: what the cloud said instead."""
    about = {"instance": instance, "attempt": attempt, "server": server, "keypair": keypair}
    fields: dict[str, object] = {"region": region, **{k: v for k, v in about.items() if v}}
    fields |= {"why": why, "cloud_request_id": cloud_request_id or None}
    if failed:
        tell("not deleted", "warning", said=failed, **fields)
    else:
        tell("deleted", **fields)


def _log() -> Any:  # noqa: ANN401  structlog's own type
    """Return where one line of JSON is written for each event."""
    import structlog  # noqa: PLC0415  costs a cold start 25 ms and more

    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                _finish,
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.PrintLoggerFactory(sys.stdout),
            cache_logger_on_first_use=True,
        )
    return structlog.get_logger()


def _finish(
    _logger: object, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put into a line which request it is about, and keep it short and without secrets."""
    asking = ASKING.get()
    if asking:
        line.setdefault("request_id", asking.request_id)
        if asking.called:
            # By it the clouds' own logs tell of our calls.
            line.setdefault("global_request_id", asking.global_id)
    traceback = str(line.pop("exception", ""))
    told = {name: bounded(value) for name, value in line.items()}
    if traceback:
        told["exception"] = _cut(_masked(traceback)[::-1], TRACEBACK_BYTES)[::-1]
    return told


def bounded(value: object, depth: int = 0) -> object:
    """Return as much of a value as a line of the log has, without what may be secret."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str) or depth == DEPTH_MAX:
        return _cut(masked(str(value)), INNER_BYTES if depth else TEXT_BYTES)
    if isinstance(value, Mapping):
        some = {
            _cut(masked(str(name)), INNER_BYTES): bounded(it, depth + 1)
            for name, it in islice(value.items(), ITEMS_MAX)
        }
        return some | ({"more": len(value) - ITEMS_MAX} if len(value) > ITEMS_MAX else {})
    if isinstance(value, Iterable):
        items = list(value)
        more = [f"{len(items) - ITEMS_MAX} more"] if len(items) > ITEMS_MAX else []
        return [bounded(it, depth + 1) for it in items[:ITEMS_MAX]] + more
    return bounded(str(value), depth)


def masked(text: str) -> str:
    """Return a text without what looks like a token, a password, a key or encoded data."""
    return _ENCODED.sub("(data)", _masked(text))


def _masked(text: str) -> str:
    for secret, shown in _SECRETS:
        text = secret.sub(shown, text)
    return text


def _cut(text: str, most: int) -> str:
    """Return the start of a text that has so many bytes in JSON, where an emoji has twelve."""
    if 12 * len(text) <= most or len(json.dumps(text)) - 2 <= most:
        return text
    size = 0
    for at, character in enumerate(text):
        size += len(json.dumps(character)) - 2
        if size > most - len(r"\u2026"):
            return f"{text[:at]}…"
    return text
