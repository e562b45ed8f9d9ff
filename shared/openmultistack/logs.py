"""The log, and the request that it is about: one id from the client to the clouds' own logs."""

import re
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

# Of the ids that clouds gave their own answers so many are kept for the log.
HEARD_MAX = 100


@dataclass
class Asking:
    """A request while it is served; shared by all threads that serve it."""

    request_id: str
    # What clouds call those of our calls that make something.
    heard: list[str] = field(default_factory=list)

    @property
    def global_id(self) -> str:
        """The id as OpenStack's services take it from others: `req-` and a UUID."""
        if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", self.request_id):
            return f"req-{self.request_id}"
        import uuid  # noqa: PLC0415  a start is quicker without

        return f"req-{uuid.uuid5(uuid.NAMESPACE_URL, self.request_id)}"

    def hear(self, cloud_id: str) -> None:
        """Keep what a cloud calls a call of ours."""
        if len(self.heard) < HEARD_MAX and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", cloud_id):
            self.heard.append(cloud_id)


ASKING: ContextVar[Asking | None] = ContextVar("asking", default=None)


def in_context(acts: Sequence[Callable[[], T]]) -> list[Callable[[], T]]:
    """Return acts that know in another thread, too, which request they serve."""
    return [_bound(act) for act in acts]


def _bound(act: Callable[[], T]) -> Callable[[], T]:
    context = copy_context()
    return lambda: context.run(act)


def log() -> Any:  # noqa: ANN401  structlog's own type
    """Return where one line of JSON is written for each event."""
    import structlog  # noqa: PLC0415  costs a cold start 25 ms and more

    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.PrintLoggerFactory(sys.stdout),
            cache_logger_on_first_use=True,
        )
    return structlog.get_logger()
