"""Keystone: one for each provider; logs in with a password and gives out the catalog."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from secrets import token_urlsafe
from typing import Any

from aiohttp import web
from calls import Answer, parsed, pause, refused
from faults import Fault, NotAuthenticated

USER = PROJECT = "ci"
PASSWORD = "sim-secret"
USER_ID = "11111111111111111111111111111111"
PROJECT_ID = "22222222222222222222222222222222"
DOMAIN = {"id": "default", "name": "Default"}
TOKEN_HOURS = 24


class Keystone:
    """The identity service of one provider; `catalog` has (type, region, URL)."""

    def __init__(
        self, url: str, catalog: Sequence[tuple[str, str, str]], latency_ms: float
    ) -> None:
        self.url = url
        self.calls: Counter[str] = Counter()
        self._catalog = {
            (kind, region): _service(kind, region, url) for kind, region, url in catalog
        }
        # Type and region of services that the catalog does not have.
        self.absent: set[tuple[str, str]] = set()
        self._latency_ms = latency_ms
        self._tokens: set[str] = set()

    def check(self, request: web.Request) -> None:
        """Pass a request with a token of this provider.

        Raises:
            NotAuthenticated: it has none.
        """
        if request.headers.get("X-Auth-Token") not in self._tokens:
            raise NotAuthenticated

    def revoke_all(self) -> None:
        """Let no token be good any more."""
        self._tokens.clear()

    async def version(self, _request: web.Request) -> web.Response:
        """GET /v3."""
        self.calls["GET /v3"] += 1
        await pause(self._latency_ms)
        document = {
            "id": "v3.14",
            "status": "stable",
            "updated": "2020-04-07T00:00:00Z",
            "links": [{"rel": "self", "href": f"{self.url}/"}],
            "media-types": [],
        }
        return Answer(HTTPStatus.OK, {"version": document}).response()

    async def login(self, request: web.Request) -> web.Response:
        """POST /v3/auth/tokens."""
        self.calls["POST /v3/auth/tokens"] += 1
        text = await request.read()
        await pause(self._latency_ms)
        try:
            return self._log_in(parsed(text)).response()
        except Fault as fault:
            return refused(fault).response()

    def _log_in(self, body: Any) -> Answer:  # noqa: ANN401  JSON
        if not _is_known(body):
            raise NotAuthenticated
        token = token_urlsafe(24)
        self._tokens.add(token)
        return Answer(HTTPStatus.CREATED, self._token(), {"X-Subject-Token": token})

    def _token(self) -> dict[str, Any]:
        now = datetime.now(UTC)
        token = {
            "methods": ["password"],
            "user": {"id": USER_ID, "name": USER, "domain": DOMAIN, "password_expires_at": None},
            "project": {"id": PROJECT_ID, "name": PROJECT, "domain": DOMAIN},
            "is_domain": False,
            "roles": [{"id": "member", "name": "member"}],
            "catalog": [it for what, it in self._catalog.items() if what not in self.absent],
            "issued_at": _when(now),
            "expires_at": _when(now + timedelta(hours=TOKEN_HOURS)),
            "audit_ids": [token_urlsafe(16)],
        }
        return {"token": token}


def _is_known(body: Mapping[str, Any]) -> bool:
    """Whether it is the one user, with its password, for the one project."""
    try:
        auth = body["auth"]
        user = auth["identity"]["password"]["user"]
        project = auth["scope"]["project"]
    except (KeyError, TypeError):
        return False
    names = (user.get("name"), user.get("password"), project.get("name"))
    return names == (USER, PASSWORD, PROJECT)


def _service(kind: str, region: str, url: str) -> dict[str, Any]:
    endpoints = [
        {
            "id": f"{region}-{kind}-{interface}",
            "interface": interface,
            "region": region,
            "region_id": region,
            "url": url,
        }
        for interface in ("public", "internal", "admin")
    ]
    return {"id": f"{region}-{kind}", "type": kind, "name": kind, "endpoints": endpoints}


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
