"""The shelf: what processes leave for one another, to spare them work; all of it may be lost."""

from openmultistack.ledger.reading import Readings


class Shelf(Readings):
    """Texts by name, each for a while; what is secret comes sealed."""

    def recall(self, name: str) -> tuple[str, int] | None:
        """Return what was left under a name, and for how many ms it stays."""
        with self._pipeline() as pipe:
            pipe.get(self._keys.shelf(name))
            pipe.pttl(self._keys.shelf(name))
            text, left_ms = pipe.execute()
        return (text, left_ms) if text and left_ms > 0 else None

    def leave(self, name: str, text: str, *, for_ms: int) -> None:
        """Leave a text under a name, in place of what was there."""
        with self._pipeline() as pipe:
            pipe.set(self._keys.shelf(name), text, px=for_ms)
            pipe.execute()

    def turn(self, name: str, *, for_ms: int) -> bool:
        """Return whether it is the caller's turn to do something, and nobody else's for a while."""
        with self._pipeline() as pipe:
            pipe.set(self._keys.turn(name), "1", px=for_ms, nx=True)
            return bool(pipe.execute()[0])

    def take_back(self, name: str) -> None:
        """Leave nothing under a name."""
        with self._pipeline() as pipe:
            pipe.delete(self._keys.shelf(name))
            pipe.execute()

    def end_turn(self, name: str) -> None:
        """Let it be somebody else's turn."""
        with self._pipeline() as pipe:
            pipe.delete(self._keys.turn(name))
            pipe.execute()
