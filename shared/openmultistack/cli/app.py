"""The commands of `oms`; each is a call or two of the API and a way to show the answer."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from openmultistack.cli import values
from openmultistack.cli.create import create
from openmultistack.cli.destroy import destroy
from openmultistack.cli.failures import CommandError, Exit, say
from openmultistack.cli.options import (
    AS_TEXT,
    DEFAULT,
    Flag,
    Gateway,
    InstanceId,
    Labels,
    Output,
)
from openmultistack.cli.regions import adopt, drain, open_, regions_app
from openmultistack.cli.token import token_app


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  starts faster without

    return version("openmultistack")


app = App(
    name="oms",
    help="Instances on many OpenStack regions, without being aware of regions.",
    help_format="plaintext",  # markdown's parser costs 0.2 s
    version=_version,
    version_flags=["--version"],
)
app.command(create)
app.command(destroy)
app.command(token_app)
app.command(regions_app)
app.command(drain)
app.command(open_, name="open")
app.command(adopt)


@app.command(name="list")
def list_(
    *,
    status: Annotated[
        str | None,
        Parameter(help="QUEUED, BUILD, ACTIVE, DELETING or ERROR; or DELETED, else left out."),
    ] = None,
    region: Annotated[str | None, Parameter(help="Only those in alpha/RegionOne, say.")] = None,
    label: Labels = None,
    limit: Annotated[int | None, Parameter(help="No more than so many, the newest.")] = None,
    cursor: Annotated[str | None, Parameter(help="Go on where a list was cut.")] = None,
    all_pages: Annotated[
        bool, Parameter(help="Ask until the list's end, or for a single page.")
    ] = True,
    gateway: Gateway = DEFAULT,
) -> None:
    """List your instances, newest first."""
    from openmultistack.cli import screen, show  # noqa: PLC0415  starts faster without

    if limit is not None and limit < 1:
        raise CommandError("--limit is at least 1", Exit.USAGE)
    query = values.label_query(label or [])
    query += [("status", status.upper())] if status else []
    query += [("region", region)] if region else []
    client = gateway.client()
    if all_pages:
        document = client.listing(query, limit=limit, cursor=cursor)
    else:
        document = next(client.pages(query, limit=limit, cursor=cursor))
    if gateway.as_json:
        screen.as_json(document)
    else:
        show.instances(document["instances"], more=document["next"])


@app.command
def show(
    instance_id: InstanceId,
    /,
    *,
    events: Annotated[Flag, Parameter(help="With --json: its story instead of itself.")] = False,
    gateway: Gateway = DEFAULT,
) -> None:
    """Show an instance and its story: when it was where, and why."""
    from openmultistack.cli import screen  # noqa: PLC0415  starts faster without
    from openmultistack.cli import show as shown  # noqa: PLC0415  same
    from openmultistack.cli.client import path_of  # noqa: PLC0415  same

    client, path = gateway.client(), path_of(instance_id)
    if gateway.as_json:
        screen.as_json(client.call("GET", f"{path}/events" if events else path))
    else:
        shown.instance(client.call("GET", path), client.call("GET", f"{path}/events")["events"])


@app.command
def renew(
    instance_id: InstanceId,
    /,
    *,
    ttl: Annotated[str, Parameter(help="How long from now: 60, 30m, 2h, 1h30m.")],
    gateway: Gateway = DEFAULT,
) -> None:
    """Let an instance live longer, or less long."""
    from openmultistack.cli import screen  # noqa: PLC0415  starts faster without
    from openmultistack.cli import show as shown  # noqa: PLC0415  same
    from openmultistack.cli.client import path_of  # noqa: PLC0415  same

    path, body = path_of(instance_id), {"ttl": values.seconds(ttl)}
    instance = gateway.client().call("PATCH", path, body=body)
    if gateway.as_json:
        screen.as_json(instance)
    else:
        shown.instances([instance])


@app.command
def reap(
    *,
    now: Annotated[
        Flag, Parameter(name="--now", help="Try logins at once that were refused lately.")
    ] = False,
    gateway: Gateway = DEFAULT,
) -> int:
    """Sweep all regions now, and tell what was done; fails if a region's sweep failed."""
    from openmultistack.cli import fleet_view, screen  # noqa: PLC0415  starts faster without

    body = {"now": True} if now else None
    document = gateway.client().call("POST", "/reap", body=body)
    if gateway.as_json:
        screen.as_json(document)
    else:
        fleet_view.reaped(document)
    failed = any(it["outcome"] == "failed" for it in document["regions"])
    return Exit.FAILED if failed else Exit.OK


@app.command
def doctor(
    *,
    clouds: Annotated[
        Path | None, Parameter(help="clouds.yaml; else $OS_CLIENT_CONFIG_FILE.")
    ] = None,
    fleet: Annotated[Path | None, Parameter(help="fleet.yaml; else $OMS_FLEET_FILE.")] = None,
    output: Output = AS_TEXT,
) -> int:
    """Check clouds.yaml, fleet.yaml and every region, and say what to mend."""
    from openmultistack.cli.doctor import examine  # noqa: PLC0415  starts faster without

    return examine(clouds, fleet, as_json=output.as_json)


def main() -> None:
    """Run a command; what goes wrong is a sentence on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough; what is still unwritten must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.FAILED
    sys.exit(code)


def _run() -> int:
    from openmultistack.domain.errors import ConfigurationError  # noqa: PLC0415  keeps imports light

    try:
        return _command()
    except BrokenPipeError:
        raise
    except CommandError as error:
        say(error)
        return error.exit_code
    except (CycloptsError, ConfigurationError) as error:
        say(str(error).strip())
        return Exit.USAGE
    except KeyboardInterrupt:
        say("interrupted")
        return Exit.INTERRUPTED
    except ModuleNotFoundError as error:
        extra = "doctor" if sys.argv[1:2] == ["doctor"] else "functions"
        lacking = f"this command needs {error.name}, which `oms` alone does not have"
        say(f"{lacking}: install openmultistack[{extra}]")
        return Exit.USAGE
    except Exception as error:
        if os.environ.get("OMS_DEBUG"):
            raise
        say(f"unexpected {type(error).__name__}: {error} (OMS_DEBUG=1 shows where)")
        return Exit.FAILED


def _command() -> int:
    app.suppress_keyboard_interrupt = False
    code = app(
        exit_on_error=False, print_error=False, result_action="return_int_as_exit_code_else_zero"
    )
    return int(code)
