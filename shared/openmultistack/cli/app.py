"""The commands of `oms`; each is a call or two of the API and a way to show the answer."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from openmultistack.cli.client import EXIT_FAILED, EXIT_USAGE, Client, CommandError
from openmultistack.cli.values import content, label_query, labels, seconds, size

Json = dict[str, Any]
INTERRUPTED = 130

app = App(
    name="oms",
    help="Instances on many OpenStack regions, without being aware of regions.",
    version_flags=[],
)

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Answer as JSON.")]
Url = Annotated[str | None, Parameter(name="--url", help="The gateway; default: $OMS_URL.")]
Token = Annotated[str | None, Parameter(name="--token", help="A JWT; default: $OMS_TOKEN.")]
Many = Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)]
Flag = Annotated[bool, Parameter(negative="")]


@app.command
def create(  # noqa: PLR0913  a command has this many options
    *,
    image: str,
    size: str,
    count: int = 1,
    ttl: str | None = None,
    name: str | None = None,
    label: Many = None,
    region: Many = None,
    strategy: str | None = None,
    ssh_key: Path | None = None,
    user_data: Path | None = None,
    partial: Flag = False,
    wait: Flag = False,
    timeout: str = "10m",
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> int:
    """Create instances; only an image and a size are needed.

    Parameters
    ----------
    image: a name that the fleet knows, or a region's own.
    size: a name, or a requirement such as vcpus=2,ram=2048,disk=10.
    ttl: how long they live, such as 30m or 2h.
    label: key=value; can be repeated.
    region: a pattern such as 'alpha/*'; can be repeated.
    strategy: spread, priority or pack.
    ssh_key: a public key file.
    user_data: a file for cloud-init.
    partial: take what there is when there is not enough for all.
    wait: until they are ACTIVE.
    timeout: how long to wait.
    """
    client = Client(url, token)
    given = {
        "image": image,
        "size": _size(size),
        "count": count,
        "ttl": seconds(ttl) if ttl else None,
        "name": name,
        "labels": labels(label or []),
        "regions": region,
        "strategy": strategy,
        "ssh_public_key": content(ssh_key).strip() if ssh_key else None,
        "user_data": content(user_data) if user_data else None,
        "partial": partial,
    }
    document = client.create({field: value for field, value in given.items() if value is not None})
    if wait:
        document["instances"] = _until_active(
            client, document["instances"], seconds(timeout), quiet=as_json
        )
    _show_instances(document, document["instances"], as_json=as_json)
    return _verdict(document["instances"]) if wait else 0


def _size(text: str) -> str | dict[str, int]:
    return size(text)


def _until_active(client: Client, made: list[Json], timeout_s: int, *, quiet: bool) -> list[Json]:
    from openmultistack.cli.waiting import until  # noqa: PLC0415  starts faster without

    try:
        return until(
            client, made, lambda it: it["status"] != "BUILD",
            what="ACTIVE", timeout_s=timeout_s, quiet=quiet,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("interrupted; the instances go on, `oms list` shows them", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _verdict(instances: list[Json]) -> int:
    wrong = [it for it in instances if it["status"] != "ACTIVE"]
    for it in wrong:
        said = it["error"] or "not ACTIVE in time"
        print(f"{it['id']} is {it['status']}: {said}", file=sys.stderr)
    return EXIT_FAILED if wrong else 0


def _show_instances(document: Json, instances: list[Json], *, as_json: bool) -> None:
    from openmultistack.cli import show  # noqa: PLC0415  starts faster without

    if as_json:
        show.as_json(document)
    else:
        show.instances(instances)


@app.command(name="list")
def list_(
    *,
    status: str | None = None,
    region: str | None = None,
    label: Many = None,
    limit: int | None = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """List own instances, newest first; DELETED ones only with --status DELETED."""
    query = label_query(label or [])
    query += [("status", status)] if status else []
    query += [("region", region)] if region else []
    client = Client(url, token)
    if limit is None:
        document: Json = {"instances": client.instances(query), "next": None}
    else:
        document = client.call("GET", "/instances", query=[*query, ("limit", str(limit))])
    _show_instances(document, document["instances"], as_json=as_json)


@app.command
def show(
    instance_id: str, /, *, as_json: AsJson = False, url: Url = None, token: Token = None
) -> None:
    """Show an instance, and why it is where it is."""
    from openmultistack.cli import show as shown  # noqa: PLC0415  starts faster without

    client = Client(url, token)
    instance = client.call("GET", f"/instances/{instance_id}")
    if as_json:
        shown.as_json(instance)
    else:
        shown.instance(instance, client.call("GET", f"/instances/{instance_id}/events")["events"])


@app.command
def destroy(
    *ids: str,
    label: Many = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"), negative="")] = False,
    wait: Flag = False,
    timeout: str = "10m",
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> int:
    """Destroy instances by id, by label, or all own ones; repeating it is harmless.

    Parameters
    ----------
    label: all own instances with this key=value; can be repeated, and then all must match.
    all_: all own instances.
    yes: do not ask.
    wait: until they are gone.
    timeout: how long to wait.
    """
    if bool(ids) + bool(label) + all_ != 1:
        raise CommandError("give ids, or --label, or --all", EXIT_USAGE)
    client = Client(url, token)
    query = label_query(label or [])
    found = [{"id": it} for it in ids] or client.instances(query)
    if not ids and not yes:
        _ask(len(found), "with these labels" if label else "of yours")
    destroyed = [
        gone
        for it in found
        for gone in client.call("DELETE", f"/instances/{it['id']}")["instances"]
    ]
    if wait:
        destroyed = _until_gone(client, destroyed, seconds(timeout), quiet=as_json)
    _show_instances({"instances": destroyed}, destroyed, as_json=as_json)
    left = [it for it in destroyed if it["status"] != "DELETED"]
    return EXIT_FAILED if wait and left else 0


def _ask(count: int, which: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError("nobody to ask here: say --yes to destroy without asking", EXIT_USAGE)
    answer = input(f"Destroy {count} instances {which}? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was destroyed")


def _until_gone(client: Client, found: list[Json], timeout_s: int, *, quiet: bool) -> list[Json]:
    from openmultistack.cli.waiting import until  # noqa: PLC0415  starts faster without

    return until(
        client, found, lambda it: it["status"] == "DELETED",
        what="gone", timeout_s=timeout_s, quiet=quiet,
    )  # fmt: skip


@app.command
def renew(
    instance_id: str,
    /,
    *,
    ttl: str,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Let an instance live until ttl (such as 2h) from now."""
    body = {"ttl": seconds(ttl)}
    instance = Client(url, token).call("PATCH", f"/instances/{instance_id}", body=body)
    _show_instances(instance, [instance], as_json=as_json)


@app.command
def regions(*, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Show what is held, foreign and free in every region."""
    from openmultistack.cli import show  # noqa: PLC0415  starts faster without

    document = Client(url, token).call("GET", "/regions")
    if as_json:
        show.as_json(document)
    else:
        show.regions(document["regions"])


@app.command
def reap(*, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Sweep all regions now, and tell what was done."""
    from openmultistack.cli import show  # noqa: PLC0415  starts faster without

    document = Client(url, token).call("POST", "/reap")
    if as_json:
        show.as_json(document)
    else:
        show.reaped(document)


@app.command(name="token")
def token_(
    *,
    owner: str,
    scope: Many = None,
    ttl: str = "1h",
    key: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Issue a token, signed with the own key.

    Parameters
    ----------
    scope: one scope; can be repeated; default: all there are.
    key: the signing key; default: $OMS_SIGNING_KEY.
    """
    from openmultistack.principal import SCOPES, issue_token  # noqa: PLC0415  starts faster without

    path = key or Path(os.environ.get("OMS_SIGNING_KEY", ""))
    if path == Path():
        raise CommandError("no key: set OMS_SIGNING_KEY (see .oms/env) or give --key", EXIT_USAGE)
    unknown = sorted(set(scope or ()) - set(SCOPES))
    if unknown:
        raise CommandError(f"{unknown[0]} is no scope, expected {', '.join(SCOPES)}", EXIT_USAGE)
    issued = issue_token(path, owner=owner, scopes=scope or SCOPES, ttl_s=seconds(ttl))
    print(f'{{"token": "{issued}"}}' if as_json else issued)


@app.command
def doctor(*, as_json: AsJson = False) -> int:
    """Check clouds.yaml, fleet.yaml and every region, and say what to mend."""
    from openmultistack.cli.doctor import examine  # noqa: PLC0415  starts faster without

    return examine(as_json=as_json)


def main() -> None:
    """Run a command; what goes wrong is a sentence on stderr and an exit code."""
    from openmultistack.errors import ConfigurationError  # noqa: PLC0415  keeps --help fast

    try:
        sys.exit(app(exit_on_error=False, print_error=False) or 0)
    except CycloptsError as error:
        print(f"oms: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except CommandError as error:
        print(f"oms: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ConfigurationError as error:
        print(f"oms: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        print("oms: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)
