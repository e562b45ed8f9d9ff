"""Pauses before a login is tried again, which all of a fleet keep: accounts get locked."""

import json
import math
from datetime import UTC, datetime, timedelta

from openmultistack.clouds.openstack.sealing import SealedShelf
from openmultistack.domain.cloud_errors import AccountBroken, CloudError, RateLimited

# A refused login is tried again after this, then after twice as long, and so on: an account is
# locked as a rule after some five failures within minutes, and is free again after some minutes.
FIRST_S, LONGEST_S = 5, 300
# How often in a row it was refused is known for so long after the pause.
KNOWN_MS = 600_000
PAUSE = "pause"


class Pauses:
    """When one way to log in may be tried again; safe to share."""

    def __init__(self, shelf: SealedShelf) -> None:
        self._shelf = shelf

    def heed(self) -> int:
        """Return how often in a row the login was refused, now that it may be tried.

        Raises:
            AccountBroken: it may not; it was refused.
            RateLimited: it may not; the identity service asked for that.
        """
        found = self._shelf.recall(PAUSE)
        if found is None:
            return 0
        told, left_ms = json.loads(found[0]), found[1] - KNOWN_MS
        if left_ms <= 0:
            return int(told["times"])
        if told["wished"]:
            raise RateLimited(told["said"], retry_after_s=math.ceil(left_ms / 1000))
        raise AccountBroken(told["said"])

    def follow(self, error: CloudError, times: int) -> CloudError:
        """Have all of the fleet keep the pause that follows from a failed login, if one does.

        Returns what to raise; `times` is how often the login had been refused before.
        """
        if isinstance(error, RateLimited):
            self._leave(str(error), times, pause_s=error.retry_after_s, wished=True)
        elif isinstance(error, AccountBroken):
            pause_s = min(LONGEST_S, FIRST_S * 2**times)
            if self._shelf.is_shared:
                again = datetime.now(UTC) + timedelta(seconds=pause_s)
                error = AccountBroken(f"{error}; it is tried again at {again:%H:%M:%S} UTC")
            self._leave(str(error), times + 1, pause_s=pause_s, wished=False)
        return error

    def _leave(self, said: str, times: int, *, pause_s: float, wished: bool) -> None:
        text = json.dumps({"said": said, "times": times, "wished": wished})
        self._shelf.leave(PAUSE, text, for_ms=round(pause_s * 1000) + KNOWN_MS)

    def forget(self) -> None:
        """Begin anew: the login works."""
        self._shelf.take_back(PAUSE)

    def forgive(self) -> None:
        """Have a refused login tried at once; a pause that was asked for is kept."""
        found = self._shelf.recall(PAUSE)
        if found and not json.loads(found[0])["wished"]:
            self.forget()
