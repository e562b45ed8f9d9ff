"""What an operator takes out of the issuers' files counts no more, in a process that runs on."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jose import jwt
from structlog.testing import capture_logs

from openmultistack.auth import believed
from openmultistack.auth.believed import Believed
from openmultistack.auth.callers import Callers
from openmultistack.auth.own_issuer import issue_token, make_signing_key
from openmultistack.domain.errors import ConfigurationError, Unauthenticated
from openmultistack.rereading import LOOK_EVERY_S

OWN, CI = "urn:own", "https://ci.example"


class Files:
    """The files of two issuers, and a clock; what is written replaces by rename."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        for name in ("own", "ci"):
            make_signing_key(home / name)
        self.issuers: list[dict[str, Any]] = [
            {"issuer": OWN, "audience": "a", "algorithms": ["ES256"], "owner_prefix": "own:",
             "jwks_file": "own/jwks.json"},
            {"issuer": CI, "audience": "a", "algorithms": ["ES256"], "owner_prefix": "ci:",
             "jwks_file": "ci/jwks.json"},
        ]  # fmt: skip
        self.file = home / "issuers.yaml"
        self.write()
        self.believed = Believed(self.file)
        self.callers = Callers(self.believed.now)
        self.tokens = {name: self.issue(name) for name in ("own", "ci")}

    def issue(self, name: str) -> str:
        """Return a new token of an issuer."""
        pem, issuer = self.home / name / "signing.pem", {"own": OWN, "ci": CI}[name]
        scopes = ["fleet:read"]
        return issue_token(pem, owner="bea", scopes=scopes, ttl_s=600, issuer=issuer, audience="a")

    def text(self) -> str:
        """Return the issuers file as it is to be."""
        return json.dumps({"issuers": self.issuers})

    def write(self) -> None:
        """Write the issuers as they are now."""
        self.replace(self.file, self.text())

    def replace(self, path: Path, text: str) -> None:
        """Put another file in place of one."""
        draft = path.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(path)

    def later(self, seconds: float = LOOK_EVERY_S) -> None:
        """Let time pass."""
        self.now += seconds

    def owner(self, name: str) -> str | None:
        """Return whom an issuer's token names; None if it is refused."""
        try:
            return self.callers.named_by(self.tokens[name]).owner
        except Unauthenticated:
            return None

    def owners(self) -> list[str | None]:
        """Return whom the token of each issuer names."""
        return [self.owner("own"), self.owner("ci")]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Two issuers whose tokens were let in already."""
    found = Files(tmp_path, monkeypatch)
    assert found.owners() == ["own:bea", "ci:bea"]
    return found


def take_out_issuer(files: Files) -> None:
    """Believe only the own issuer."""
    del files.issuers[1]
    files.write()


def take_out_key(files: Files) -> None:
    """Believe another key of the CI's."""
    make_signing_key(files.home / "other")
    files.replace(files.home / "ci/jwks.json", (files.home / "other/jwks.json").read_text())


def rename_prefix(files: Files) -> None:
    """Name the CI's owners otherwise."""
    files.issuers[1]["owner_prefix"] = "build:"
    files.write()


def change_audience(files: Files) -> None:
    """Want another audience of the CI."""
    files.issuers[1]["audience"] = "b"
    files.write()


def lose_issuers(files: Files) -> None:
    """Lose the issuers file."""
    files.file.unlink()


def lose_keys(files: Files) -> None:
    """Lose the keys of the CI."""
    (files.home / "ci/jwks.json").unlink()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (take_out_issuer, ["own:bea", None]),
        (take_out_key, ["own:bea", None]),
        (rename_prefix, ["own:bea", "build:bea"]),
        (change_audience, ["own:bea", None]),
        (lose_issuers, [None, None]),
        (lose_keys, ["own:bea", None]),
    ],
)
def test_what_changed_counts_for_tokens_seen_before(
    files: Files, change: Callable[[Files], None], expected: list[str | None]
) -> None:
    before = {it: it.read_text() for it in (files.file, files.home / "ci/jwks.json")}
    change(files)
    files.later(1)
    assert files.owners() == ["own:bea", "ci:bea"], "no file is looked at in every request"
    files.later()
    assert files.owners() == expected
    for path, text in before.items():
        files.replace(path, text)
    files.later()
    assert files.owners() == ["own:bea", "ci:bea"], "and back again"


def jti(files: Files, name: str) -> str:
    """Return the jti of an issuer's token."""
    return str(jwt.get_unverified_claims(files.tokens[name])["jti"])


def test_a_revoked_token_is_refused_and_others_of_its_issuer_are_not(files: Files) -> None:
    first = files.tokens["ci"]
    files.issuers[1]["revoked"] = ["another", {"jti": jti(files, "ci")}]
    files.issuers[0]["revoked"] = [jti(files, "ci")]
    files.write()
    files.later()
    assert files.owners() == ["own:bea", None]
    files.tokens["ci"] = files.issue("ci")
    assert files.tokens["ci"] != first
    assert files.owners() == ["own:bea", "ci:bea"]


@pytest.mark.parametrize(("until", "owner"), [(60, None), (-60, "ci:bea")])
def test_a_revocation_may_have_an_end(files: Files, until: int, owner: str | None) -> None:
    at = int(time.time()) + until
    files.issuers[1]["revoked"] = [{"jti": jti(files, "ci"), "until": at}]
    files.write()
    files.later()
    assert files.owner("ci") == owner


def test_tokens_issued_before_a_time_are_refused_and_those_of_no_known_time(files: Files) -> None:
    for not_before, owner in ((-60, "ci:bea"), (60, None)):
        at = datetime.fromtimestamp(time.time() + not_before, UTC).isoformat()
        files.replace(files.file, files.text().replace('"ci:"', f'"ci:", "not_before": {at}'))
        files.later()
        assert files.owners() == ["own:bea", owner], not_before
    pem = (files.home / "ci/signing.pem").read_text()
    claims = jwt.get_unverified_claims(files.issue("ci"))
    head = jwt.get_unverified_header(files.tokens["ci"])
    files.tokens["ci"] = jwt.encode(
        {name: it for name, it in claims.items() if name != "iat"}, pem, "ES256", headers=head
    )
    assert files.owner("ci") is None
    files.write()
    files.later()
    assert files.owner("ci") == "ci:bea"


def test_another_claim_of_scopes_counts_for_tokens_seen_before(files: Files) -> None:
    files.issuers[0]["scope_claim"] = "roles"
    files.write()
    files.later()
    assert files.callers.named_by(files.tokens["own"]).scopes == frozenset()


@pytest.mark.parametrize("name", ["issuers.yaml", "ci/jwks.json"])
@pytest.mark.parametrize("text", ["", "{", '{"keys": [{"kid": "x"}]}', '{"issuers": [{}]}', "\0"])
def test_a_bad_file_changes_nothing_and_the_log_says_so_once_a_minute(
    files: Files, name: str, text: str
) -> None:
    good = (files.home / name).read_text()
    files.replace(files.home / name, text)
    with capture_logs() as lines:
        for _ in range(25):
            files.later()
            assert files.owners() == ["own:bea", "ci:bea"]
    told = [it for it in lines if it["event"] == "issuers"]
    assert [it["log_level"] for it in told] == ["warning"] * 2
    assert all(name in it["detail"] for it in told)
    files.replace(files.home / name, good)
    files.later()
    assert files.owners() == ["own:bea", "ci:bea"]
    take_out_issuer(files)
    files.later()
    assert files.owners() == ["own:bea", None], "what is good again is read"


def test_fail_closed_keys_that_are_gone_while_the_issuers_file_is_bad(files: Files) -> None:
    files.replace(files.file, "{")
    lose_keys(files)
    files.later()
    assert files.owners() == ["own:bea", None]


def test_files_that_are_exchanged_for_bad_ones_and_back_are_believed_again(
    files: Files, tmp_path: Path
) -> None:
    """As a platform does that mounts files by a link to a folder: nothing of the files changes."""
    bad, link = tmp_path / "bad", tmp_path / "link"
    bad.mkdir()
    (bad / "issuers.yaml").write_text("{")
    (bad / "own").symlink_to(files.home / "own")
    link.symlink_to(files.home)
    files.callers = Callers(Believed(link / "issuers.yaml").now)
    for target, owners in ((bad, ["own:bea", None]), (files.home, ["own:bea", "ci:bea"])):
        link.with_suffix(".new").symlink_to(target)
        link.with_suffix(".new").replace(link)
        files.later()
        assert files.owners() == owners


def test_gone_files_are_told_of_once_a_minute(files: Files) -> None:
    lose_issuers(files)
    with capture_logs() as lines:
        for _ in range(25):
            files.later()
            assert files.owners() == [None, None]
    told = [it for it in lines if it["log_level"] == "warning"]
    assert [it["files"] for it in told] == [[str(files.file)]] * 2


def test_nothing_is_read_while_nothing_changes(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(believed, "load_issuers", None)
    for _ in range(5):
        files.later()
        assert files.owners() == ["own:bea", "ci:bea"]


def test_a_missing_file_of_keys_is_refused_at_start(files: Files) -> None:
    lose_keys(files)
    with pytest.raises(ConfigurationError, match="ci/jwks"):
        Believed(files.file)


@pytest.mark.parametrize(
    ("lose", "expected"), [(lose_issuers, []), (lose_keys, [OWN])], ids=["issuers", "keys"]
)
def test_who_says_that_files_may_be_gone_starts_without_them_and_reads_them_once_they_are_there(
    files: Files, lose: Callable[[Files], None], expected: list[str]
) -> None:
    """Bad ones are refused all the same."""
    before = {it: it.read_text() for it in (files.file, files.home / "ci/jwks.json")}
    lose(files)
    started = Believed(files.file, may_be_gone=True)
    assert list(started.now()) == expected
    for path, text in before.items():
        files.replace(path, text)
    files.later()
    assert list(started.now()) == [OWN, CI]
    files.replace(files.file, "{")
    with pytest.raises(ConfigurationError, match=r"issuers\.yaml"):
        Believed(files.file, may_be_gone=True)


def test_without_a_file_nobody_is_believed() -> None:
    assert Believed(None).now() == {}
