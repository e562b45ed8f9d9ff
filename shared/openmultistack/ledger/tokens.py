"""Tokens in the ledger: which were seen, and which are taken back; both only until they end."""

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from openmultistack.domain.tokens import REVOKED_MAX, REVOKED_MAX_OF_OWNERS, KnownToken
from openmultistack.ledger.acts import Acting
from openmultistack.ledger.connected import READ_AT_ONCE
from openmultistack.ledger.decode import read_all
from openmultistack.ledger.texts import compact

# So many of an owner, and in all, are remembered as seen; those used longest ago go first.
SEEN_OF_OWNER, SEEN_MAX = 100, 10_000


class SeenToken(NamedTuple):
    """A token that was used."""

    token: KnownToken
    used_at_ms: int
    revoked: bool


class Revoked(NamedTuple):
    """The ids of the tokens taken back, and the version of that set."""

    version: str
    ids: Collection[str]


class Tokens(Acting):
    """The acts on tokens, and what can be asked of them."""

    def see(self, token: KnownToken) -> None:
        """Take note of a token's use; at most once a minute for each. See see.lua."""
        keys, told = self._keys, token._asdict()
        self._scripts.run(
            "see",
            [keys.tokens, keys.token_ends, keys.token_uses, keys.tokens_of(token.owner)],
            token.id,
            compact(told),
            token.ends_at_ms,
            SEEN_OF_OWNER,
            SEEN_MAX,
        )

    def seen_tokens(self, owner: str | None = None) -> list[SeenToken]:
        """Return the tokens seen of an owner or of all, the last used first, 1000 at most."""
        keys = self._keys
        listed = keys.token_uses if owner is None else keys.tokens_of(owner)
        with self._pipeline() as pipe:
            pipe.zrange(listed, 0, READ_AT_ONCE - 1, desc=True, withscores=True)
            (uses,) = pipe.execute()
        ids = [it for it, _ in uses]
        if not ids:
            return []
        with self._pipeline() as pipe:
            pipe.hmget(keys.tokens, ids)
            pipe.zmscore(keys.revoked, ids)
            texts, revoked = pipe.execute()
        told = [
            (it, (text, int(used), until is not None))
            for (it, used), text, until in zip(uses, texts, revoked, strict=True)
            if text
        ]
        found, _ = read_all("token", told, _decode)
        now_ms = self.now_ms()
        return [
            it for it in found if it.token.ends_at_ms > now_ms and owner in (None, it.token.owner)
        ]

    def revoke(self, ends_at_ms: Mapping[str, int], *, is_operator: bool) -> bool:
        """Take tokens back, given by id with their end; False if too many are. See revoke.lua."""
        ends = [text for it, end in ends_at_ms.items() for text in (end, it)]
        most = REVOKED_MAX if is_operator else REVOKED_MAX_OF_OWNERS
        keys = [self._keys.revoked, self._keys.revoked_version]
        return bool(self._scripts.run("revoke", keys, secrets.token_hex(8), most, *ends))

    def revoked(self, before: Revoked | None) -> Revoked:
        """Return which tokens are taken back; `before`: what is known of that already."""
        with self._pipeline() as pipe:
            pipe.get(self._keys.revoked_version)
            version = str(pipe.execute()[0] or "")
        if before and before.version == version:
            return before
        with self._pipeline() as pipe:
            pipe.zrange(self._keys.revoked, 0, -1)
            ids: Sequence[str] = pipe.execute()[0]
        return Revoked(version, frozenset(ids))


def _decode(kept: tuple[str, int, bool]) -> SeenToken:
    text, used_at_ms, is_revoked = kept
    told = json.loads(text)
    token = KnownToken(
        id=str(told["id"]),
        jti=None if told["jti"] is None else str(told["jti"]),
        issuer=str(told["issuer"]),
        owner=str(told["owner"]),
        scopes=[str(it) for it in told["scopes"]],
        ends_at_ms=int(told["ends_at_ms"]),
    )
    return SeenToken(token, used_at_ms, is_revoked)
