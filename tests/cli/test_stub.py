"""The gateway of these tests speaks as the real one: as openapi.json says, which the doors keep."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from openmultistack.domain.commands import CreateInstances, DrainRegions, OpenRegions, Reap
from openmultistack.wiring.doors import describe

DOCUMENT = describe()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"


def check(status: int, document: Any, method: str, path: str) -> None:
    """An answer is one that openapi.json tells of."""
    ((_, content),) = DOCUMENT["paths"][path][method]["responses"][str(status)]["content"].items()
    schema = content["schema"] | {"components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(document)


@pytest.fixture
def ask(stub):
    """Return what sends a request to the stub as `oms` does, and checks the answer."""

    def ask(method, path, told, *, body=None, query=()):
        asked = type(stub).asked_as(method, f"/v1{path}", list(query), body)
        status, document, _ = stub.answer(asked)
        check(status, document, method.lower(), told)
        return document

    return ask


def test_every_answer_of_the_stub_is_as_openapi_says(ask, stub):
    body = {"image": "debian-12", "size": "small", "count": 3, "labels": {"run": "7"}}
    made = ask("POST", "/instances", "/instances", body=body)["instances"]
    path, told = f"/instances/{made[0]['id']}", "/instances/{id}"
    stub.page_max = 2
    assert ask("GET", "/instances", "/instances")["next"] is not None
    ask("GET", path, told)
    ask("GET", f"{path}/events", f"{told}/events")
    ask("PATCH", path, told, body={"ttl": 60})
    ask("DELETE", path, told)
    ask("DELETE", "/instances", "/instances", query=[("label", "run:7")])
    ask("GET", "/instances/i-nobody", told)
    ask("GET", "/regions", "/regions")
    ask("POST", "/reap", "/reap")
    ask("DELETE", f"/tokens/{ask('GET', '/tokens', '/tokens')['tokens'][0]['jti']}", "/tokens/{id}")
    ask("DELETE", "/tokens/unknown", "/tokens/{id}")


def test_its_queue_and_its_drained_regions_are_as_openapi_says(ask, stub):
    stub.room, stub.queued_for = 1, 9
    for size in ("small", {"vcpus": 2}):
        body = {"image": "debian-12", "size": size, "count": 2, "on_full": "queue"}
        _, queued = ask("POST", "/instances", "/instances", body=body)["instances"]
        assert ask("GET", f"/instances/{queued['id']}", "/instances/{id}")["queue"]["place"]
        ask("GET", f"/instances/{queued['id']}/events", "/instances/{id}/events")
    for act in ("drain", "open"):
        ask("POST", f"/regions/{act}", f"/regions/{act}", body={"regions": ["x"]})


def test_what_drain_and_open_send_is_what_the_server_takes(oms, stub):
    oms("drain", "alpha/*", "--why", "repairs", code=2)
    oms("open", "alpha/*", code=2)
    drain, opened = (it.body for it in stub.asked)
    assert DrainRegions.model_validate(drain).why == "repairs"
    assert OpenRegions.model_validate(opened).regions == ("alpha/*",)


def test_what_reap_sends_is_what_the_server_takes(oms, stub):
    oms("reap")
    oms("reap", "--now")
    plain, now = (it.body for it in stub.asked)
    assert plain is None
    assert Reap.model_validate(now).now


def test_what_create_sends_is_what_the_server_takes(oms, stub, tmp_path):
    key = tmp_path / "id.pub"
    key.write_text(f"{KEY} me\n")
    oms(
        "create", "--image", "debian-12", "--size", "vcpus=2,ram=2048,disk=10", "--count", "3",
        "--ttl", "2h", "--name", "ci", "--label", "run=7", "--region", "alpha/*",
        "--strategy", "pack", "--ssh-key", str(key), "--user-data", str(key), "--partial",
        "--on-full", "reject",
    )  # fmt: skip
    command = CreateInstances.model_validate(stub.asked[0].body)
    assert (command.ttl, command.count, command.partial) == (7200, 3, True)
    assert command.ssh_public_key == f"{KEY} me"
