"""Whom a process believes now: the issuers' files, looked at again while it runs.

What the files say counts from a look on, for tokens seen before as well. A file that is *gone* lets
nobody in: without the issuers file nobody, without a file of keys nobody of its issuer.
"""

from collections.abc import Mapping
from pathlib import Path

from openmultistack.auth.issuers import Issuer, load_issuers
from openmultistack.rereading import Reread, Seen, stamp_of


class Believed(Reread[Mapping[str, Issuer]]):
    """The issuers that an issuers file names, with their keys; safe to share between threads."""

    def __init__(self, path: Path | None, *, may_be_gone: bool = False) -> None:
        """Read the files; without a path nobody is believed.

        `may_be_gone`: a file that is gone lets nobody in from the start, as it does later.

        Raises:
            ConfigurationError: a file is wrong; or missing, unless it may be gone.
        """
        self._may_be_gone = may_be_gone
        super().__init__(
            "issuers",
            lambda: load_issuers(path) if path else {},
            [path] if path else [],
            told=lambda issuers: {"issuers": list(issuers)},
        )
        self._may_be_gone = True

    def _read(self) -> tuple[Seen, Mapping[str, Issuer]]:
        seen = {it: stamp_of(it) for it in self._paths}
        if self._may_be_gone and None in seen.values():
            return seen, {}
        believed = {}
        for name, issuer in self._read_value().items():
            seen[issuer.jwks_file] = stamp_of(issuer.jwks_file)
            if self._may_be_gone and seen[issuer.jwks_file] is None:
                continue
            _ = issuer.keys  # read now, not at the first token
            believed[name] = issuer
        return seen, believed

    def _kept(self, value: Mapping[str, Issuer]) -> Mapping[str, Issuer]:
        """Drop those whose keys are gone; the same object if none are."""
        kept = {name: it for name, it in value.items() if stamp_of(it.jwks_file) is not None}
        return kept if len(kept) < len(value) else value

    def _tell_unchanged(self) -> None:
        gone = [str(it) for it, identity in self._seen.items() if identity is None]
        if gone:
            self._tell_now_and_then(outcome="gone: nobody is let in by these", files=gone)
