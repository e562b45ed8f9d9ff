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
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import About, Offer


class Asked(NamedTuple):
    """An order as a region sees it."""

    offer: Offer
    command: CreateInstances
    identity: Identity


PROPERTIES: Mapping[str, Callable[[Asked], object]] = {
    "flavor": lambda it: it.offer.flavor.id,
    "image": lambda it: it.offer.image.id,
    "network": lambda it: it.offer.network.id,
    "groups": lambda it: sorted(it.offer.security_groups),
    "keyed": lambda it: it.command.ssh_public_key is not None,
    "key": lambda it: it.command.ssh_public_key,
    "metadata": lambda it: it.identity.count_metadata(),
    "content": lambda it: [
        *it.identity.list_content(),
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
            if asked.identity.count_metadata() >= int(value):
                return why
        elif kind == kind_of(tuple(about.split("+")), asked):
            return why
    return None
