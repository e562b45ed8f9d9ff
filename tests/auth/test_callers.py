"""A token that was proven is believed again without a proof, and no longer than it lasts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openmultistack.auth import callers as callers_module
from openmultistack.auth.callers import Callers
from openmultistack.auth.issuers import Issuer
from openmultistack.auth.own_issuer import (
    LOCAL_AUDIENCE,
    LOCAL_ISSUER,
    issue_token,
    make_signing_key,
)
from openmultistack.domain.errors import Unauthenticated


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The tokens that were verified, in order."""
    made: list[str] = []
    verify = callers_module.verify

    def noted(token: str, issuers: dict[str, Issuer]) -> object:
        made.append(token)
        return verify(token, issuers)

    monkeypatch.setattr(callers_module, "verify", noted)
    return made


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    """Callers of the own issuer."""
    make_signing_key(tmp_path)
    issuer = Issuer(
        issuer=LOCAL_ISSUER,
        audience=LOCAL_AUDIENCE,
        algorithms=("ES256",),
        jwks_file=tmp_path / "jwks.json",
    )
    believed = {LOCAL_ISSUER: issuer}
    return Callers(lambda: believed)


def token_of(tmp_path: Path, owner: str, ttl_s: int = 60) -> str:
    """Return a token of the own issuer."""
    return issue_token(tmp_path / "signing.pem", owner=owner, scopes=["fleet:read"], ttl_s=ttl_s)


def test_a_token_is_proven_once(callers: Callers, proofs: list[str], tmp_path: Path) -> None:
    token = token_of(tmp_path, "alice")
    assert [callers.named_by(token).owner for _ in range(3)] == ["alice"] * 3
    assert proofs == [token]


def test_each_token_names_its_own_owner(
    callers: Callers, proofs: list[str], tmp_path: Path
) -> None:
    tokens = {owner: token_of(tmp_path, owner) for owner in ("alice", "bob")}
    for owner, token in [*tokens.items(), *tokens.items()]:
        assert callers.named_by(token).owner == owner
    assert len(proofs) == 2


def test_isolation_another_signature_under_proven_claims_is_refused(
    callers: Callers, tmp_path: Path
) -> None:
    token, other = token_of(tmp_path, "alice"), token_of(tmp_path, "mallory")
    callers.named_by(token)
    claims, _, _ = token.rpartition(".")
    _, _, signature = other.rpartition(".")
    with pytest.raises(Unauthenticated):
        callers.named_by(f"{claims}.{signature}")


def test_fail_closed_a_proven_token_is_refused_once_it_is_over(
    callers: Callers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = token_of(tmp_path, "alice", ttl_s=2)
    assert callers.named_by(token).owner == "alice"
    expired = callers_module.time.time() + 3
    monkeypatch.setattr(callers_module.time, "time", lambda: expired)
    monkeypatch.setattr(callers_module, "verify", lambda *_: _refuse())
    with pytest.raises(Unauthenticated):
        callers.named_by(token)


def _refuse() -> None:
    raise Unauthenticated("over")


def test_bounded_so_many_tokens_are_remembered_and_no_more(
    callers: Callers, proofs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers_module, "TOKENS_KEPT", 2)
    tokens = [token_of(tmp_path, owner) for owner in ("a", "b", "c")]
    for token in tokens:
        callers.named_by(token)
    assert callers.named_by(tokens[2]).owner == "c"
    assert len(proofs) == 3
    assert callers.named_by(tokens[0]).owner == "a"
    assert len(proofs) == 4


def test_a_refused_token_is_not_remembered(callers: Callers, proofs: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            callers.named_by("not.a.token")
    assert len(proofs) == 2
