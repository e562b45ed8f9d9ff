"""What an instance's record has of it, both ways: a field that is written here is read here."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Address, Instance, Quota, Status
from openmultistack.ledger.texts import compact, read_ms, read_text, read_texts

if TYPE_CHECKING:  # a ledger that is only read needs no pydantic
    from openmultistack.domain.commands import CreateInstances

# What of a command nobody asks for again: it decides how many are made, and until when. All else
# that is not part of an identity is kept in a record's `order`.
SAID_ONCE = {"count", "partial", "ttl"}


def encode_order(command: "CreateInstances") -> str:
    """Return what an instance is tried again by, beside its identity."""
    return command.model_dump_json(exclude=SAID_ONCE | {*Identity._fields}, exclude_defaults=True)


def encode_identity(identity: Identity) -> dict[str, str]:
    """Return the fields of an identity, '' for what is usual: that is left out of a record.

    While no value is longer than 64 bytes, Redis keeps a record in half the memory
    (`hash-max-listpack-value`). Times are not among these: the acts write them.
    """
    return {
        "owner": identity.owner,
        "name": identity.name,
        "labels": compact(dict(identity.labels)),
        "has_keypair": "1" if identity.has_keypair else "",
        "idempotency": identity.idempotency,
        "note": identity.note,
    }


def decode_identity(fields: Mapping[str, str]) -> Identity:
    """Return the identity of a record; one of before does not have every field."""
    return Identity(
        owner=fields["owner"],
        name=fields["name"],
        labels=read_texts(fields["labels"]),
        created_at_ms=read_ms(fields["created_at_ms"]),
        expires_at_ms=read_ms(fields["expires_at_ms"]),
        has_keypair=fields.get("has_keypair") == "1",
        idempotency=fields.get("idempotency", ""),
        note=fields.get("note", ""),
    )


def decode_instance(fields: Mapping[str, str], name_of: Callable[[str], str]) -> Instance:
    """Return the instance of a record's hash; `name_of` gives the names of places."""
    return Instance(
        id=fields["id"],
        identity=decode_identity(fields),
        status=Status(fields["status"]),
        region=name_of(fields["region"]),
        image=fields["image"],
        flavor=fields["flavor"],
        attempt=int(fields["attempt"]),
        server_id=fields.get("server_id"),
        addresses=tuple(_address(it) for it in json.loads(fields.get("addresses", "[]"))),
        cloud_status=fields.get("cloud_status", ""),
        error=fields.get("error"),
        order=fields.get("order"),
        tried={name_of(it): why for it, why in read_texts(fields.get("tried", "{}")).items()},
        promised="promised" in fields,
        quota=_quota(fields.get("quota", "{}")),
        ended=fields.get("ended"),
        stranded="stranded" in fields,
        was_due_ms=tuple(int(float(it)) for it in fields.get("was_due_ms", "").split(",") if it),
        had={
            (int(attempt), name_of(region)): server_id
            for name, server_id in fields.items()
            if name.startswith("had:")
            for attempt, region in [name.removeprefix("had:").split(":", 1)]
        },
    )


def _quota(text: str) -> Quota:
    """Return a quota; what it bounds beyond what is counted here is of a version to come."""
    told = json.loads(text).items()
    return Quota(**{what: int(bound) for what, bound in told if what in Quota._fields})


def encode_address(it: Address) -> dict[str, object]:
    """Return an address; what is usual is left out."""
    return {
        name: value for name, value in it._asdict().items() if (name, value) != ("kind", "fixed")
    }


def _address(told: dict[str, Any]) -> Address:
    return Address(
        **told | {"address": read_text(told["address"]), "version": int(told["version"])}
    )
