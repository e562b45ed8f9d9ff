"""What a region offers, as it is kept in the ledger."""

import json

from openmultistack.domain.models import Catalogue, Flavor, Image, Network


def encode_catalogue(catalogue: Catalogue) -> str:
    """Return a catalogue as text."""
    kinds = catalogue._asdict().items()
    return json.dumps({kind: [it._asdict() for it in them] for kind, them in kinds})


def decode_catalogue(text: str) -> Catalogue:
    """Return the catalogue of a text; nothing is offered where there is none."""
    told = json.loads(text or "{}")
    return Catalogue(
        flavors=tuple(Flavor(**it) for it in told.get("flavors", ())),
        images=tuple(Image(**it) for it in told.get("images", ())),
        networks=tuple(Network(**it) for it in told.get("networks", ())),
    )
