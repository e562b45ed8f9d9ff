"""The gateway's API over HTTP: documents in, documents out; what it refuses is a CommandError."""

import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import httpx

from openmultistack.cli import values
from openmultistack.cli.failures import CommandError, Exit, refusal

Json = dict[str, Any]
Query = list[tuple[str, str]]

# A create of 100 instances, a sweep of a sick region: the gateway bounds these at 180 s.
TIMEOUT = httpx.Timeout(200, connect=10)
# The largest page that the API gives.
PAGE_MAX = 1000
PREFIX = "/v1"
# A create that got no answer is sent again after these pauses (seconds), and within this time.
AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0)
AGAIN_WITHIN_S = 60.0


class Client:
    """The API of one gateway, as the bearer of one token; safe to share between threads."""

    def __init__(self, url: str | None, token: str | None) -> None:
        base = _base(url or os.environ.get("OMS_URL", ""))
        self._bearer = bearer = _bearer(token or os.environ.get("OMS_TOKEN", ""))
        self._shown = str(base).rstrip("/")
        # One for the whole command: the gateway, the functions' log and Nova's have it as well.
        self.request_id = str(uuid.uuid4())
        headers = {
            "Authorization": f"Bearer {bearer}",
            "User-Agent": "oms",
            "X-Request-Id": self.request_id,
        }
        self._http = httpx.Client(base_url=base, timeout=TIMEOUT, headers=headers)

    def call(
        self, method: str, path: str, *, query: Query | None = None,
        body: Json | None = None, headers: Mapping[str, str] | None = None,
    ) -> Json:  # fmt: skip
        """Return the document that answers a request.

        Raises:
            CommandError: the gateway cannot be reached, or says no.
        """
        try:
            answer = self._http.request(
                method, PREFIX + path, params=tuple(query or ()), json=body, headers=headers
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            why = f" ({error})" if str(error) else ""
            raise self._unreachable(f"cannot be reached{why}; is it up?") from None
        except httpx.TimeoutException:
            raise self._unreachable("did not answer in time", doubt=True) from None
        except httpx.HTTPError:
            raise self._unreachable("broke the connection off", doubt=True) from None
        return self._document(answer)

    def _unreachable(self, why: str, *, doubt: bool = False) -> CommandError:
        said = f"{self._shown} {why}"
        if doubt:
            said += f"\n  request {self.request_id}"
        return CommandError(said, Exit.UNREACHABLE, passing=True, doubt=doubt)

    def _document(self, answer: httpx.Response) -> Json:
        try:
            document = answer.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            if answer.is_success:
                raise CommandError(
                    f"{self._shown} answers, but not as OpenMultiStack does\n"
                    f"  request {self.request_id}"
                )
            document = {}
        if answer.is_success:
            return document
        if "type" not in document:  # not a problem of ours, as those of a proxy before the gateway
            document["request_id"] = self.request_id
        if answer.status_code == HTTPStatus.UNAUTHORIZED and (
            over := values.token_end(self._bearer)
        ):
            document["detail"] = f"the token ended at {over}: take a new one, as of `oms token`"
        raise refusal(answer.status_code, document, answer.headers.get("Retry-After"))

    def create(self, body: Json, key: str) -> Json:
        """Create instances; a lost answer is asked for again, which makes none twice.

        The server knows a repeated request by its key (the Idempotency-Key header).

        Raises:
            CommandError: it says no, or after some tries still nobody knows what it did.
        """
        try:
            return self._create(body, key)
        except KeyboardInterrupt:
            raise _in_doubt("interrupted", Exit.INTERRUPTED, key) from None

    def _create(self, body: Json, key: str) -> Json:
        headers = {"Idempotency-Key": key}
        pauses_s, until, doubt = iter(AGAIN_AFTER_S), time.monotonic() + AGAIN_WITHIN_S, False
        while True:
            try:
                return self.call("POST", "/instances", body=body, headers=headers)
            except CommandError as error:
                doubt = doubt or error.doubt
                if not doubt or error.exit_code != Exit.UNREACHABLE:
                    raise
                pause_s = next(pauses_s, None)
                if pause_s is None or time.monotonic() > until:
                    raise _in_doubt(str(error), error.exit_code, key) from None
            time.sleep(pause_s)

    def instance(self, instance_id: str) -> Json:
        """Return one instance."""
        return self.call("GET", path_of(instance_id))

    def pages(
        self, query: Query, *, limit: int | None = None, cursor: str | None = None
    ) -> Iterator[Json]:
        """Return a list's pages, one document each, until its end or `limit` instances."""
        while True:
            size = PAGE_MAX if limit is None else min(PAGE_MAX, limit)
            place = [("limit", str(size))] + ([("cursor", cursor)] if cursor else [])
            page = self.call("GET", "/instances", query=[*query, *place])
            yield page
            limit = None if limit is None else limit - len(page["instances"])
            if page["next"] is None or (limit is not None and limit < 1):
                return
            if page["next"] == cursor:
                raise CommandError("the server's list has no end")
            cursor = page["next"]

    def listing(self, query: Query, *, limit: int | None = None, cursor: str | None = None) -> Json:
        """Return all pages as one document, or no more than `limit` instances."""
        pages = list(self.pages(query, limit=limit, cursor=cursor))
        found = [it for page in pages for it in page["instances"]]
        return {"instances": found, "next": pages[-1]["next"]}


def path_of(instance_id: str, more: str = "") -> str:
    """Return the path of an instance; what is no id must not become another request."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", instance_id):
        raise CommandError(f"{instance_id!r} is no instance id", Exit.USAGE)
    return f"/instances/{instance_id}{more}"


def _in_doubt(why: str, code: Exit, key: str) -> CommandError:
    from shlex import quote  # noqa: PLC0415  only here

    lines = [
        why,
        "  instances may have been made: `oms list` shows them",
        f"  the same command with --idempotency-key {quote(key)} makes none twice",
    ]
    return CommandError("\n".join(lines), code)


def _base(text: str) -> httpx.URL:
    if not text.strip():
        raise CommandError("no gateway: set OMS_URL (see .oms/env) or give --url", Exit.USAGE)
    try:
        url = httpx.URL(text.strip().rstrip("/").removesuffix(PREFIX))
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise CommandError("OMS_URL or --url is no http(s)://HOST URL", Exit.USAGE)
    return url.copy_with(userinfo=b"")  # it would take the token's place, and be shown


def _bearer(text: str) -> str:
    token = text.strip()
    if not token:
        raise CommandError("no token: set OMS_TOKEN (see .oms/env) or give --token", Exit.FORBIDDEN)
    if not re.fullmatch(r"[!-~]+", token):
        raise CommandError("OMS_TOKEN or --token is no token: it has blanks in it", Exit.FORBIDDEN)
    return token
