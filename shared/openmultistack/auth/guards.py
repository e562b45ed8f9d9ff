"""Guards: who may pass an endpoint. Each endpoint names its own, beside what it does.

A guard sees a request before anything of it was believed, and names who calls; what it has not let
in goes no further. A guard that goes by a signature reads the body, and needs no token.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from openmultistack.auth.principal import demand
from openmultistack.domain.models import Principal

NOBODY = Principal(owner="", scopes=frozenset())


class Knock(Protocol):
    """A request that is not let in yet."""

    def header(self, name: str) -> str:
        """Return a header, whatever the case of its name; '' if it is not there."""

    def body(self) -> bytes:
        """Return its body, which is read at the first call.

        Raises:
            TooLarge, TooSlow, Malformed: it is not to be had.
        """

    def caller(self) -> Principal:
        """Return whom its token names.

        Raises:
            Unauthenticated: it has none, or one that proves nothing.
        """


class Guard(NamedTuple):
    """Who may pass an endpoint."""

    # What a token has to allow; None: no token is asked for, in front of the function either.
    scope: str | None
    # Names the caller, or raises a Problem.
    admit: Callable[[Knock], Principal]


def scope(name: str) -> Guard:
    """Return the guard that lets those in whose token has this scope."""

    def admit(knock: Knock) -> Principal:
        caller = knock.caller()
        demand(caller, name)
        return caller

    return Guard(name, admit)


# Lets everybody in, as nobody.
public = Guard(None, lambda _: NOBODY)
