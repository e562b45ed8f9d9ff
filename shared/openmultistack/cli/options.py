"""The options that several commands have, each told once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from openmultistack.cli.client import Client

EVERYWHERE = Group("Everywhere", sort_key=9)


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """How the answer is written."""

    as_json: Annotated[
        bool,
        Parameter(
            name="--json", negative="", show_default=False, group=EVERYWHERE, help="Answer as JSON."
        ),
    ] = False


@Parameter(name="*")
@dataclass(frozen=True)
class Gateway(Output):
    """Whom to ask, and as whom."""

    url: Annotated[
        str | None,
        Parameter(group=EVERYWHERE, help="The gateway, such as http://HOST:PORT; else $OMS_URL."),
    ] = None
    token: Annotated[
        str | None,
        Parameter(group=EVERYWHERE, help="A JWT; else $OMS_TOKEN, which other users cannot see."),
    ] = field(default=None, repr=False)

    def client(self) -> "Client":
        """Return a client of the gateway."""
        from openmultistack.cli.client import Client  # noqa: PLC0415  httpx costs 0.2 s

        return Client(self.url, self.token)


AS_TEXT = Output()
DEFAULT = Gateway()

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Labels = Annotated[
    list[str] | None,
    Parameter(name="--label", negative="", help="KEY=VALUE; can be repeated, all must match."),
]
Wait = Annotated[Flag, Parameter(help="Wait until it is done, with a progress bar.")]
Timeout = Annotated[str, Parameter(help="How long to wait.")]
InstanceId = Annotated[str, Parameter(help="An instance's id, i-...")]
