"""`/v1/tokens`: which tokens were used, and how one is taken back everywhere."""

import time
from types import ModuleType
from typing import Any

import pytest

from tests.support.doors import Books, Door
from tests.support.signer import Signer

WITHIN_S = 30.0
OWN = "instances:read tokens:own"


def listed(doors: dict[str, Door], answers: ModuleType, token: str) -> dict[str, Any]:
    """Return by jti the tokens that somebody sees."""
    answer = doors["list"].call("GET", "/tokens", token)
    return {it["jti"]: it for it in answers.check(answer, "GET", "/tokens")["tokens"]}


def revoke(doors: dict[str, Door], token: str, named: str, **query: Any) -> Any:
    """Revoke a token."""
    return doors["destroy"].call("DELETE", f"/tokens/{named}", token, params=query)


def until_refused(door: Door, token: str) -> None:
    """Wait until a function lets a token in no more."""
    until = time.monotonic() + WITHIN_S
    while door.call("GET", "/instances", token).status_code == 200:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.usefixtures("books")
def test_isolation_an_owner_sees_and_revokes_their_own_and_an_operator_all(
    doors: dict[str, Door], signer: Signer, answers: ModuleType
) -> None:
    alice = signer.token(sub="alice", jti="alice-1", scope=OWN)
    spare = signer.token(sub="alice", jti="alice-2", scope=OWN)
    bob = signer.token(sub="bob", jti="bob-1", scope=OWN)
    operator = signer.token(sub="olga", jti="olga-1", scope="tokens:own fleet:tokens")
    for it in (alice, spare, bob):
        assert doors["list"].call("GET", "/instances", it).status_code == 200
    seen = listed(doors, answers, alice)
    assert set(seen) == {"alice-1", "alice-2"}
    assert seen["alice-2"]["scopes"] == ["instances:read", "tokens:own"]
    assert seen["alice-2"]["owner"] == "alice"
    assert not seen["alice-2"]["revoked"]
    assert set(listed(doors, answers, operator)) == {"alice-1", "alice-2", "bob-1", "olga-1"}
    answers.refused(revoke(doors, alice, "bob-1"), 404, "not-found")
    answers.refused(revoke(doors, alice, "never-used", until=1), 404, "not-found")
    gone = answers.check(revoke(doors, alice, "alice-2"), "DELETE", "/tokens/{id}")
    assert gone["revoked"] == [seen["alice-2"]["id"]]
    assert listed(doors, answers, alice)["alice-2"]["revoked"]
    until_refused(doors["list"], spare)
    answers.refused(doors["list"].call("GET", "/instances", spare), 401, "unauthenticated")
    for it in (alice, bob):
        assert doors["list"].call("GET", "/instances", it).status_code == 200
    assert revoke(doors, operator, listed(doors, answers, operator)["bob-1"]["id"]).is_success
    until_refused(doors["list"], bob)


@pytest.mark.usefixtures("books")
def test_an_operator_revokes_a_token_that_was_never_used(
    doors: dict[str, Door], signer: Signer, answers: ModuleType, books: Books
) -> None:
    operator = signer.token(sub="olga", scope="tokens:own fleet:tokens")
    end = int(time.time()) + 900
    answer = revoke(doors, operator, "leaked", until=end, issuer=signer.claims()["iss"])
    (known,) = answers.check(answer, "DELETE", "/tokens/{id}")["revoked"]
    assert books.redis.zscore(books.ledger._keys.revoked, known) == end * 1000  # noqa: SLF001
    until_refused(doors["list"], signer.token(jti="leaked", exp=end))
    for query in ({"until": "soon"}, {"until": "9" * 12}, {"unknown": "1"}):
        answers.refused(revoke(doors, operator, "x", **query), 422, "invalid")
    answers.refused(doors["list"].call("GET", "/tokens?a=b", operator), 422, "invalid")


@pytest.mark.usefixtures("books")
def test_a_token_without_a_jti_is_listed_and_revoked_by_its_id(
    doors: dict[str, Door], signer: Signer, answers: ModuleType
) -> None:
    bare = signer.token(sub="bare", scope=OWN)
    seen = listed(doors, answers, bare)
    assert set(seen) == {None}
    assert revoke(doors, bare, seen[None]["id"]).is_success
    until_refused(doors["list"], bare)
