"""The gateway's API over HTTP: documents in, documents out; what it refuses is one sentence."""

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

Json = dict[str, Any]

# A create of 100 instances, a sweep of a sick region: the gateway bounds these at 180 s.
TIMEOUT_S = 200
EXIT_FAILED, EXIT_USAGE, EXIT_FORBIDDEN = 1, 2, 3
EXIT_NOT_FOUND, EXIT_NO_ROOM, EXIT_UNREACHABLE = 4, 5, 6
_EXIT_BY_STATUS = {
    400: EXIT_USAGE,
    401: EXIT_FORBIDDEN,
    403: EXIT_FORBIDDEN,
    404: EXIT_NOT_FOUND,
    413: EXIT_USAGE,
    422: EXIT_USAGE,
}
_NO_ROOM = ("capacity-exhausted", "no-region-ready")


class CommandError(Exception):
    """What went wrong, in a sentence for stderr, and the exit code that says it to scripts."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Client:
    """The API of one gateway, as the bearer of one token."""

    def __init__(self, url: str | None, token: str | None) -> None:
        base = url or os.environ.get("OMS_URL")
        bearer = token or os.environ.get("OMS_TOKEN")
        if not base:
            raise CommandError("no gateway: set OMS_URL (see .oms/env) or give --url", EXIT_USAGE)
        if not bearer:
            raise CommandError(
                "no token: set OMS_TOKEN (see .oms/env) or give --token", EXIT_FORBIDDEN
            )
        try:
            self._http = httpx.Client(
                base_url=base.rstrip("/") + "/v1",
                timeout=TIMEOUT_S,
                headers={"Authorization": f"Bearer {bearer}", "User-Agent": "oms"},
            )
        except (httpx.InvalidURL, UnicodeError, ValueError):
            raise CommandError("OMS_URL or OMS_TOKEN is not usable as it is", EXIT_USAGE) from None
        self._url = base

    def call(
        self, method: str, path: str, *, query: Sequence[tuple[str, str]] = (),
        body: Json | None = None, headers: Mapping[str, str] | None = None,
    ) -> Json:  # fmt: skip
        """Return the document that answers a request.

        Raises:
            CommandError: the gateway cannot be reached, or says no.
        """
        try:
            answer = self._http.request(
                method, path, params=tuple(query), json=body, headers=headers
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise CommandError(f"{self._url} is no URL of a gateway", EXIT_USAGE) from None
        except httpx.TimeoutException:
            raise CommandError(f"{self._url} did not answer in time", EXIT_UNREACHABLE) from None
        except httpx.HTTPError:
            raise CommandError(
                f"{self._url} cannot be reached; is it up (`make status`)?", EXIT_UNREACHABLE
            ) from None
        document = _document(answer)
        if answer.is_success:
            return document
        raise _refusal(answer.status_code, document)

    def create(self, body: Json) -> Json:
        """Create instances; the key lets the server know a repeated request for what it is."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self.call("POST", "/instances", body=body, headers=headers)

    def pages(self, query: list[tuple[str, str]]) -> Iterator[Json]:
        """Return every page of a list, one document each."""
        cursor: list[tuple[str, str]] = []
        while True:
            page = self.call("GET", "/instances", query=query + cursor)
            yield page
            if page["next"] is None:
                return
            cursor = [("cursor", page["next"])]

    def instances(self, query: list[tuple[str, str]]) -> list[Json]:
        """Return the instances of all pages."""
        asked = [*query, ("limit", "1000")]
        return [instance for page in self.pages(asked) for instance in page["instances"]]


def _document(answer: httpx.Response) -> Json:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CommandError(f"the server answered {answer.status_code} and no JSON document")
    return document


def _refusal(status: int, problem: Json) -> CommandError:
    """Return a problem document as a sentence, with what helps to mend it on lines below."""
    slug = str(problem.get("type", "")).rpartition(":")[2]
    lines = [str(problem.get("detail") or problem.get("title") or f"the server answered {status}")]
    if problem.get("nearest"):
        lines.append("did you mean: " + ", ".join(problem["nearest"]))
    lines += [f"  {region}: {said}" for region, said in sorted(problem.get("regions", {}).items())]
    if slug in _NO_ROOM:
        return CommandError("\n".join(lines), EXIT_NO_ROOM)
    return CommandError("\n".join(lines), _EXIT_BY_STATUS.get(status, EXIT_FAILED))
