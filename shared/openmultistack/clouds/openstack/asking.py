"""How Nova, Glance and Neutron are asked: for a document, for a list, for the end of something."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from openstack import exceptions

from openmultistack.domain.cloud_errors import BadAnswer

Document = Mapping[str, Any]

# Glance's pages have 25 images if nobody says otherwise, all others 1,000: no project has so many.
PAGES_MAX = 200
# A sweep has two minutes for all of its lists.
LIST_MAX_S = 60.0


def bare_endpoint(url: str, project: str) -> str:
    """Return host, port and path of an endpoint, without its version and its project."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port and parts.port not in (80, 443) else ""
    path = parts.path.rstrip("/").removesuffix(f"/{project}")
    return f"{(parts.hostname or '').lower()}{port}{re.sub(r'/v[0-9.]+$', '', path)}"


def segment_of(name: str) -> str:
    """Return a name or an id as one part of a path, whatever is in it.

    Raises:
        BadAnswer: there is no such part.
    """
    if name in ("", ".", ".."):
        raise BadAnswer(f"{name!r} cannot be the id of anything")
    return quote(name, safe="")


def asked(adapter: Any, path: str, **more: Any) -> Any:  # noqa: ANN401  the sdk is untyped
    """Return the document at a path; an error answer is raised as the sdk does."""
    answer = adapter.get(path, **more)
    exceptions.raise_from_response(answer)
    return answer.json()


def delete(nova: Any, path: str) -> None:  # noqa: ANN401  the sdk is untyped
    """Delete something of Nova's; what is gone is no error."""
    answer = nova.delete(path)
    if answer.status_code != HTTPStatus.NOT_FOUND:
        exceptions.raise_from_response(answer)


def listed(
    adapter: Any,  # noqa: ANN401  the sdk is untyped
    path: str,
    *,
    params: Document | None = None,
    **more: Any,  # noqa: ANN401  as of a request
) -> Iterator[Document]:
    """Give the things in a list, page after page, each once.

    Of the link to the next page only the query counts: its host may be one that is known inside
    the cloud alone.

    Raises:
        BadAnswer: it has no end, or is no list at all.
    """
    field = path.strip("/").partition("/")[0].removeprefix("os-").replace("-", "_")
    until = time.monotonic() + LIST_MAX_S
    seen: set[str] = set()
    query: Document = params or {}
    for _ in range(PAGES_MAX):
        page = asked(adapter, path, params=query, **more)
        fresh = [it for it in _items(page, field) if _name(it, field) not in seen]
        seen.update(_name(it, field) for it in fresh)
        yield from fresh
        following = _next_query(page, field)
        if following is None:
            return
        if not fresh:
            raise BadAnswer(f"its list of {field} does not end: a page brought nothing new")
        if time.monotonic() > until:
            raise BadAnswer(f"its list of {field} took longer than {LIST_MAX_S:.0f} s")
        query = {**query, **following}
    raise BadAnswer(f"its list of {field} does not end: it has over {PAGES_MAX} pages")


def _items(page: Any, field: str) -> Sequence[Document]:  # noqa: ANN401  JSON
    """Return what is on a page, in the order that it has, nothing twice."""
    items = page.get(field) if isinstance(page, dict) else None
    if not isinstance(items, list):
        raise BadAnswer(f"its answer has no list of {field}")
    return list({_name(it, field): it for it in items}.values())


def _name(it: Any, field: str) -> str:  # noqa: ANN401  JSON
    """Return what tells a thing from all others; a keypair is one level deeper, and has a name."""
    inner = it.get("keypair", it) if isinstance(it, dict) else None
    name = (inner.get("id") or inner.get("name")) if isinstance(inner, dict) else None
    if not isinstance(name, str | int) or not name:
        raise BadAnswer(f"its list of {field} has something without an id")
    return str(name)


def _next_query(page: Document, field: str) -> Mapping[str, str] | None:
    """Return the query of the next page: a link beside the list, or Glance's `next`."""
    links = page.get(f"{field}_links") or ()
    if not isinstance(links, list | tuple) or not all(isinstance(it, dict) for it in links):
        raise BadAnswer(f"its list of {field} has a link that is none")
    href = {it.get("rel"): it.get("href") for it in links}.get("next") or page.get("next")
    if not href:
        return None
    if not isinstance(href, str):
        raise BadAnswer(f"its list of {field} has a link that is none")
    return dict(parse_qsl(urlsplit(href).query))
