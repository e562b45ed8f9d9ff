"""Where Redis is: one server, Sentinels that know it, or a Cluster; read from a URL, opens nothing.

    redis://[user:password@]host:port/DB, rediss://..., unix://...
    redis+sentinel://[user:password@]host:port,host:port/SERVICE[/DB]
    redis+cluster://[user:password@]host:port,host:port

User and password are the data servers'; Sentinels have `sentinel_username` and
`sentinel_password` among the options. `rediss+sentinel` and `rediss+cluster` are the same over
TLS. All further options are redis-py's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from redis.connection import ConnectionPool, SSLConnection, parse_url

from openmultistack.domain.errors import ConfigurationError

VARIABLE = "OMS_REDIS_URL"
_MANY = re.compile(
    r"(?P<scheme>rediss?)\+(?P<form>sentinel|cluster)://"
    r"(?:(?P<login>[^@/?#]*)@)?(?P<hosts>[^@/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?",
)
_PORTS = {"sentinel": 26379, "cluster": 6379}
_SENTINEL = "sentinel_"


@dataclass(frozen=True)
class Address:
    """What a URL says; both kinds of options are redis-py's, and hold passwords."""

    form: Literal["server", "sentinel", "cluster"]
    # Empty for one server: its host, port or path are among the options.
    nodes: tuple[tuple[str, int], ...]
    service: str
    tls: bool
    options: Mapping[str, Any] = field(repr=False)
    sentinel_options: Mapping[str, Any] = field(repr=False)


def read_address(url: str) -> Address:
    """Return the address in a URL.

    Raises:
        ConfigurationError: it is not one; says what was expected, and nothing of what was given.
    """
    many = _MANY.fullmatch(url)
    if many is None:
        if "+" in url.partition("://")[0]:
            raise _bad("expected redis+FORM://[user:password@]host:port,host:port/...")
        options = _options(url, "server")
        return Address("server", (), "", tls=False, options=options, sentinel_options={})
    form: Literal["sentinel", "cluster"] = "sentinel" if many["form"] == "sentinel" else "cluster"
    service, database = _path(form, many["path"] or "")
    login = f"{many['login']}@" if many["login"] is not None else ""
    given = _options(f"{many['scheme']}://{login}host/{database}?{many['query'] or ''}", form)
    options = {name: it for name, it in given.items() if name not in ("host", "connection_class")}
    if form == "cluster" and options.pop("db", 0) != 0:
        raise _bad("a Cluster has only the database 0")
    own, sentinels = _parted(options)
    return Address(
        form=form,
        nodes=tuple(_node(part, _PORTS[form]) for part in many["hosts"].split(",")),
        service=service,
        tls=given.get("connection_class") is SSLConnection,
        options=own,
        sentinel_options=sentinels,
    )


def _options(url: str, form: str) -> dict[str, Any]:
    """Return what redis-py reads from the URL of one server, if it can make use of all of it."""
    try:
        options = dict(parse_url(url))
        for part in _parted(options) if form == "sentinel" else (options,):
            ConnectionPool(**part).make_connection()
    except (ValueError, TypeError):
        # Not chained: what it says can hold a password.
        pass
    else:
        return options
    raise _bad("expected a URL with a port and options that redis-py knows")


def _parted(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the data servers' options, and the Sentinels'."""
    sentinels = {name: it for name, it in options.items() if name.startswith(_SENTINEL)}
    own = {name: it for name, it in options.items() if name not in sentinels}
    return own, {name.removeprefix(_SENTINEL): it for name, it in sentinels.items()}


def _path(form: str, path: str) -> tuple[str, str]:
    service, _, database = path.removeprefix("/").partition("/")
    if form == "cluster":
        service, database = "", service
    elif not service:
        raise _bad("expected the name of the service after the Sentinels: .../SERVICE[/DB]")
    if not re.fullmatch(r"[0-9]*", database):
        raise _bad("expected the database as a number")
    return unquote(service), database


def _node(part: str, default_port: int) -> tuple[str, int]:
    try:
        parsed = urlsplit(f"//{part}")
        host, port = parsed.hostname, parsed.port
    except ValueError:
        host, port = None, None
    if not host:
        raise _bad("expected host:port, or several with commas between them")
    return host, port or default_port


def _bad(expected: str) -> ConfigurationError:
    return ConfigurationError("environment", VARIABLE, expected)
