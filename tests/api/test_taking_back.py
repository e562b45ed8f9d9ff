"""Trust that is taken back, in processes that run and are called without pause."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jose import jwt

from openmultistack.auth.own_issuer import issue_token, make_signing_key
from openmultistack.auth.principal import SCOPES
from tests.support.doors import Books, Door, House, Way

# What SECURITY.md says.
IN_FORCE_WITHIN_S = 30.0
# Of whatever else is waited for, on a machine with other things to do.
PATIENCE_S = 180.0
CI = "https://ci.example"

# Of each function a call that touches no cloud, and what it answers to whom it lets in.
CALLS: Mapping[str, tuple[str, str, str, int]] = {
    "create": ("POST", "/instances", "{}", 422),
    "destroy": ("DELETE", "/instances/i-x", "", 404),
    "list": ("GET", "/regions", "", 200),
    "renew": ("PATCH", "/instances/i-x", '{"ttl": 60}', 404),
    "reap": ("POST", "/regions/drain", "{}", 422),
}


class Trust:
    """The issuers' files of functions that run: an own issuer and a CI's."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "issuers.yaml"
        for name in ("own", "ci", "next"):
            make_signing_key(home / name)
        self.write()

    def write(self, **of_ci: object) -> None:
        """Replace the issuers file by one that says something else of the CI."""
        common = {"audience": "a", "algorithms": ["ES256"]}
        own = common | {"issuer": "urn:own", "jwks_file": "own/jwks.json", "owner_prefix": "own:"}
        ci = common | {"issuer": CI, "jwks_file": "ci/jwks.json", "owner_prefix": "ci:"} | of_ci
        self._replace(self.file, json.dumps({"issuers": [own, ci]}))

    def take_key_out(self) -> None:
        """Replace the CI's keys by others."""
        self._replace(self.home / "ci/jwks.json", (self.home / "next/jwks.json").read_text())

    def revoke(self, token: str) -> None:
        """Replace the issuers file by one that revokes a token of the CI."""
        self.write(revoked=[jwt.get_unverified_claims(token)["jti"]])

    def token(self, key: str, issuer: str = CI) -> str:
        """Return a token signed with a key."""
        pem = self.home / key / "signing.pem"
        return issue_token(pem, owner="bea", scopes=SCOPES, ttl_s=600, issuer=issuer, audience="a")

    @staticmethod
    def _replace(path: Path, text: str) -> None:
        draft = path.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(path)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    """Return the files."""
    return Trust(tmp_path)


def revoke_at_gateway(ways: Mapping[str, Way], token: str) -> None:
    """Have the owner of a token take it back by the API."""
    named = jwt.get_unverified_claims(token)["jti"]
    assert ways["destroy"].call("DELETE", f"/tokens/{named}", token).is_success


# How a token is taken back: (files, functions behind the gateway, token).
TAKE_BACK: Mapping[str, Callable[[Trust, Mapping[str, Way], str], None]] = {
    "its key is taken out": lambda trust, _, __: trust.take_key_out(),
    "its issuer's entry revokes it": lambda trust, _, token: trust.revoke(token),
    "its owner revokes it": lambda _, ways, token: revoke_at_gateway(ways, token),
}


@pytest.fixture
def trusting(
    house: House, books: Books, trust: Trust, free_port: Callable[[], int]
) -> Iterator[dict[str, Door]]:
    """All functions, believing these issuers."""
    assert books
    started = {name: house.start(name, free_port(), OMS_ISSUERS_FILE=trust.file) for name in CALLS}
    try:
        yield {name: door.until_up() for name, door in started.items()}
    finally:
        codes = {name: door.stop() for name, door in started.items()}
    assert set(codes.values()) == {0}, codes


def ask(door: Door, token: str) -> int:
    """Call a function, and return its status."""
    method, path, body, _ = CALLS[door.name]
    return int(door.call(method, path, token, content=body).status_code)


class Clients:
    """Clients who call functions with a token without pause, each one function."""

    def __init__(self, doors: Mapping[str, Door], token: str) -> None:
        self.answers: dict[str, list[tuple[float, int]]] = {name: [] for name in doors}
        self._token = token
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(it,)) for it in doors.values()]
        for it in self._threads:
            it.start()

    def _call(self, door: Door) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            try:
                status = ask(door, self._token)
            except Exception:  # noqa: BLE001  told by the test, not by a thread
                status = 0
            self.answers[door.name].append((began, status))

    def wait_for(
        self, fact: Callable[[str, int], bool], what: str, within_s: float = PATIENCE_S
    ) -> None:
        """Wait until the last answer of every function is as wanted."""
        until = time.monotonic() + within_s
        while True:
            last = {name: told[-1][1] if told else 0 for name, told in self.answers.items()}
            if all(fact(name, status) for name, status in last.items()):
                return
            assert time.monotonic() < until, f"{what}: {last}"
            time.sleep(0.02)

    def wait_for_more(self, count: int) -> None:
        """Wait until every function has answered so often again."""
        wanted = {name: len(told) + count for name, told in self.answers.items()}
        until = time.monotonic() + PATIENCE_S
        while any(len(self.answers[name]) < it for name, it in wanted.items()):
            assert time.monotonic() < until
            time.sleep(0.02)

    def stop(self) -> None:
        """End them."""
        self._end.set()
        for it in self._threads:
            it.join()


def is_let_in(name: str, status: int) -> bool:
    """Whether this is the answer to somebody who is let in."""
    return status == CALLS[name][3]


def test_fail_closed_under_load_a_key_taken_out_lets_nobody_in_anywhere_and_others_never_notice(
    trusting: dict[str, Door], trust: Trust
) -> None:
    old, other = (
        Clients(trusting, trust.token("ci")),
        Clients(trusting, trust.token("own", "urn:own")),
    )
    try:
        for each in (old, other):
            each.wait_for(is_let_in, "let in at first")
        trust.take_key_out()
        old.wait_for(lambda _, status: status == 401, "refused", IN_FORCE_WITHIN_S)
        refused_at = time.monotonic()
        new = Clients(trusting, trust.token("next"))
        new.wait_for(is_let_in, "the new key")
        new.stop()
    finally:
        old.stop()
        other.stop()
    for name, told in old.answers.items():
        late = [status for began, status in told if began > refused_at]
        assert late, name
        assert set(late) == {401}, name
    for name, told in other.answers.items():
        assert {status for _, status in told} == {CALLS[name][3]}, name
    for name, told in new.answers.items():
        assert {status for _, status in told} == {CALLS[name][3]}, name


@pytest.mark.parametrize("take_back", TAKE_BACK.values(), ids=TAKE_BACK)
def test_fail_closed_under_load_at_the_gateway_a_token_taken_back_passes_no_function(
    trusting: dict[str, Door], trust: Trust, run_gateway: Any, ways: Any, take_back: Any
) -> None:
    """The gateway is not told, and passes it on; ten clients use it, and five another."""
    token, other = trust.token("ci"), trust.token("own", "urn:own")
    with run_gateway(trusting, trust.file) as url:
        functions = ways(url)
        losing = [Clients(functions, token), Clients(functions, token)]
        beside = Clients(functions, other)
        try:
            for each in (*losing, beside):
                each.wait_for(is_let_in, "let in at first")
            take_back(trust, functions, token)
            for each in losing:
                each.wait_for(lambda _, status: status == 401, "refused", IN_FORCE_WITHIN_S)
            refused_at = time.monotonic()
            for each in losing:
                each.wait_for_more(5)
        finally:
            for each in (*losing, beside):
                each.stop()
    for each in losing:
        for name, told in each.answers.items():
            assert {status for _, status in told} == {CALLS[name][3], 401}, name
            assert {status for began, status in told if began > refused_at} == {401}, name
    for name, told in beside.answers.items():
        assert {status for _, status in told} == {CALLS[name][3]}, name


def test_what_an_issuer_means_is_in_force_for_tokens_seen_before(
    trusting: dict[str, Door], trust: Trust, answers: ModuleType
) -> None:
    door, token = trusting["list"], trust.token("ci")
    assert ask(door, token) == 200
    trust.write(scope_claim="roles")
    until = time.monotonic() + IN_FORCE_WITHIN_S
    while ask(door, token) == 200:
        assert time.monotonic() < until
    answers.refused(door.call("GET", "/regions", token), 403, "insufficient-scope")
    trust.file.write_text("issuers: [")
    trust.file.unlink()
    while ask(door, token) == 403:
        assert time.monotonic() < until
    answers.refused(door.call("GET", "/regions", token), 401, "unauthenticated")
    trust.write()
    while ask(door, token) != 200:
        assert time.monotonic() < until
