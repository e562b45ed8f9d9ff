"""Trust that is given and taken back while Envoy runs and is called without pause.

The functions here let everybody in: whoever is refused is refused by the gateway.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import httpx
import pytest

from infra.gateway import gate
from openmultistack.auth.own_issuer import issue_token, make_signing_key

ROOT = Path(__file__).parent.parent.parent
# What the issue allows.
IN_FORCE_WITHIN_S = 30.0
ISSUERS = {"own": "urn:own", "ci": "https://ci.example"}
LET_IN, REFUSED = 200, 401


class Trust:
    """Files of two issuers, the gate that is made of them, and who keeps that."""

    def __init__(self, home: Path) -> None:
        self.home, self.file, self.gate_file = home, home / "issuers.yaml", home / "gate.json"
        self._keeper: subprocess.Popen[bytes] | None = None
        self.keys = {}
        for name in ("own", "ci", "next"):
            make_signing_key(home / name)
            self.keys[name] = json.loads((home / name / "jwks.json").read_text())["keys"]
        self.tokens = {
            "own": self.token("own", "own"),
            "ci": self.token("ci", "ci"),
            "next": self.token("next", "ci"),
            "swapped": self.token("own", "ci"),
        }
        self.believe()
        self.give("ci")

    def token(self, key: str, issuer: str) -> str:
        """Return a token of an issuer, signed with a key."""
        return issue_token(
            self.home / key / "signing.pem", owner="bea", scopes=[], ttl_s=900,
            issuer=ISSUERS[issuer], audience="a",
        )  # fmt: skip

    def believe(self, *names: str, **of_ci: object) -> None:
        """Write the issuers file: both, if nothing is said."""
        entries = [
            {"issuer": ISSUERS[it], "audience": "a", "algorithms": ["ES256"],
             "owner_prefix": f"{it}:", "jwks_file": f"{it}/jwks.json"}
            for it in names or ("own", "ci")
        ]  # fmt: skip
        entries[-1] |= of_ci
        self.replace("issuers.yaml", json.dumps({"issuers": entries}))

    def give(self, *keys: str) -> None:
        """Write the file of the CI's keys."""
        self.replace(
            "ci/jwks.json", json.dumps({"keys": [it for k in keys for it in self.keys[k]]})
        )

    def replace(self, name: str, text: str) -> None:
        """Put another file in place of one, by rename."""
        draft = (self.home / name).with_suffix(".draft")
        draft.write_text(text)
        draft.replace(self.home / name)

    def lose(self, name: str) -> None:
        """Remove a file."""
        (self.home / name).unlink()

    def keep(self) -> None:
        """Start who keeps the gate."""
        command = [sys.executable, "-m", "infra.gateway.gatekeeper"]
        command += ["--issuers", str(self.file), "--gate", str(self.gate_file)]
        with (self.home / "log").open("ab") as out, (self.home / "err").open("ab") as err:
            self._keeper = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err)

    def let_go(self) -> None:
        """End who keeps the gate; may be repeated."""
        if self._keeper:
            self._keeper.send_signal(signal.SIGTERM)
            assert self._keeper.wait(30) == -signal.SIGTERM, (self.home / "err").read_text()
            self._keeper = None

    def log(self) -> list[dict[str, object]]:
        """Return what the keeper said."""
        whole = (self.home / "log").read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for_line(self, outcome: str, since: int = 0) -> dict[str, object]:
        """Return the first line of an outcome after so many lines."""
        until = time.monotonic() + IN_FORCE_WITHIN_S
        while time.monotonic() < until:
            for line in self.log()[since:]:
                if str(line["outcome"]).startswith(outcome):
                    return line
            time.sleep(0.05)
        raise AssertionError(f"no line {outcome!r}: {self.log()}")


class Clients:
    """Clients who call without pause, each on a connection of its own: one token or none each."""

    def __init__(self, url: str, tokens: dict[str, str | None]) -> None:
        self.answers: dict[str, list[int]] = {name: [] for name in tokens}
        self._url, self._end = url, threading.Event()
        self._threads = [threading.Thread(target=self._call, args=it) for it in tokens.items()]

    def _call(self, name: str, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(base_url=self._url, headers=headers, timeout=30) as http:
            while not self._end.is_set():
                try:
                    answer = http.get("/v1/regions")
                except httpx.ConnectError:
                    self.answers[name].append(0)
                else:
                    self.answers[name].append(answer.status_code)

    def __enter__(self) -> Self:
        for it in self._threads:
            it.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for it in self._threads:
            it.join()

    def wait_for(self, wanted: dict[str, int]) -> None:
        """Return when the next answers of all are as wanted, or fail."""
        until = time.monotonic() + IN_FORCE_WITHIN_S
        while self.next_answers() != wanted:
            assert time.monotonic() < until, (wanted, self.next_answers())

    def next_answers(self) -> dict[str, int]:
        """Return what everybody is answered to a request that is made from now on."""
        before = {name: len(told) for name, told in self.answers.items()}
        until = time.monotonic() + IN_FORCE_WITHIN_S
        while any(len(told) < before[name] + 2 for name, told in self.answers.items()):
            assert time.monotonic() < until
            time.sleep(0.01)
        return {name: told[before[name] + 1] for name, told in self.answers.items()}


NEVER = {"nobody": None, "nonsense": "nonsense"}


def answers(own: int, ci: int, following: int = REFUSED) -> dict[str, int]:
    """Return what is answered to whom; the others never get in."""
    never = dict.fromkeys((*NEVER, "swapped"), REFUSED)
    return never | {"own": own, "ci": ci, "next": following}


AT_FIRST = answers(LET_IN, LET_IN)
CHANGES = {
    "a key is taken out": (lambda it: it.give("next"), answers(LET_IN, REFUSED, LET_IN)),
    "a key is added": (lambda it: it.give("ci", "next"), answers(LET_IN, LET_IN, LET_IN)),
    "an issuer is taken out": (lambda it: it.believe("own"), answers(LET_IN, REFUSED)),
    "its audience is another": (lambda it: it.believe(audience="b"), answers(LET_IN, REFUSED)),
    "its keys are gone": (lambda it: it.lose("ci/jwks.json"), answers(LET_IN, REFUSED)),
    "the issuers are gone": (lambda it: it.lose("issuers.yaml"), answers(REFUSED, REFUSED)),
    "the list is empty": (
        lambda it: it.replace("issuers.yaml", "issuers: []\n"),
        answers(REFUSED, REFUSED),
    ),
}


@pytest.fixture
def trust(tmp_path):
    """The files; nobody keeps the gate yet, which is not there."""
    it = Trust(tmp_path)
    yield it
    it.let_go()


@pytest.fixture
def kept(trust):
    """The same with a gate that is kept."""
    trust.keep()
    trust.wait_for_line("handed to the gateway")
    return trust


@pytest.fixture
def clients(kept, run_gateway):
    """Those who call a gateway of that gate, answered as they should be."""
    with (
        run_gateway(gate_file=kept.gate_file) as gateway,
        Clients(gateway.url, NEVER | kept.tokens) as them,
    ):
        them.wait_for(AT_FIRST)
        yield them


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_what_changes_is_in_force_at_the_gateway_and_those_whom_it_leaves_alone_never_notice(
    kept, clients, change, expected
):
    """And back again. Nobody without a good token is let in at any moment."""
    change(kept)
    clients.wait_for(expected)
    kept.believe()
    kept.give("ci")
    clients.wait_for(AT_FIRST)
    for name, told in clients.answers.items():
        assert set(told) == {AT_FIRST[name], expected[name]}, name


@pytest.mark.parametrize("name", ["issuers.yaml", "ci/jwks.json"])
@pytest.mark.parametrize("text", ["{", '{"keys": [{"kid": "x"}]}', '{"issuers": [{}]}'])
def test_a_bad_file_changes_nothing_and_the_log_says_so(kept, clients, name, text):
    before = kept.gate_file.read_text()
    kept.replace(name, text)
    line = kept.wait_for_line("bad")
    assert (line["event"], line["level"]) == ("issuers", "warning")
    assert str(kept.home / name) in str(line["detail"])
    assert clients.next_answers() == AT_FIRST
    assert kept.gate_file.read_text() == before
    assert {name: set(told) for name, told in clients.answers.items()} == {
        name: {it} for name, it in AT_FIRST.items()
    }
    kept.give("next")
    kept.believe()
    clients.wait_for(answers(LET_IN, REFUSED, LET_IN))


def test_the_refusal_is_the_gateways_own(kept, run_gateway, expect_problem):
    with run_gateway(gate_file=kept.gate_file) as gateway:
        kept.give("next")
        until = time.monotonic() + IN_FORCE_WITHIN_S
        while (answer := gateway.call("GET", "/v1/regions", kept.tokens["ci"])).is_success:
            assert time.monotonic() < until
        document = expect_problem(answer, 401, "unauthenticated")
        line = gateway.line(document["request_id"])
    assert line["upstream"] is None
    assert line["details"].startswith("jwt_authn_access_denied")


@pytest.mark.parametrize(
    "name", ["a key is taken out", "its keys are gone", "the issuers are gone"]
)
def test_what_changed_while_nobody_kept_the_gate_is_in_force_once_somebody_does(
    kept, clients, name
):
    change, expected = CHANGES[name]
    kept.let_go()
    change(kept)
    assert clients.next_answers() == AT_FIRST
    kept.keep()
    clients.wait_for(expected)


def test_files_that_became_bad_while_nobody_kept_the_gate_change_nothing(kept, clients):
    kept.let_go()
    since = len(kept.log())
    kept.replace("issuers.yaml", "{")
    kept.keep()
    line = kept.wait_for_line("bad: what the gateway has stays in force", since)
    assert (line["event"], line["level"]) == ("issuers", "warning")
    assert clients.next_answers() == AT_FIRST
    kept.believe("own")
    clients.wait_for(answers(LET_IN, REFUSED))


def test_a_gate_that_others_have_spoiled_is_put_right(kept, clients):
    """Envoy does not take it meanwhile, nor one that is not there."""
    for spoil in (
        lambda: gate.put(kept.gate_file, "{"),
        lambda: gate.put(kept.gate_file, '{"version_info": "1", "resources": []}'),
        kept.gate_file.unlink,
    ):
        good, since = kept.gate_file.read_text(), len(kept.log())
        spoil()
        kept.wait_for_line("handed to the gateway", since)
        assert kept.gate_file.read_text() == good
        assert kept.gate_file.stat().st_mode & 0o777 == 0o600
    kept.give("next")
    clients.wait_for(answers(LET_IN, REFUSED, LET_IN))
    assert set(clients.answers["own"]) == {LET_IN}
    assert set(clients.answers["nobody"]) == {REFUSED}


def test_a_gate_that_cannot_be_written_is_told_and_written_once_it_can(kept, clients):
    (kept.home / "gate.json.new").mkdir()
    kept.give("next")
    line = kept.wait_for_line("not handed to the gateway")
    assert str(kept.gate_file) in str(line["detail"])
    (kept.home / "gate.json.new").rmdir()
    clients.wait_for(answers(LET_IN, REFUSED, LET_IN))


@pytest.mark.parametrize("first", ["{", '{"version_info": "1", "resources": []}'])
def test_fail_closed_nobody_is_let_in_while_envoy_starts_and_before_it_has_a_good_gate(
    trust, run_gateway, first
):
    """Not even those who would be; a good gate mends it as it runs."""
    gate.put(trust.gate_file, first)
    with (
        run_gateway(gate_file=trust.gate_file, is_waited_for=False) as gateway,
        Clients(gateway.url, NEVER | trust.tokens) as clients,
    ):
        gateway.wait()
        assert set(clients.next_answers().values()) == {500}
        trust.keep()
        clients.wait_for(AT_FIRST)
    for name, told in clients.answers.items():
        assert set(told) - {0} == {500, AT_FIRST[name]}, name


def test_fail_closed_nobody_is_let_in_while_envoy_starts_with_a_good_gate(kept, run_gateway):
    with (
        run_gateway(gate_file=kept.gate_file, is_waited_for=False) as gateway,
        Clients(gateway.url, NEVER | kept.tokens) as clients,
    ):
        clients.wait_for(AT_FIRST)
    for name, told in clients.answers.items():
        assert set(told) - {0} == {AT_FIRST[name]}, name


def test_fail_closed_without_a_gate_envoy_does_not_start(trust, run_gateway):
    with (
        run_gateway(gate_file=trust.gate_file, is_waited_for=False) as gateway,
        pytest.raises(TimeoutError),
    ):
        gateway.wait()
