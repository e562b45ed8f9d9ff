"""Tokens in the ledger: what was seen, bounded, and what is taken back until it ends."""

import time

import pytest

from openmultistack.domain.tokens import KnownToken, token_id
from openmultistack.ledger import tokens as module
from tests.support.desk import Desk


def token(jti: str, owner: str = "alice", lasts_s: float = 600) -> KnownToken:
    """Return a token that was proven."""
    ends = int((time.time() + lasts_s) * 1000)
    return KnownToken(token_id("urn:own", jti), jti, "urn:own", owner, ["fleet:read"], ends)


def names(desk: Desk, owner: str | None = None) -> list[str | None]:
    """Return the jti of what was seen."""
    return [it.token.jti for it in desk.ledger.seen_tokens(owner)]


def used_long_ago(desk: Desk, *seen: KnownToken) -> None:
    """Have tokens used an hour ago, the first the longest."""
    then = int(time.time() * 1000) - 3_600_000
    for later, it in enumerate(seen):
        for key in (desk.keys.token_uses, desk.keys.tokens_of(it.owner)):
            desk.redis.zadd(key, {it.id: then + later})


def test_isolation_what_was_seen_is_told_to_its_owner_and_as_a_whole(desk: Desk) -> None:
    own, other = token("a"), token("b", "bob")
    for it in (own, other):
        desk.ledger.see(it)
    used_long_ago(desk, own)
    (seen,) = desk.ledger.seen_tokens("alice")
    assert seen.token == own
    assert not seen.revoked
    assert names(desk) == ["b", "a"]
    assert names(desk, "bo") == []


def test_a_use_is_written_at_most_once_a_minute(desk: Desk) -> None:
    it = token("a")
    desk.ledger.see(it)
    (first,) = desk.ledger.seen_tokens()
    desk.redis.zadd(desk.keys.token_uses, {it.id: first.used_at_ms - 50_000})
    desk.ledger.see(it)
    assert desk.ledger.seen_tokens()[0].used_at_ms == first.used_at_ms - 50_000
    used_long_ago(desk, it)
    desk.ledger.see(it)
    assert desk.ledger.seen_tokens()[0].used_at_ms >= first.used_at_ms


def test_bounded_of_an_owner_and_in_all_those_used_longest_ago_go_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEEN_OF_OWNER", 2)
    monkeypatch.setattr(module, "SEEN_MAX", 3)
    bobs = token("bob's", "bob")
    alices = [token(f"{n}") for n in range(3)]
    for it in (bobs, *alices[:2]):
        desk.ledger.see(it)
    used_long_ago(desk, bobs, *alices[:2])
    desk.ledger.see(alices[2])
    assert names(desk) == ["2", "1", "bob's"], "an owner makes room among their own"
    desk.ledger.see(token("carol's", "carol"))
    assert names(desk, "bob") == []
    assert len(names(desk)) == 3
    assert desk.redis.hlen(desk.keys.tokens) == 3
    assert desk.redis.zcard(desk.keys.token_ends) == 3


def test_a_token_is_gone_when_it_ends(desk: Desk) -> None:
    short, long = token("short", lasts_s=0.3), token("long")
    desk.ledger.see(short)
    until = time.monotonic() + 10
    while desk.redis.keys("*token*"):
        assert time.monotonic() < until, "nothing of it stays"
        time.sleep(0.02)
    for it in (long, token("again", lasts_s=0.3)):
        desk.ledger.see(it)
    while len(names(desk)) > 1:
        assert time.monotonic() < until
        time.sleep(0.02)
    desk.ledger.see(token("next"))
    assert desk.redis.hlen(desk.keys.tokens) == 2


def test_what_cannot_be_read_stops_nobody(desk: Desk) -> None:
    bad, good = token("bad"), token("good")
    for it in (bad, good):
        desk.ledger.see(it)
    for text in ("{", "[]", "{}", '{"id": 1}', "null"):
        desk.redis.hset(desk.keys.tokens, bad.id, text)
        assert names(desk) == ["good"]


def test_the_revoked_are_kept_until_they_end_and_are_read_when_they_change(desk: Desk) -> None:
    ledger, seen = desk.ledger, token("a")
    ledger.see(seen)
    before = ledger.revoked(None)
    assert before.ids == frozenset()
    assert ledger.revoke({seen.id: seen.ends_at_ms}, is_operator=False)
    after = ledger.revoked(before)
    assert after.ids == {seen.id}
    assert ledger.revoked(after) is after
    assert ledger.seen_tokens()[0].revoked
    desk.redis.zadd(desk.keys.revoked, {seen.id: 1})
    assert ledger.revoke({"x": seen.ends_at_ms}, is_operator=True)
    assert ledger.revoked(after).ids == {"x"}


def test_bounded_owners_revocations_leave_room_for_operators(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REVOKED_MAX", 3)
    monkeypatch.setattr(module, "REVOKED_MAX_OF_OWNERS", 2)
    end = token("a").ends_at_ms
    assert desk.ledger.revoke({"a": end, "b": end}, is_operator=False)
    assert not desk.ledger.revoke({"c": end}, is_operator=False)
    assert desk.ledger.revoke({"c": end}, is_operator=True)
    assert not desk.ledger.revoke({"d": end}, is_operator=True)
    assert desk.ledger.revoked(None).ids == {"a", "b", "c"}
