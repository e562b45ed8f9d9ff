"""What marks and names are signed with, and as which text."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from openmultistack.clouds.keyring import Keyring

VERSION = "1"


class Signing(NamedTuple):
    """What marks are signed with, and for."""

    keyring: Keyring
    fleet: str
    # `Place.id`
    place: str


def canonical(told: Sequence[object]) -> bytes:
    """Return values as one text that no other values have."""
    return json.dumps(told, separators=(",", ":")).encode()
