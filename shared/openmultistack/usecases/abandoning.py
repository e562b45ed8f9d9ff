"""Abandoning: what a create could not have made as it was asked for is ended again."""

from collections.abc import Sequence

from openmultistack.ledger import Ledger, Wish
from openmultistack.provision.pursuing import Ending
from openmultistack.usecases.destroy import Destroying


class Abandoning:
    """Ends instances of a command that was admitted."""

    def __init__(self, ledger: Ledger, destroying: Destroying) -> None:
        self._ledger = ledger
        self._destroying = destroying

    def leave_out(self, wish: Wish, lost: Sequence[Ending]) -> Sequence[str]:
        """End those of a command that came to nothing; what somebody was told of stays, in ERROR.

        Returns the ids of those ended; a repeat under the command's key does not show them either.
        """
        ids = [it.attempt.instance_id for it in lost]
        gone = self._ledger.leave_out(wish.owner, wish.key, ids) if ids and wish.key else ids
        for instance_id in gone:
            self._abandon(instance_id, even_promised=True)
        return gone

    def give_up(self, wish: Wish, *, refused: bool) -> bool:
        """End all instances of a command; False if somebody has been told of them meanwhile."""
        even_promised = refused and wish.waiting is not None
        if wish.key:
            self._ledger.give_key_back(wish.owner, wish.key, wish.ids, even_promised=even_promised)
        ended = [self._abandon(it, even_promised=even_promised) for it in wish.ids]
        return all(ended)

    def _abandon(self, instance_id: str, *, even_promised: bool) -> bool:
        return all(
            self._destroying.destroy(
                instance,
                why="the command as a whole could not be served",
                only_if="" if even_promised else "unpromised",
                ended="refused",
            )
            for instance in self._ledger.get([instance_id])
        )
