"""The endpoints of tokens: an owner's own, or with `fleet:tokens` everybody's."""

import re
from typing import TYPE_CHECKING, Any

from openmultistack.api.calls import Call, Endpoint, Reply
from openmultistack.api.operations import (
    ID,
    TEXT,
    TIME,
    Named,
    Operation,
    in_query,
    list_of,
    maybe,
    object_of,
)
from openmultistack.api.queries import read_query
from openmultistack.auth.guards import scope
from openmultistack.auth.own_issuer import LOCAL_ISSUER
from openmultistack.domain.errors import Invalid, NotFound, OwnerQuotaExceeded
from openmultistack.domain.times import rfc3339
from openmultistack.domain.tokens import REVOKED_MAX, REVOKED_MAX_OF_OWNERS, TIME_MAX, token_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from openmultistack.ledger import Ledger
    from openmultistack.ledger.tokens import SeenToken

ENTER, ALL = "tokens:own", "fleet:tokens"
# A token whose end nobody knows is taken back for so long.
UNKNOWN_END_MS = 10 * 365 * 86_400_000
TOKEN = Named(
    "Token",
    object_of(
        id=TEXT,
        jti=maybe(TEXT),
        issuer=TEXT,
        owner=TEXT,
        scopes=list_of(TEXT),
        expires_at=TIME,
        used_at=TIME,
        revoked={"type": "boolean"},
    ),
)


def list_tokens(ledger: "Callable[[], Ledger]") -> Endpoint:
    """`GET /tokens`."""

    def run(call: Call) -> Reply:
        read_query(call, ())
        return Reply(200, {"tokens": [_shown(it) for it in _visible(ledger(), call)]})

    told = Operation(
        "List own tokens that were seen, the last used first; with fleet:tokens all",
        (200, object_of(tokens=list_of(TOKEN))),
        (Invalid,),
    )
    return Endpoint("GET", "/tokens", scope(ENTER), run, told)


def revoke_token(ledger: "Callable[[], Ledger]") -> Endpoint:
    """`DELETE /tokens/{id}`."""

    def run(call: Call) -> Reply:
        return _revoke(ledger(), call)

    until = {"type": "integer", "minimum": 0, "description": "seconds since 1970"}
    told = Operation(
        "Revoke an own token that was seen; with fleet:tokens any",
        (200, object_of(revoked=list_of(TEXT))),
        (NotFound, Invalid, OwnerQuotaExceeded),
        (
            ID | {"description": "the id or the jti of a token"},
            in_query("issuer", TEXT),
            in_query("until", until),
        ),
    )
    return Endpoint("DELETE", "/tokens/{id}", scope(ENTER), run, told)


def _revoke(ledger: "Ledger", call: Call) -> Reply:
    is_operator, named = ALL in call.caller.scopes, call.path["id"]
    asked = read_query(call, ("issuer", "until")).single
    seen = [it.token for it in _visible(ledger, call)]
    ends: dict[str, int] = {it.id: it.ends_at_ms for it in seen if named in (it.id, it.jti)}
    if is_operator and (asked or not ends):
        # One that was not seen; what was used longest ago is not remembered either.
        ends.setdefault(
            token_id(asked.get("issuer", LOCAL_ISSUER), named),
            _until_ms(asked.get("until"), ledger.now_ms()),
        )
    if not ends:
        raise NotFound("no token of yours with this id or jti was seen here")
    if not ledger.revoke(ends, is_operator=is_operator):
        most = {"revoked_tokens": REVOKED_MAX if is_operator else REVOKED_MAX_OF_OWNERS}
        said = "too many tokens are revoked: expected fewer, or to wait until some have ended"
        raise OwnerQuotaExceeded(said, quota=most, used=most, retry_after_s=None)
    return Reply(200, {"revoked": sorted(ends)}, told={"revoked": sorted(ends)})


def _visible(ledger: "Ledger", call: Call) -> "list[SeenToken]":
    return ledger.seen_tokens(None if ALL in call.caller.scopes else call.caller.owner)


def _until_ms(text: str | None, now_ms: int) -> int:
    if text is None:
        return now_ms + UNKNOWN_END_MS
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > TIME_MAX:
        raise Invalid([("/until", "expected seconds since 1970")])
    return int(text) * 1000


def _shown(seen: "SeenToken") -> dict[str, Any]:
    token = seen.token
    return {
        "id": token.id,
        "jti": token.jti,
        "issuer": token.issuer,
        "owner": token.owner,
        "scopes": list(token.scopes),
        "expires_at": rfc3339(token.ends_at_ms),
        "used_at": rfc3339(seen.used_at_ms),
        "revoked": seen.revoked,
    }
