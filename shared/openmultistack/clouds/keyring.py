"""The fleet's keys for marks: a file of one key a line. The first signs, all verify.

A line is `KEY-ID:SECRET`, the secret 32 bytes in base64url; blank lines, and those that begin with
`#`, say nothing. To change keys put a new first line; an old one may leave when no server carries
its signature any more, which `oms doctor` counts.
"""

import hmac
import os
import re
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from openmultistack.domain.errors import ConfigurationError
from openmultistack.domain.strict import decode_base64url, encode_base64url
from openmultistack.rereading import Reread

SECRET_BYTES = 32
_EXPECTED = f"expected KEY-ID:SECRET, up to 16 letters and digits, {SECRET_BYTES} bytes base64url"


class MarksKey:
    """One key; what it is of is never shown."""

    def __init__(self, key_id: str, secret: bytes) -> None:
        self.id = key_id
        self._secret = secret

    def sign(self, content: bytes) -> bytes:
        """Return the 32 bytes of HMAC-SHA256 of a content."""
        return hmac.digest(self._secret, content, "sha256")

    def __repr__(self) -> str:
        """Name the key."""
        return f"MarksKey({self.id!r})"


class Keyring:
    """The keys of a fleet at one moment; without any nothing is signed, and nothing verifies."""

    def __init__(self, keys: Sequence[MarksKey] = ()) -> None:
        self.keys = tuple(keys)
        self._by_id = {it.id: it for it in self.keys}

    @property
    def signer(self) -> MarksKey:
        """The key that signs.

        Raises:
            ConfigurationError: there is none.
        """
        if not self.keys:
            raise ConfigurationError("environment", "OMS_MARKS_KEYS_FILE", NO_KEYS)
        return self.keys[0]

    def find(self, key_id: str) -> MarksKey | None:
        """Return the key of an id."""
        return self._by_id.get(key_id)


NO_KEYS = (
    "expected the path of a file of keys that servers' marks are signed with, one"
    " `KEY-ID:SECRET` a line; `python -m openmultistack.clouds.keyring FILE` makes one"
)
NO_KEYRING = Keyring()
Keys = Callable[[], Keyring]


def no_keys() -> Keyring:
    """Return the keyring of who signs nothing."""
    return NO_KEYRING


def read_keyring(path: Path) -> Keyring:
    """Return the keys of a file.

    Raises:
        ConfigurationError: it cannot be read, or a line is no key; never shows what is in it.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ConfigurationError(str(path), "", f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigurationError(str(path), "", "expected text, one key a line") from None
    keys: dict[str, MarksKey] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        key = _key(line.strip())
        if key is None:
            raise ConfigurationError(str(path), f"line {number}", _EXPECTED)
        if key.id in keys:
            raise ConfigurationError(str(path), f"line {number}", f"the id {key.id} comes twice")
        keys[key.id] = key
    if not keys:
        raise ConfigurationError(str(path), "", f"has no key: {_EXPECTED}")
    return Keyring(list(keys.values()))


def _key(line: str) -> MarksKey | None:
    key_id, _, text = line.partition(":")
    try:
        secret = decode_base64url(text.removesuffix("="))
    except ValueError:
        return None
    if not re.fullmatch(r"[A-Za-z0-9]{1,16}", key_id) or len(secret) != SECRET_BYTES:
        return None
    return MarksKey(key_id, secret)


def make_keyring(path: Path) -> None:
    """Make a file of one key where there is none, for its owner alone; safe to repeat and to race.

    One that is there stays as it is: servers carry its signatures.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    line = f"{secrets.token_hex(4)}:{encode_base64url(secrets.token_bytes(SECRET_BYTES))}\n"
    if not path.exists():
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(line)
        with suppress(FileExistsError):  # somebody else made it meanwhile
            path.hardlink_to(draft)
        draft.unlink()
    path.chmod(0o600)


class KeyringFile(Reread[Keyring]):
    """A file of keys that is read again when it changes; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it is not as it must be.
        """
        super().__init__(
            "marks keys",
            lambda: read_keyring(path),
            [path],
            told=lambda keyring: {"keys": [it.id for it in keyring.keys]},
        )


if __name__ == "__main__":
    make_keyring(Path(sys.argv[1]))
