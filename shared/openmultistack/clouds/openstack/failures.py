"""What a cloud's answer means: from status, body and exception to a class of CloudError.

The rule behind the classes: an answer counts as a refusal only when it is
certain that nothing was made; everything else is in doubt.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

import requests
from keystoneauth1 import exceptions as ksa
from openstack import exceptions as sdk
from urllib3 import exceptions as urllib3

from openmultistack.clouds.meanings import KEYED, meaning_of
from openmultistack.domain.cloud_errors import (
    AccountBroken,
    BadAnswer,
    CloudError,
    InDoubt,
    RateLimited,
    Unreachable,
    Unsuitable,
)
from openmultistack.domain.models import ALL_OF_IT
from openmultistack.logs import masked

# With a fault of Nova's in the body these say that nothing was made.
CERTAIN = (400, 403, 404, 406, 409, 413)
# By which Keystone says that these credentials are none (400: of a form that it does not take).
LOGIN_REFUSED = (400, 401, 403)
_SHOWN_CHARS = 300
# Shorter ones would blot out ordinary words.
_SECRET_CHARS = 6
# For a provider that asks for a pause and does not say how long, or says far too long.
RETRY_AFTER_S, RETRY_AFTER_MAX_S = 30, 900


def refusal(status: int, body: str, headers: Mapping[str, str]) -> CloudError:
    """Return what an error answer to a create means (Nova's API reference, `Create Server`).

    A rate limit is 429 by today's rule (RFC 6585) and was 413 with Retry-After by OpenStack's
    first; it is put before the API, so that nothing was made.
    """
    text, told = said(status, body), _fault(body) is not None
    wished = "retry-after" in {name.lower() for name in headers}
    too_large = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    limited = wished or re.search(r"rate.?limit", text, re.IGNORECASE)
    if status == HTTPStatus.TOO_MANY_REQUESTS or (too_large and limited):
        return RateLimited(text, retry_after_s=retry_after_s(headers))
    if too_large and not told:
        # Not Nova's: something before it takes no body of this size.
        return Unsuitable(f"{text}: the order is too large for this cloud", about=ALL_OF_IT)
    if status == HTTPStatus.UNAUTHORIZED:
        return AccountBroken(text)
    if status in CERTAIN and told:
        return meaning_of(status, text)
    return InDoubt(text)


def keypair_refusal(status: int, body: str, headers: Mapping[str, str]) -> CloudError:
    """Return what an error answer to the import of a key means; no server was made.

    Whatever it is about: an order without a key, or with another one, is not concerned.
    """
    refused = refusal(status, body, headers)
    if status == HTTPStatus.BAD_REQUEST and _fault(body) is not None:
        why = "it takes no key of this type, or not this one"
        return Unsuitable(f"{refused} ({why})", about=("key",))
    if isinstance(refused, InDoubt):
        return Unreachable(str(refused))
    passing = isinstance(refused, (RateLimited, AccountBroken))
    if passing or (isinstance(refused, Unsuitable) and refused.about == KEYED):
        return refused
    return Unsuitable(str(refused), about=KEYED)


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the pause that an answer asks for, bounded; a date or nothing: our own."""
    given = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    wished = int(given) if re.fullmatch(r"[0-9]{1,6}", given) else RETRY_AFTER_S
    return float(min(max(wished, 1), RETRY_AFTER_MAX_S))


def said(status: int, body: str) -> str:
    """Return what the cloud said, short; a body that is not Nova's JSON stays unsaid."""
    message = _fault(body)
    return f"{status}: {message}" if message else f"{status}"


def body_of(answer: requests.Response, *secrets: str) -> str:
    """Return an answer's body without the token and other secrets of the request, if it has them.

    A text of a cloud is shown to others as well: as what a region last said, or why it refuses.
    """
    text = str(answer.text)
    sent = answer.request.headers if answer.request is not None else {}
    for secret in (sent.get("X-Auth-Token"), *secrets):
        if secret and len(secret) >= _SECRET_CHARS:
            told = str(secret)
            for form in (told, json.dumps(told)[1:-1], json.dumps(told, ensure_ascii=False)[1:-1]):
                text = text.replace(form, "(secret)")
    return text


def _fault(body: str) -> str | None:
    """Return the message in a fault of an OpenStack API: {"badRequest": {"message": ...}}.

    Where a schema was not met it quotes what was sent: that can be a secret, and is left out, as is
    all else that looks like one.
    """
    try:
        (fault,) = json.loads(body).values()
        message = " ".join(str(fault["message"]).split())
    except (ValueError, AttributeError, TypeError, KeyError):
        return None
    return masked(message.partition(". Value: ")[0])[:_SHOWN_CHARS]


def translate(error: Exception, *, sent: bool) -> CloudError:
    """Return the class of an exception; `sent`: the request may have reached the cloud.

    keystoneauth names resets and read timeouts like refused connections; the cause tells them
    apart.
    """
    if isinstance(error, CloudError):
        return error
    if isinstance(error, ksa.Unauthorized):
        return AccountBroken("401: it refuses a token of a new login, too")
    if isinstance(error, _NO_ENTRY):
        return AccountBroken(_entry_text(error))
    if isinstance(error, ksa.EndpointNotFound | ksa.CatalogException):
        return AccountBroken("the service catalog has no compute service for this region")
    if isinstance(error, sdk.HttpException) and error.status_code is not None:
        status, body = error.status_code, _body(error.response)
        if status in (401, 403):
            return AccountBroken(said(status, body))
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            headers = getattr(error.response, "headers", {})
            return RateLimited(said(status, body), retry_after_s=retry_after_s(headers))
        # It was reached, and refuses this one thing (409: the server is locked) or is at fault.
        return InDoubt(said(status, body))
    if any(isinstance(cause, _NEVER_CONNECTED) for cause in _causes(error)):
        return Unreachable(_network_text(error))
    if isinstance(error, ksa.HttpError) and not sent:
        return Unreachable(f"{error.http_status}: the identity service does not work")
    return InDoubt(_network_text(error)) if sent else Unreachable(_network_text(error))


def _body(answer: requests.Response | None) -> str:
    return "" if answer is None else body_of(answer)


_NO_ENTRY = (
    sdk.ConfigException, ksa.MissingAuthPlugin, ksa.MissingRequiredOptions, ksa.NoMatchingPlugin,
)  # fmt: skip


def _entry_text(error: Exception) -> str:
    """Say why an entry of clouds.yaml gives no login, without a value of it."""
    if isinstance(error, ksa.MissingRequiredOptions):
        lacking = ", ".join(sorted(str(it.dest) for it in error.options))
        return f"clouds.yaml lacks what this login needs: {lacking}"
    if isinstance(error, ksa.NoMatchingPlugin):
        return "clouds.yaml names an auth_type that there is not"
    return "clouds.yaml has no usable entry for this region"


@contextmanager
def naming(service: str) -> "Iterator[None]":
    """Have what fails inside say which of a region's services it was."""
    try:
        yield
    except (ksa.EndpointNotFound, ksa.CatalogException) as error:
        text = f"the service catalog has no {service} service for this region"
        hint = "; where servers need none, clouds.yaml says `has_network: false`"
        raise AccountBroken(text + hint * (service == "network")) from error
    except Exception as error:
        found = translate(error, sent=False)
        found.args = (f"the {service} service: {found}",)
        raise found from error


def no_login(error: Exception) -> CloudError:
    """Return what it means that the identity service gave no login: nothing else was asked."""
    if isinstance(error, BadAnswer):
        return Unreachable(str(error))
    if not isinstance(error, ksa.HttpError):
        return translate(error, sent=False)
    if error.http_status in LOGIN_REFUSED:
        return AccountBroken(f"{error.http_status}: the login is refused")
    if _asks_for_a_pause(error):
        headers = getattr(error.response, "headers", {})
        text = f"{error.http_status}: the identity service asks for a pause"
        return RateLimited(text, retry_after_s=retry_after_s(headers))
    return Unreachable(f"{error.http_status}: the identity service does not work")


def _asks_for_a_pause(error: ksa.HttpError) -> bool:
    """Whether the identity service wants a login later; 413 and 503 say so by Retry-After."""
    names = {name.lower() for name in getattr(error.response, "headers", None) or {}}
    status = error.http_status
    return status == HTTPStatus.TOO_MANY_REQUESTS or (
        status in (413, 503) and "retry-after" in names
    )


_NEVER_CONNECTED = (
    urllib3.NewConnectionError,
    urllib3.ConnectTimeoutError,
    requests.exceptions.ConnectTimeout,
    requests.exceptions.SSLError,
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk what an exception stands for, through urllib3's own `reason` as well."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        it = todo.pop()
        if isinstance(it, BaseException) and id(it) not in seen:
            seen.add(id(it))
            yield it
            todo += [it.__cause__, it.__context__, getattr(it, "reason", None), *it.args]


def _network_text(error: Exception) -> str:
    """Say what happened without URLs or addresses."""
    kinds = [type(cause) for cause in _causes(error)]
    for kind, text in (
        (urllib3.NameResolutionError, "the name of its endpoint does not resolve"),
        (requests.exceptions.SSLError, "TLS fails"),
        (urllib3.NewConnectionError, "connection refused"),
        (urllib3.ConnectTimeoutError, "no connection within the time allowed"),
        (requests.exceptions.Timeout, "no answer within the time allowed"),
        (requests.exceptions.ConnectionError, "the connection broke"),
    ):
        if any(issubclass(it, kind) for it in kinds):
            return text
    return "the answer could not be understood"
