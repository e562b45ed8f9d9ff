"""`oms create`: an order, and where wanted the wait until it is carried out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from openmultistack.cli import values
from openmultistack.cli.failures import CommandError, Exit, say
from openmultistack.cli.options import DEFAULT, Flag, Gateway, Timeout, Wait
from openmultistack.domain.placement import STRATEGIES

Json = dict[str, Any]

*_OTHERS, _LAST = STRATEGIES


def _many(help_: str, name: str) -> Parameter:
    return Parameter(name=name, negative="", help=help_)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be created."""

    image: Annotated[str, Parameter(help="A name that the fleet knows, or a region's own.")]
    size: Annotated[
        str, Parameter(help="A name, or what it must have: vcpus=2,ram=2048,disk=10 (MB, GB).")
    ]
    count: Annotated[int, Parameter(help="How many, up to 100.")] = 1
    ttl: Annotated[
        str | None, Parameter(help="How long they live: 60, 30m, 2h, 1h30m. Else the fleet's rule.")
    ] = None
    name: Annotated[str | None, Parameter(help="What you call them.")] = None
    label: Annotated[
        list[str] | None, _many("KEY=VALUE, to find them by; can be repeated.", "--label")
    ] = None
    note: Annotated[
        str | None, Parameter(help="What to remember of them: a line of up to 255 characters.")
    ] = None
    region: Annotated[
        list[str] | None, _many("Only there, such as 'alpha/*'; can be repeated.", "--region")
    ] = None
    strategy: Annotated[
        str | None, Parameter(help=f"How regions are chosen: {', '.join(_OTHERS)} or {_LAST}.")
    ] = None
    ssh_key: Annotated[Path | None, Parameter(help="A public key file to log in with.")] = None
    user_data: Annotated[Path | None, Parameter(help="A file for cloud-init.")] = None
    partial: Annotated[
        Flag, Parameter(help="Take what there is, where all or nothing is the rule.")
    ] = False
    on_full: Annotated[
        Literal["reject", "queue"] | None,
        Parameter(help="When there is no room: reject, or let them wait in the queue."),
    ] = None

    def document(self) -> Json:
        """Return the body of `POST /instances`; what was not said is left to the server."""
        given = {
            "image": self.image,
            "size": values.size(self.size),
            "count": self.count,
            "ttl": values.seconds(self.ttl) if self.ttl is not None else None,
            "name": self.name,
            "labels": values.labels(self.label) if self.label else None,
            "note": self.note,
            "regions": self.region or None,
            "strategy": self.strategy,
            "ssh_public_key": values.public_key(self.ssh_key) if self.ssh_key else None,
            "user_data": values.content(self.user_data) if self.user_data else None,
            "partial": self.partial or None,
            "on_full": self.on_full,
        }
        return {field: value for field, value in given.items() if value is not None}


Key = Annotated[
    str | None,
    Parameter(
        name="--idempotency-key",
        help="The same key and order give the same instances again, for 24 hours.",
    ),
]


def create(
    *,
    order: Order,
    key: Key = None,
    wait: Wait = False,
    timeout: Timeout = "10m",
    gateway: Gateway = DEFAULT,
) -> int:
    """Create instances; only an image and a size are needed."""
    body, timeout_s = order.document(), values.seconds(timeout)
    key = _new_key() if key is None else values.idempotency_key(key)
    client = gateway.client()
    document = client.create(body, key)
    verdict = Exit.OK
    if wait:
        verdict = _wait(client, document, timeout_s, order, quiet=gateway.as_json)
    _show(document, as_json=gateway.as_json)
    return verdict


def _new_key() -> str:
    import uuid  # noqa: PLC0415  starts faster without

    return str(uuid.uuid4())


def _wait(client: Any, document: Json, timeout_s: int, order: Order, *, quiet: bool) -> Exit:  # noqa: ANN401  its module is imported late
    """Bring the document up to date, once nothing is pending any more; return the verdict."""
    from openmultistack.cli import waiting  # noqa: PLC0415  starts faster without

    made = document["instances"]
    try:
        waited = waiting.wait(client, made, waiting.ACTIVE, timeout_s=timeout_s, quiet=quiet)
    except KeyboardInterrupt:
        raise CommandError(_goes_on(len(made), order), Exit.INTERRUPTED) from None
    queued = sum(it["status"] == "QUEUED" for it in waited.instances)
    document |= {
        "instances": waited.instances, "placed": len(waited.instances) - queued, "queued": queued,
    }  # fmt: skip
    verdict = _verdict(waited.instances, waited.trouble)
    if verdict == Exit.FAILED and not waited.trouble:
        say(f"by this id the log tells why: request {client.request_id}")
    return verdict


def _goes_on(count: int, order: Order) -> str:
    """Return what to tell somebody who does not want to wait any longer."""
    from shlex import quote  # noqa: PLC0415  only here

    marks = "".join(f" --label {quote(it)}" for it in order.label or ())
    which = "the instance goes on" if count == 1 else f"the {count} instances go on"
    return f"not waiting any longer; {which}: see `oms list{marks}`"


def _verdict(instances: Sequence[Json], trouble: CommandError | None) -> Exit:
    """Say what is not as it was wanted, and return the exit code."""
    for it in instances:
        why = _why(it)
        if why or it["status"] not in ("ACTIVE", "BUILD", "QUEUED"):
            say(f"{it['id']} is {it['status']}{why}")
    if trouble:
        say(trouble)
        return trouble.exit_code
    return Exit.OK if all(it["status"] == "ACTIVE" for it in instances) else Exit.FAILED


def _why(it: Json) -> str:
    from openmultistack.cli import show  # noqa: PLC0415  starts faster without

    if it["status"] == "DELETED":
        return f"; `oms show {it['id']}` tells why"
    why = show.queue(it) or it["error"]
    return f": {why}" if why else ""


def _show(document: Json, *, as_json: bool) -> None:
    from openmultistack.cli import screen, show  # noqa: PLC0415  starts faster without

    if as_json:
        screen.as_json(document)
        return
    show.instances(document["instances"])
    if document["placed"] < document["requested"]:
        say(_short(document))


def _short(document: Json) -> str:
    """Return what came of an order that did not find room at once, or not for all."""
    queued = document["queued"]
    waiting = "1 waits in the queue" if queued == 1 else f"{queued} wait in the queue"
    parts = [] if queued == document["requested"] == 1 else [
        f"{document['placed']} of {document['requested']} found room"
    ]  # fmt: skip
    parts += [f"{waiting}; `oms show ID` tells at which place"] if queued else []
    return ", ".join(parts)
