"""Records: what is written is read, and what was written before is read as well."""

import json
from collections.abc import Mapping

import pytest

from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Instance, Status
from openmultistack.ledger.records import (
    decode_identity,
    decode_instance,
    encode_identity,
    encode_order,
)

MADE_MS, DUE_MS = 1_795_718_308_206, 1_795_721_908_206
PLACED = "6ab9f1eb8f7d3388f4f9d586f66e99fd:34f6644da7f3750ef2f37b75165431ac:1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
MADE = Identity("alice", "ci", {"job": "7"}, MADE_MS, DUE_MS, has_keypair=True, idempotency=PLACED)
WHOLE = MADE._replace(note="for Zoë")
# Records as they were written before identities were one value.
BEFORE: Mapping[str, tuple[Mapping[str, str], Identity]] = {
    "made": (
        {
            "id": "i-1", "region": "p-1", "attempt": "1", "owner": "alice", "name": "ci",
            "had:1:p-1": "server-1", "has_keypair": "1", "image": "debian", "flavor": "small",
            "server_id": "server-1", "created_at_ms": str(MADE_MS), "expires_at_ms": str(DUE_MS),
            "status": "BUILD", "idempotency": PLACED, "ttl_ms": "3600000",
            "order": '{"image":"debian","size":"small"}', "labels": '{"job":"7"}',
        },
        MADE,
    ),
    "adopted": (
        {
            "id": "i-1", "region": "p-1", "attempt": "1", "owner": "bob", "name": "oms",
            "had:1:p-1": "server-1", "has_keypair": "0", "image": "debian", "flavor": "small",
            "server_id": "server-1", "created_at_ms": str(MADE_MS), "expires_at_ms": str(DUE_MS),
            "status": "BUILD", "idempotency": "", "promised": "1", "labels": "{}",
        },
        Identity("bob", "oms", {}, MADE_MS, DUE_MS),
    ),
    "queued": (
        {
            "id": "i-1", "region": "", "created_at_ms": str(MADE_MS), "ttl_ms": "3600000",
            "expires_at_ms": str(DUE_MS), "status": "QUEUED", "attempt": "0", "name": "ci",
            "order": '{"image":"debian","size":{},"on_full":"queue"}', "labels": "{}",
            "owner": "bob", "flavor": '{"vcpus":1,"ram_mb":1,"disk_gb":0}', "image": "debian",
            "promised": "1", "queue": "0/bob/i-1",
        },
        Identity("bob", "ci", {}, MADE_MS, DUE_MS),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BEFORE)
def test_a_record_of_before_tells_who_its_instance_is(kind: str) -> None:
    fields, identity = BEFORE[kind]
    found = decode_instance(fields, lambda place: place)
    assert found == Instance(
        id="i-1",
        identity=identity,
        status=Status(fields["status"]),
        region=fields["region"],
        image="debian",
        flavor=fields["flavor"],
        attempt=int(fields["attempt"]),
        server_id=fields.get("server_id"),
        order=fields.get("order"),
        promised="promised" in fields,
        had={(1, "p-1"): "server-1"} if "server_id" in fields else {},
    )


def test_every_field_of_an_identity_is_read_as_it_was_written() -> None:
    usual = Identity._field_defaults
    assert [it for it in usual if getattr(WHOLE, it) == usual[it]] == []
    times = {"created_at_ms": str(MADE_MS), "expires_at_ms": str(DUE_MS)}
    assert encode_identity(WHOLE).keys() | times.keys() == set(Identity._fields)
    assert decode_identity(encode_identity(WHOLE) | times) == WHOLE


def test_what_is_usual_takes_no_room_in_a_record() -> None:
    written = encode_identity(Identity("alice", "oms", {}))
    assert {it: text for it, text in written.items() if text} == {
        "owner": "alice", "name": "oms", "labels": "{}",
    }  # fmt: skip


def test_an_order_is_kept_as_it_was_before() -> None:
    """Old and new functions go on with one another's instances."""
    command = CreateInstances(
        image="debian", size="small", name="ci", ttl=5, labels={"b": "1", "a": "2"}, count=3,
        ssh_public_key=KEY, user_data="x", regions=("a/*",), strategy="pack", on_full="queue",
        partial=True,
    )  # fmt: skip
    assert json.loads(encode_order(command)) == {
        "image": "debian", "size": "small", "ssh_public_key": KEY, "user_data": "x",
        "regions": ["a/*"], "strategy": "pack", "on_full": "queue",
    }  # fmt: skip
