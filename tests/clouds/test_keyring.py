"""The file of keys that servers' marks are signed with."""

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from openmultistack import rereading
from openmultistack.clouds import keyring
from openmultistack.clouds.keyring import Keyring, KeyringFile, make_keyring, read_keyring
from openmultistack.domain.errors import ConfigurationError

ONE, TWO = "A" * 43, "B" * 42 + "A"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of two keys."""
    path = tmp_path / "marks.keys"
    path.write_text(f"# the new one\nk2:{TWO}\n\nk1:{ONE}\n")
    return path


def test_the_first_key_signs_and_all_are_found_by_their_ids(file: Path) -> None:
    keys = read_keyring(file)
    assert [it.id for it in keys.keys] == ["k2", "k1"]
    assert keys.signer.id == "k2"
    first, other = keys.find("k1"), keys.find("k2")
    assert first
    assert other
    assert first.sign(b"x") != other.sign(b"x")
    assert len(first.sign(b"x")) == 32
    assert keys.find("k3") is None


def test_a_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "marks.keys"
    make_keyring(path)
    made = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keyring(path).signer
    path.chmod(0o644)
    make_keyring(path)
    assert path.read_text() == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_of_those_who_make_it_at_once_all_have_the_same(tmp_path: Path) -> None:
    path, seen = tmp_path / "marks.keys", set()

    def make() -> None:
        make_keyring(path)
        seen.add(path.read_text())

    threads = [threading.Thread(target=make) for _ in range(8)]
    for it in threads:
        it.start()
    for it in threads:
        it.join()
    assert len(seen) == 1


def test_the_command_that_the_refusal_names_makes_one(tmp_path: Path) -> None:
    path = tmp_path / "marks.keys"
    assert "python -m openmultistack.clouds.keyring FILE" in keyring.NO_KEYS
    command = [sys.executable, "-m", "openmultistack.clouds.keyring", str(path)]
    subprocess.run(command, check=True)
    assert read_keyring(path).signer


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", ""),
        ("# nothing\n", ""),
        ("k1:SECRETSECRET", "line 1"),
        (f"k1:SECRET{ONE}", "line 1"),
        (f"k1:{ONE}\nSECRET{ONE}", "line 2"),
        (f":SECRET{ONE[6:]}", "line 1"),
        (f"k 1:SECRET{ONE[6:]}", "line 1"),
        (f"{'k' * 17}:SECRET{ONE[6:]}", "line 1"),
        (f"k1:SECRET+{ONE[7:]}", "line 1"),
        (f"k1:{ONE}\nk1:SECRET{ONE[6:]}", "line 2"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_refused_and_never_shown(
    tmp_path: Path, text: str, key: str
) -> None:
    path = tmp_path / "marks.keys"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_keyring(path)
    assert str(path) in str(refused.value)
    assert key in str(refused.value)
    assert "SECRET" not in str(refused.value).replace("KEY-ID:SECRET", "")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("is-not-there", "binary", "."):
        with pytest.raises(ConfigurationError, match=r"expected text|cannot be read"):
            read_keyring(tmp_path / name)


def test_a_key_does_not_show_what_it_is_of(file: Path) -> None:
    assert [repr(it) for it in read_keyring(file).keys] == ["MarksKey('k2')", "MarksKey('k1')"]


def test_without_keys_nothing_is_signed() -> None:
    with pytest.raises(ConfigurationError, match="OMS_MARKS_KEYS_FILE"):
        _ = Keyring().signer


def test_a_file_that_changes_is_read_again_and_a_bad_one_changes_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rereading, "LOOK_EVERY_S", 0)
    kept = KeyringFile(file)
    assert kept.now().signer.id == "k2"
    file.write_text(f"k3:{ONE}\n")
    assert [it.id for it in kept.now().keys] == ["k3"]
    file.write_text("k4:short\n")
    assert kept.now().signer.id == "k3"
    file.unlink()
    assert kept.now().signer.id == "k3"
    file.write_text(f"k5:{ONE}\n")
    assert kept.now().signer.id == "k5"


def test_it_is_looked_at_every_few_seconds_only(file: Path) -> None:
    kept = KeyringFile(file)
    file.write_text(f"k3:{ONE}\n")
    assert kept.now().signer.id == "k2"
