"""Where servers may carry signatures of a stack's keys for marks: `clean` keeps these meanwhile.

Only a ledger that has seen a region absolves it. Where servers went on when a ledger was forgotten
stays in a file beside the keys: the next one may never come so far as to see them.
"""

from infra.local import homes
from infra.local.layout import Stack
from openmultistack.domain.errors import ConfigurationError
from openmultistack.fleet.config import load_fleet

_SAYS = "# FLEET and region or place where servers may carry signatures of marks.keys\n"


def carriers(stack: Stack) -> frozenset[str] | None:
    """Return where servers may carry signatures; None: nowhere; nothing: it is not known where.

    Ask when the stack has ended: no create is under way any more.
    """
    if not stack.marks_keys_file.exists():
        return None
    before = _written(stack)
    if stack.uses_lab:
        # Its servers end with it. Without a laboratory `up` did not come so far as to say what
        # stack it is.
        return before or (None if stack.lab.exists() else before)
    regions = _regions(stack)
    ledger = homes.look_into_ledger(stack, regions or ())
    known = ledger or homes.Known({}, frozenset(), str)
    held = {_entry(stack, known.place_of(it)) for it in known.held if known.held[it]}
    seen = {_entry(stack, name) for it in known.seen for name in (it, known.place_of(it))}
    unseen = {_entry(stack, it) for it in (regions or frozenset()) - known.seen}
    where = (before - seen) | held | unseen
    return None if ledger and regions is not None and not where else where


def keep(stack: Stack, where: frozenset[str]) -> None:
    """Write down beside the keys where servers may carry them."""
    draft = stack.carried_file.with_suffix(".new")
    draft.write_text(_SAYS + "".join(f"{it}\n" for it in sorted(where)))
    draft.replace(stack.carried_file)


def keep_of_before(stack: Stack, before: Stack) -> None:
    """Write down where servers may stay behind, as a home's stack gets other clouds or a fleet.

    Its ledger will say nothing of them: it goes by the fleet's name, and by what files name now.
    """
    if (before.clouds_file, before.fleet_name) == (stack.clouds_file, stack.fleet_name):
        return
    where = carriers(before)
    if where is not None:
        keep(stack, where or frozenset([_entry(before, "somewhere")]))


def _written(stack: Stack) -> frozenset[str]:
    if not stack.carried_file.exists():
        return frozenset()
    lines = stack.carried_file.read_text().splitlines()
    return frozenset(it for it in lines if it and not it.startswith("#"))


def _entry(stack: Stack, where: str) -> str:
    return f"{stack.fleet_name} {where}"


def _regions(stack: Stack) -> frozenset[str] | None:
    """Return the regions that the stack's files name; None if they cannot be read."""
    try:
        return frozenset(load_fleet(stack.clouds_file, stack.fleet_file).configured)
    except ConfigurationError:
        return None
