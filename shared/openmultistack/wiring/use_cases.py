"""The use cases over a ledger, a fleet and its clouds: functions, tests and measurements alike.

Each is made when it is first needed, and its modules are imported then: a function that needs
one of them does not pay for the others. What goes by the fleet is made anew when that has changed.
"""

from typing import TYPE_CHECKING, NamedTuple

from openmultistack.domain.bounds import THREADS
from openmultistack.domain.pace import PACE, Pace
from openmultistack.wiring.made_once import Kept, made_of, made_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from openmultistack.clouds import Clouds
    from openmultistack.fleet.config import Fleet
    from openmultistack.ledger import Ledger
    from openmultistack.provision.arriving import Arriving
    from openmultistack.provision.attempts import Attempts
    from openmultistack.provision.dequeuing import Serving
    from openmultistack.provision.leaving import Leaving
    from openmultistack.usecases.create import Creating
    from openmultistack.usecases.destroy import Destroying
    from openmultistack.usecases.drain import Draining
    from openmultistack.usecases.looking import Looking
    from openmultistack.usecases.reap import Reaping
    from openmultistack.usecases.vouch import Vouching
    from openmultistack.usecases.waiting_room import WaitingRoom

# What one POST may take at worst: its connect and read timeouts, and a margin.
CREATE_CALL_BUDGET_S = 35.0


class Ground(NamedTuple):
    """What use cases stand on; each part is asked for when it is needed, and every time."""

    # Name of the fleet.
    name: str
    ledger: "Callable[[], Ledger]"
    fleet: "Callable[[], Fleet]"
    clouds: "Callable[[], Clouds]"
    # How long an attempt may stay unproven, and what of that one POST may take.
    lease_ms: int
    call_budget_s: float = CREATE_CALL_BUDGET_S
    # How many requests a process serves at once.
    threads: int = THREADS
    # How long and how often a process looks on, and how much it does at once.
    pace: Pace = PACE
    # The fleet of this very moment; None if nobody knows it. If nothing is said it never changes.
    certain: "Callable[[], Fleet | None] | None" = None


def _fleet(use: "UseCases") -> object:
    """Return what is made anew when regions come or go: what is under way keeps what it has."""
    return use.on.fleet()


class UseCases(Kept):
    """Every use case of a process, and what several of them share."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.on = ground

    @made_once
    def arriving(self) -> "Arriving":
        """Return what looks after servers that are being built, in this process."""
        from openmultistack.provision.arriving import Arriving

        def shows_no_address(region: str) -> bool:
            return self.on.fleet().shows_no_address(region)

        return Arriving(self.on.ledger(), self.on.clouds(), self.on.pace.building, shows_no_address)

    @made_once
    def attempts(self) -> "Attempts":
        """Return what runs attempts, with the process' bound on each region."""
        from openmultistack.provision.attempts import Attempts

        return Attempts(
            self.on.ledger(),
            self.on.clouds(),
            self.arriving(),
            lease_ms=self.on.lease_ms,
            call_budget_s=self.on.call_budget_s,
            pace=self.on.pace,
        )

    @made_of(_fleet)
    def serving(self) -> "Serving":
        """Return what fills free slots from the queue."""
        from openmultistack.provision.dequeuing import Serving

        return Serving(self.on.ledger(), self.on.fleet(), self.on.name, self.attempts())

    @made_once
    def leaving(self) -> "Leaving":
        """Return what looks after servers that are leaving, in this process.

        The fleet is asked for when a slot is given on.
        """
        from openmultistack.provision.leaving import Leaving

        def serve(region: str) -> object:
            return self.serving().serve(region)

        return Leaving(self.on.ledger(), self.on.clouds(), self.on.pace.leaving, serve)

    @made_once
    def destroying(self) -> "Destroying":
        """Return the use case destroy."""
        from openmultistack.usecases.destroy import Destroying

        return Destroying(self.on.ledger(), self.on.clouds(), self.leaving())

    @made_once
    def room(self) -> "WaitingRoom":
        """Return how many requests of this process may wait for servers, and whose."""
        from openmultistack.usecases.waiting_room import WaitingRoom

        return WaitingRoom(self.on.threads)

    @made_of(_fleet)
    def creating(self) -> "Creating":
        """Return the use case create."""
        from openmultistack.usecases.create import Creating

        return Creating(
            self.on.ledger(),
            self.on.fleet(),
            self.on.name,
            self.arriving(),
            self.attempts(),
            self.destroying(),
            self.looking(),
            self.room(),
            self.on.pace,
        )

    @made_of(_fleet)
    def looking(self) -> "Looking":
        """Return what looks at regions that nobody has looked at."""
        from openmultistack.usecases.looking import Looking

        on = self.on
        return Looking(on.ledger(), on.fleet(), self.reaping, self.room(), on.pace)

    @made_of(_fleet)
    def reaping(self) -> "Reaping":
        """Return the use case reap."""
        from openmultistack.usecases.reap import Reaping

        return Reaping(
            self.on.ledger(),
            self.on.fleet(),
            self.on.name,
            self.on.clouds(),
            self.attempts(),
            destroying=self.destroying(),
            serving=self.serving(),
            leaving=self.leaving(),
            pace=self.on.pace,
            certain=self.on.certain,
        )

    @made_of(_fleet)
    def draining(self) -> "Draining":
        """Return the use case of operators who drain and open regions."""
        from openmultistack.usecases.drain import Draining

        return Draining(self.on.ledger(), self.on.fleet(), self.serving())

    @made_of(_fleet)
    def vouching(self) -> "Vouching":
        """Return the use case of operators who adopt what nothing proves, and end copies."""
        from openmultistack.usecases.vouch import Vouching

        return Vouching(
            self.on.ledger(), self.on.fleet(), self.on.clouds(), self.reaping(), self.on.pace
        )
