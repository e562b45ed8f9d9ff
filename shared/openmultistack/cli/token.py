"""`oms token`: issue tokens of the own key, show those that were used, take them back."""

import os
import re
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from openmultistack.cli import values
from openmultistack.cli.failures import CommandError, Exit
from openmultistack.cli.options import AS_TEXT, DEFAULT, Gateway, Output

token_app = App(name="token", help="Issue a token, list those that were used, or revoke one.")


@token_app.default
def token(
    *,
    owner: Annotated[str, Parameter(help="Whom the token names.")],
    scope: Annotated[
        list[str] | None, Parameter(negative="", help="Can be repeated; else all there are.")
    ] = None,
    ttl: Annotated[str, Parameter(help="How long it is good for.")] = "1h",
    key: Annotated[Path | None, Parameter(help="The signing key; else $OMS_SIGNING_KEY.")] = None,
    output: Output = AS_TEXT,
) -> None:
    """Issue a token, signed with the own key."""
    from openmultistack.auth.own_issuer import issue_token  # noqa: PLC0415  same
    from openmultistack.auth.principal import SCOPES  # noqa: PLC0415  same
    from openmultistack.cli import screen  # noqa: PLC0415  starts faster without

    path = key or Path(os.environ.get("OMS_SIGNING_KEY", ""))
    if path == Path():
        raise CommandError("no key: set OMS_SIGNING_KEY (see .oms/env) or give --key", Exit.USAGE)
    unknown = sorted(set(scope or ()) - set(SCOPES))
    if unknown:
        raise CommandError(
            f"{unknown[0]!r} is no scope, expected one of {', '.join(SCOPES)}", Exit.USAGE
        )
    issued = issue_token(path, owner=owner, scopes=scope or SCOPES, ttl_s=values.seconds(ttl))
    if output.as_json:
        screen.as_json({"token": issued})
    else:
        print(issued)


@token_app.command(name="list")
def list_(*, gateway: Gateway = DEFAULT) -> None:
    """List your tokens that were used and have not ended; with `fleet:tokens` everybody's."""
    from openmultistack.cli import screen  # noqa: PLC0415  starts faster without

    document = gateway.client().call("GET", "/tokens")
    if gateway.as_json:
        screen.as_json(document)
        return
    table = screen.table("ID", "OWNER", "SCOPES", "LAST USED", "ENDS IN", "")
    for it in document["tokens"]:
        table.add_row(
            screen.text(it["jti"] or it["id"]),
            screen.text(it["owner"]),
            screen.text(" ".join(it["scopes"])),
            screen.text(screen.ago(it["used_at"])),
            screen.text(screen.left_until(it["expires_at"])),
            screen.text("revoked", "red") if it["revoked"] else "",
        )
    screen.console().print(table)


@token_app.command
def revoke(
    named: Annotated[
        str, Parameter(name="JTI|TOKEN", help="As `oms token list` has it, or whole.")
    ],
    /,
    *,
    gateway: Gateway = DEFAULT,
) -> None:
    """Take a token back: within 30 s no function lets it in any more."""
    from openmultistack.cli import screen  # noqa: PLC0415  starts faster without

    path, query = f"/tokens/{named}", []
    if "." in named and (claims := values.token_claims(named)):
        path = f"/tokens/{claims.get('jti')}"
        query = [(to, str(claims[it])) for it, to in _SAID.items() if it in claims]
    if not re.fullmatch(r"/tokens/[A-Za-z0-9_.-]{1,64}", path):
        raise CommandError("that is no token's id, jti or a token that has a jti", Exit.USAGE)
    document = gateway.client().call("DELETE", path, query=query)
    if gateway.as_json:
        screen.as_json(document)
    else:
        print("revoked; within 30 s no function lets it in any more")


# What is told of a token: by its claim, the parameter.
_SAID = {"iss": "issuer", "exp": "until"}
