"""How a function starts: its door is opened with what its platform tells it."""

from typing import TYPE_CHECKING

from openmultistack.domain.errors import ConfigurationError
from openmultistack.wiring.lean_imports import lean_imports
from openmultistack.wiring.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from openmultistack.api.door import Handler
    from openmultistack.wiring.parts import Parts
    from openmultistack.wiring.settings import Settings


def open_door(name: str, make: "Callable[[Settings], Parts] | None" = None) -> "Handler":
    """Return the handler of functions/NAME.py; ends the process if its configuration is bad.

    `make` makes its parts, if not everything is what it is elsewhere.
    """
    with lean_imports():
        from openmultistack.api.door import door
        from openmultistack.wiring import parts
        from openmultistack.wiring.doors import DOORS

        opened = DOORS[name]
        try:
            made = (make or parts.Parts)(load_settings())
            made.redis_address()
            made.issuers()
            opened.reads(made)
        except ConfigurationError as error:
            # One sentence, and nothing of where it was raised.
            raise SystemExit(f"refused to start: {error}") from None
        return door(name, opened.all_endpoints(made), made.callers(), opened.dialect)
