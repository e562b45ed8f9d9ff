"""The commands on regions: show them, drain and open them, adopt what is there, forget them."""

from typing import Annotated

from cyclopts import App, Parameter

from openmultistack.cli.failures import CommandError, Exit
from openmultistack.cli.options import DEFAULT, Flag, Gateway

regions_app = App(name="regions", help="Show every region, or drop those that were removed.")


@regions_app.default
def regions(*, gateway: Gateway = DEFAULT) -> None:
    """Show what is held, foreign and free in every region."""
    from openmultistack.cli import fleet_view, screen  # noqa: PLC0415  starts faster without

    document = gateway.client().call("GET", "/regions")
    if gateway.as_json:
        screen.as_json(document)
    else:
        fleet_view.regions(document["regions"])


@regions_app.command
def forget(
    *names: Annotated[str, Parameter(name="NAME", help="A region whose state is `removed`.")],
    yes: Annotated[Flag, Parameter(name=("--yes", "-y"), help="Do not ask.")] = False,
    gateway: Gateway = DEFAULT,
) -> None:
    """Drop removed regions with the instances in them; servers there may run on."""
    if not names:
        raise CommandError("name the regions to forget, as `oms regions` does", Exit.USAGE)
    if not yes:
        raise CommandError(
            "what runs there runs on, and nobody will end it: say --yes if that is meant",
            Exit.USAGE,
        )
    from openmultistack.cli import screen  # noqa: PLC0415  starts faster without
    from openmultistack.cli import show as shown  # noqa: PLC0415  same

    document = gateway.client().call("POST", "/regions/forget", body={"regions": list(names)})
    if gateway.as_json:
        screen.as_json(document)
    for it in () if gateway.as_json else document["regions"]:
        print(f"{screen.text(it['region'])} is forgotten, and with it {shown.counted(it['held'])}")


_Patterns = Annotated[
    str,
    Parameter(
        name="PATTERN",
        help="A region, a pattern of regions such as 'alpha/*', or a provider's name.",
    ),
]


def drain(
    *patterns: _Patterns,
    why: Annotated[str | None, Parameter(help="What others are told of the reason.")] = None,
    gateway: Gateway = DEFAULT,
) -> None:
    """Let nothing new into regions; what runs there stays until its time is up."""
    said = {} if why is None else {"why": why}
    _change_regions("drain", patterns, gateway, said)


def open_(*patterns: _Patterns, gateway: Gateway = DEFAULT) -> None:
    """Open drained regions; who waits in the queue goes in at once."""
    _change_regions("open", patterns, gateway, {})


def _change_regions(
    act: str, patterns: tuple[str, ...], gateway: Gateway, said: dict[str, str]
) -> None:
    from openmultistack.cli import fleet_view, screen  # noqa: PLC0415  starts faster without

    if not patterns:
        raise CommandError(f"name the regions to {act}, such as 'alpha/*'", Exit.USAGE)
    body = {"regions": list(patterns)} | said
    document = gateway.client().call("POST", f"/regions/{act}", body=body)
    if gateway.as_json:
        screen.as_json(document)
    else:
        fleet_view.regions(document["regions"])


def adopt(
    *patterns: _Patterns,
    unverified: Annotated[
        Flag, Parameter(help="Adopt servers whose marks nothing proves: you vouch for them.")
    ] = False,
    gateway: Gateway = DEFAULT,
) -> int:
    """Adopt servers whose marks no key proves any more, as when ledger and key were lost."""
    from openmultistack.cli import fleet_view, screen  # noqa: PLC0415  starts faster without

    if not patterns:
        raise CommandError("name the regions to adopt in, such as 'alpha/*'", Exit.USAGE)
    if not unverified:
        raise CommandError(
            "anybody in the project may have written their marks: say --unverified if you have"
            " looked at them (`oms regions` counts them, `oms doctor` names them)",
            Exit.USAGE,
        )
    body = {"regions": list(patterns)}
    document = gateway.client().call("POST", "/regions/adopt", body=body)
    if gateway.as_json:
        screen.as_json(document)
    else:
        fleet_view.reaped(document)
    failed = any(it["outcome"] != "swept" for it in document["regions"])
    return Exit.FAILED if failed else Exit.OK
