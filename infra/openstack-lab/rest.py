"""A plain HTTP client for the lab's own services, without any library of OpenStack's."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from errors import LabError
from layout import Lab
from topology import PASSWORD

TIMEOUT_S = 60
NOVA_MICROVERSION = "2.96"
FIRST_ERROR_STATUS = 400
# The services are on this machine: no proxy of the environment's is between.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came back, error or not."""

    status: int
    body: Json
    headers: dict[str, str]


def call(
    method: str,
    url: str,
    headers: dict[str, str],
    content: bytes | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Send one request.

    Raises:
        LabError: nobody answered.
    """
    request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310  ours are http
    try:
        with _OPENER.open(request, timeout=timeout_s) as response:
            return answer(response.status, response.read(), dict(response.headers))
    except urllib.error.HTTPError as error:
        with error:
            return answer(error.code, error.read(), dict(error.headers))
    except OSError as error:
        raise LabError(f"{method} {url}: {error}") from error


def answer(status: int, content: bytes, headers: dict[str, str]) -> Answer:
    """Read a body that is JSON, or else keep its text under `text`."""
    try:
        body = json.loads(content or b"{}")
    except ValueError:
        body = {"text": content.decode(errors="replace")}
    return Answer(status, body if isinstance(body, dict) else {"value": body}, headers)


@dataclass(frozen=True)
class Session:
    """A user, who is in the project of the same name, at one provider."""

    lab: Lab
    provider: str
    user: str

    @cached_property
    def token(self) -> str:
        """A token scoped to the project."""
        domain = {"name": "Default"}
        user = {"name": self.user, "domain": domain, "password": PASSWORD}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": self.user, "domain": domain}}
        url = f"{self.lab.keystone_url(self.provider)}/auth/tokens"
        content = json.dumps({"auth": {"identity": identity, "scope": scope}}).encode()
        got = call("POST", url, {"Content-Type": "application/json"}, content)
        if got.status >= FIRST_ERROR_STATUS:
            raise LabError(f"{self.user} cannot log in to {self.provider}: {got.status} {got.body}")
        return got.headers["X-Subject-Token"]

    def send(self, method: str, url: str, body: Json | None = None) -> Answer:
        """Send a request and return the answer, whatever it is."""
        content = None if body is None else json.dumps(body).encode()
        return call(method, url, self.headers("application/json"), content)

    def ask(self, method: str, url: str, body: Json | None = None) -> Json:
        """Send a request that has to succeed; the body of its answer.

        Raises:
            LabError: it was refused.
        """
        return expect_success(f"{method} {url}", self.send(method, url, body))

    def upload(self, url: str, content: bytes) -> None:
        """PUT bytes that are no JSON."""
        got = call("PUT", url, self.headers("application/octet-stream"), content)
        expect_success(f"PUT {url}", got)

    def headers(self, content_type: str) -> dict[str, str]:
        """What every request has."""
        return {
            "X-Auth-Token": self.token,
            "Accept": "application/json",
            "Content-Type": content_type,
            "OpenStack-API-Version": f"compute {NOVA_MICROVERSION}",
        }


def expect_success(what: str, got: Answer) -> Json:
    """The body of an answer that is no error.

    Raises:
        LabError: it is one.
    """
    if got.status >= FIRST_ERROR_STATUS:
        raise LabError(f"{what}: {got.status} {got.body}")
    return got.body


class Collection:
    """The resources of one kind at one URL, told apart by their names."""

    def __init__(self, session: Session, url: str, kind: str, query: str = "") -> None:
        self._session = session
        self._url = url
        self._kind = kind
        self.members: list[Json] = session.ask("GET", url + query)[f"{kind}s"]

    def find(self, name: str) -> Json | None:
        """The member of that name, if there is one."""
        return next((member for member in self.members if member["name"] == name), None)

    def ensure(self, name: str, **attributes: Any) -> str:  # noqa: ANN401  the API's JSON
        """The id of the member of that name, created if there is none."""
        member = self.find(name)
        if member is None:
            body = {self._kind: {"name": name, **attributes}}
            member = self._session.ask("POST", self._url, body)[self._kind]
            self.members.append(member)
        return str(member["id"])

    def id_of(self, name: str) -> str:
        """The id of a member that has to be there.

        Raises:
            LabError: it is not.
        """
        member = self.find(name)
        if member is None:
            raise LabError(f"no {self._kind} {name!r} at {self._url}")
        return str(member["id"])
