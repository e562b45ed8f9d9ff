"""Whom verified claims name, and what they may do."""

from pathlib import Path

import pytest

from openmultistack.auth.issuers import Issuer
from openmultistack.auth.own_issuer import LOCAL_AUDIENCE, LOCAL_ISSUER
from openmultistack.auth.principal import SCOPES, demand, principal
from openmultistack.auth.verify import SignedClaims
from openmultistack.domain.bounds import OWNER_CHARS
from openmultistack.domain.errors import InsufficientScope, Unauthenticated
from openmultistack.domain.models import Principal, Quota


def issuer(**more: str) -> Issuer:
    """Return an issuer; its key file is not looked at here."""
    return Issuer(
        issuer=LOCAL_ISSUER,
        audience=LOCAL_AUDIENCE,
        algorithms=("ES256",),
        jwks_file=Path("jwks.json"),
        **more,
    )


def named(by: Issuer, **claims: object) -> Principal:
    """Return whom verified claims name."""
    return principal(SignedClaims(claims), by)


@pytest.mark.parametrize(
    "sub", ["", None, 5, ["a"], "a\nb", "a\0", "\u202e", "x" * (OWNER_CHARS + 1)], ids=ascii
)
def test_a_subject_that_is_no_usable_name_is_refused(sub: object) -> None:
    with pytest.raises(Unauthenticated):
        named(issuer(), sub=sub, scope="")


def test_the_prefix_counts_towards_the_length_of_the_owner() -> None:
    by = issuer(owner_prefix="ci:")
    assert len(named(by, sub="x" * (OWNER_CHARS - 3)).owner) == OWNER_CHARS
    with pytest.raises(Unauthenticated):
        named(by, sub="x" * (OWNER_CHARS - 2))


def test_an_empty_subject_is_refused_even_with_a_prefix() -> None:
    with pytest.raises(Unauthenticated):
        named(issuer(owner_prefix="ci:"), sub="")


def test_owner_and_scopes_come_from_the_claims_the_issuer_uses() -> None:
    by = issuer(owner_claim="project", scope_claim="roles", owner_prefix="ci:")
    claims = {"sub": "x", "scope": "fleet:reap", "project": "web", "roles": ["fleet:read"]}
    assert named(by, **claims) == Principal(owner="ci:web", scopes=frozenset({"fleet:read"}))
    with pytest.raises(Unauthenticated, match="project"):
        named(by, sub="x")


@pytest.mark.parametrize("scope", [5, None, True, {"a": 1}, [5], ["a", None], 1.5])
def test_a_scope_that_is_no_list_of_names_is_refused(scope: object) -> None:
    with pytest.raises(Unauthenticated, match="scope"):
        named(issuer(), sub="x", scope=scope)


def test_without_a_scope_a_caller_may_do_nothing() -> None:
    caller = named(issuer(), sub="x")
    assert caller.scopes == frozenset()
    for scope in SCOPES:
        with pytest.raises(InsufficientScope, match=scope):
            demand(caller, scope)


def test_a_scope_allows_itself_and_nothing_beside_it() -> None:
    caller = named(issuer(), sub="x", scope="instances:read  fleet:read")
    demand(caller, "instances:read")
    demand(caller, "fleet:read")
    for scope in ("instances:create", "instances", "read", "instances:read fleet:read", ""):
        with pytest.raises(InsufficientScope):
            demand(caller, scope)


# ---------------------------------------------------------------- the quota in a token


def test_a_quota_comes_only_from_the_claim_that_its_issuer_is_trusted_with() -> None:
    claims = {"sub": "x", "scope": "", "quota": {"instances": 5}}
    assert named(issuer(), **claims).quota == Quota()
    by = issuer(quota_claim="quota")
    assert named(by, **claims).quota == Quota(instances=5)
    assert named(by, sub="x", scope="").quota == Quota()


@pytest.mark.parametrize(
    "quota", [5, "5", None, [], {"instances": -1}, {"servers": 5}, {"creates_per_minute": 0}]
)
def test_a_claim_that_is_no_quota_is_refused_and_not_taken_for_boundless(quota: object) -> None:
    with pytest.raises(Unauthenticated, match="quota"):
        named(issuer(quota_claim="quota"), sub="x", scope="", quota=quota)
