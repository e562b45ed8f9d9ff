"""Keeps the gate in step with the issuers file and its files of keys, for as long as it runs.

    python -m infra.gateway.gatekeeper --issuers FILE --gate FILE

By the rules that the functions follow, with their code (openmultistack.auth.believed): what is
taken out or added is in force at the gateway within seconds; a bad file changes nothing, and the
log says so; one that is gone lets nobody in. Envoy takes the gate over by itself, and goes on with
what it has while nobody keeps the gate.
"""

import argparse
import time
from pathlib import Path

from infra.gateway import gate
from openmultistack.auth.believed import Believed
from openmultistack.domain.errors import ConfigurationError
from openmultistack.logs import tell
from openmultistack.rereading import TELL_EVERY_S

# The issuers' files are looked at less often, as the functions do.
TURN_EVERY_S = 1.0


class Keeper:
    """Whoever keeps the gate; without anything to write until the files were read once."""

    def __init__(self, issuers_file: Path, gate_file: Path) -> None:
        self._issuers_file, self._gate_file = issuers_file, gate_file
        self._believed: Believed | None = None
        self._warn_at = time.monotonic()

    def take_turn(self) -> None:
        """Have the gate say who is believed now; what goes wrong is tried again next time.

        Files that were bad from the start say nothing: what the gateway has stays in force.
        """
        try:
            if self._believed is None:
                self._believed = Believed(self._issuers_file, may_be_gone=True)
            self._hand_over(self._believed)
        except ConfigurationError as error:
            self._warn("bad: what the gateway has stays in force", str(error))
        except OSError as error:
            self._warn("not handed to the gateway", f"{self._gate_file}: {error.strerror}")

    def _hand_over(self, believed: Believed) -> None:
        issuers = believed.now()
        text = gate.document(issuers.values())
        if not self._gate_file.exists() or self._gate_file.read_text(errors="replace") != text:
            gate.put(self._gate_file, text)
            tell("issuers", outcome="handed to the gateway", issuers=list(issuers))

    def _warn(self, outcome: str, detail: str) -> None:
        if time.monotonic() >= self._warn_at:
            self._warn_at = time.monotonic() + TELL_EVERY_S
            tell("issuers", "warning", outcome=outcome, detail=detail)


def main() -> None:
    """Keep the gate until killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--issuers", type=Path, required=True)
    parser.add_argument("--gate", type=Path, required=True)
    given = parser.parse_args()
    keeper = Keeper(given.issuers, given.gate)
    while True:
        keeper.take_turn()
        time.sleep(TURN_EVERY_S)


if __name__ == "__main__":
    main()
