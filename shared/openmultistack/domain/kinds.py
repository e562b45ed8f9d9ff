"""Kinds of orders: what an order has in common with those that a region refuses alike.

A refusal is about some of an order's properties (`models.About`); orders that agree in these are of
one kind. What a client wrote is part of a kind only together with all else and its owner: nobody's
order is refused for another's.
"""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import NamedTuple

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.models import MARKS_ITEMS, About, Offer


class Asked(NamedTuple):
    """An order as a region sees it."""

    offer: Offer
    command: CreateInstances
    owner: str


PROPERTIES: Mapping[str, Callable[[Asked], object]] = {
    "flavor": lambda it: it.offer.flavor.id,
    "image": lambda it: it.offer.image.id,
    "network": lambda it: it.offer.network.id,
    "groups": lambda it: sorted(it.offer.security_groups),
    "keyed": lambda it: it.command.ssh_public_key is not None,
    "key": lambda it: it.command.ssh_public_key,
    "metadata": lambda it: MARKS_ITEMS + len(it.command.labels),
    "content": lambda it: [
        it.owner,
        it.command.name,
        sorted(it.command.labels.items()),
        it.command.ssh_public_key,
        it.command.user_data,
    ],
}


def kind_of(about: About, asked: Asked) -> str:
    """Return the kind of an order by what a refusal is about."""
    values = [PROPERTIES[name](asked) for name in about]
    if about == ("metadata",):
        return f"metadata:{values[0]}"
    return f"{'+'.join(about)}:{sha256(json.dumps(values).encode()).hexdigest()[:16]}"


def why_unsuited(refused: Mapping[str, str], asked: Asked) -> str | None:
    """Return what a region said to an order of a kind that this one is of; `refused` by kind."""
    for kind, why in refused.items():
        about, _, value = kind.partition(":")
        if about == "metadata":
            if MARKS_ITEMS + len(asked.command.labels) >= int(value):
                return why
        elif kind == kind_of(tuple(about.split("+")), asked):
            return why
    return None
