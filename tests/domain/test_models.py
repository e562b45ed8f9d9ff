"""What a create request may say, and how every bad one is refused."""

import base64
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import ValidationError

from openmultistack.domain.bounds import LABEL_CHARS
from openmultistack.domain.commands import (
    INSTANCES_MAX,
    LABELS_MAX,
    USER_DATA_MAX_BASE64_CHARS,
    CreateInstances,
    RenewInstance,
    SizeWanted,
)
from openmultistack.domain.identity import NOTE_CHARS, Identity
from openmultistack.domain.models import (
    Address,
    Instance,
    Quota,
    Resources,
    Status,
    address_of,
)
from openmultistack.domain.regions import RegionState
from openmultistack.domain.times import rfc3339

LEAST: Mapping[str, object] = {"image": "debian-12", "size": "small"}


@cache
def public_line(kind: str) -> str:
    """Return a sound OpenSSH public key line."""
    private = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    }[kind]()
    return (
        private.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def faults(**wrong: object) -> list[str]:
    """Return where a create request with these fields is wrong."""
    with pytest.raises(ValidationError) as caught:
        CreateInstances.model_validate({**LEAST, **wrong})
    return [str(error["loc"][0]) for error in caught.value.errors()]


def test_image_and_size_are_enough() -> None:
    command = CreateInstances.model_validate(LEAST)
    assert (command.count, command.strategy, command.regions) == (1, "spread", ("*",))
    assert (command.on_full, command.partial, command.ttl) == ("reject", False, None)
    assert command.labels == {}


@pytest.mark.parametrize("missing", ["image", "size"])
def test_image_and_size_are_required(missing: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CreateInstances.model_validate({k: v for k, v in LEAST.items() if k != missing})
    assert caught.value.errors()[0]["loc"] == (missing,)


@pytest.mark.parametrize("count", [1, INSTANCES_MAX])
def test_counts_at_the_bounds_are_taken(count: int) -> None:
    assert CreateInstances.model_validate({**LEAST, "count": count}).count == count


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 0),
        ("count", -1),
        ("count", 101),
        ("count", 1.5),
        ("count", "many"),
        ("count", None),
        ("ttl", 0),
        ("ttl", -5),
        ("ttl", "soon"),
        ("image", ""),
        ("image", "i" * 256),
        ("image", 12),
        ("name", ""),
        ("name", "-starts-with-a-dash"),
        ("name", "has space"),
        ("name", "line\n"),
        ("name", "n" * (LABEL_CHARS + 1)),
        ("regions", []),
        ("regions", [""]),
        ("regions", "*"),
        ("regions", ["*"] * 65),
        ("on_full", "wait"),
        ("partial", "perhaps"),
        ("labels", ["a"]),
        ("user_data", 5),
        ("image", "\ud800"),
        ("user_data", "\ud800"),
    ],
)
def test_a_bad_value_is_refused_where_it_stands(field: str, value: object) -> None:
    assert set(faults(**{field: value})) == {field}


def test_an_unknown_field_is_refused_by_its_name() -> None:
    assert faults(imge="debian-12") == ["imge"]


def test_every_fault_is_told_and_not_only_the_first() -> None:
    assert sorted(faults(count=0, ttl=0, regions=[])) == ["count", "regions", "ttl"]


@pytest.mark.parametrize(
    "size",
    [
        "",
        "s" * 256,
        {"vcpus": 0},
        {"ram_mb": 0},
        {"disk_gb": -1},
        {"vcpus": 4097},
        {"vcpu": 2},
        5,
        None,
    ],
)
def test_a_size_that_cannot_be_is_refused(size: object) -> None:
    assert set(faults(size=size)) == {"size"}


def test_a_size_may_be_a_requirement() -> None:
    command = CreateInstances.model_validate({**LEAST, "size": {"vcpus": 2, "ram_mb": 2048}})
    assert command.size == SizeWanted(vcpus=2, ram_mb=2048, disk_gb=0)


def test_as_many_labels_as_allowed_are_taken_and_one_more_is_refused() -> None:
    labels = {f"k{i}": "v" for i in range(LABELS_MAX)}
    assert CreateInstances.model_validate({**LEAST, "labels": labels}).labels == labels
    assert faults(labels={**labels, "more": "v"}) == ["labels"]


@pytest.mark.parametrize(
    "key", ["", " ", "-x", "a b", "a:b", "é", "k" * (LABEL_CHARS + 1), "a\n", "a=b", "a\0"]
)
def test_a_bad_label_key_is_refused(key: str) -> None:
    assert faults(labels={key: "v"}) == ["labels"]


@pytest.mark.parametrize("value", ["é", "v" * (LABEL_CHARS + 1), "a\nb", "\t", "{}", 5, None])
def test_a_bad_label_value_is_refused(value: object) -> None:
    assert faults(labels={"k": value}) == ["labels"]


def test_a_label_value_may_hold_a_url_or_nothing() -> None:
    labels = {"job": "ci.example:8443/a/b@main+1", "empty": ""}
    assert CreateInstances.model_validate({**LEAST, "labels": labels}).labels == labels


@pytest.mark.parametrize("note", ["", "for Zoë: “x”", " a  b ", "é" * NOTE_CHARS, "€" * NOTE_CHARS])
def test_a_note_is_any_line_of_text(note: str) -> None:
    command = CreateInstances.model_validate({**LEAST, "note": note})
    assert command.note == command.identity("alice").note == note


@pytest.mark.parametrize(
    "note", ["n" * (NOTE_CHARS + 1), "a\nb", "a\tb", "\x00", "\x1b[2J", "\u202e", "\ud800", 5, None]
)
def test_a_note_that_nova_or_a_screen_cannot_take_is_refused(note: object) -> None:
    assert faults(note=note) == ["note"]


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
@pytest.mark.parametrize("comment", ["", " me@host", " two words é"])
def test_a_sound_ssh_key_is_taken_with_and_without_comment(kind: str, comment: str) -> None:
    line = public_line(kind) + comment
    command = CreateInstances.model_validate({**LEAST, "ssh_public_key": line + "\n"})
    assert command.ssh_public_key == line


def malformed_keys() -> dict[str, str]:
    """Return malformed keys by what is wrong with them."""
    good = public_line("ed25519")
    kind, blob = good.split()
    raw = base64.b64decode(blob)
    lying = base64.b64encode(bytes([255] * 4) + raw[4:]).decode()
    return {
        "empty": "",
        "only a type": kind,
        "no type": blob,
        "only a comment": "me@host",
        "two lines": f"{good}\n{good}",
        "a carriage return within": f"{good} a\rb",
        "options before it": f'no-pty,command="x" {good}',
        "not base64": f"{kind} ????",
        "base64 cut in its padding": f"{kind} {blob[:-3]}",
        "another type than its body's": good.replace("ssh-ed25519", "ssh-rsa"),
        "body without content": f"{kind} {base64.b64encode(raw[: 4 + len(kind)]).decode()}",
        "body of one length field": f"{kind} {base64.b64encode(raw[: 8 + len(kind)]).decode()}",
        "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END",
        "a PEM public key": "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----",
        "RFC 4716": "---- BEGIN SSH2 PUBLIC KEY ----",
        "an authorized_keys comment": "# ssh-ed25519 AAAA",
        "upper case type": good.replace("ssh-", "SSH-"),
        "two spaces": good.replace(" ", "  ", 1),
        "a length field that lies": f"{kind} {lying}",
        "longer than any key": f"{kind} {blob}{'A' * 16384}",
    }


@pytest.mark.parametrize("what", malformed_keys())
def test_a_malformed_ssh_key_is_refused(what: str) -> None:
    assert faults(ssh_public_key=malformed_keys()[what]) == ["ssh_public_key"]


def test_the_refusal_of_a_key_says_what_was_expected() -> None:
    with pytest.raises(ValidationError, match=r"one line `TYPE BASE64 \[COMMENT\]`"):
        CreateInstances.model_validate({**LEAST, "ssh_public_key": "nonsense"})


def test_a_key_cut_short_within_its_body_is_refused() -> None:
    kind, blob = public_line("ed25519").split()
    cut = base64.b64encode(base64.b64decode(blob)[:-3]).decode()
    assert faults(ssh_public_key=f"{kind} {cut}") == ["ssh_public_key"]


def test_user_data_of_all_that_nova_takes_is_taken_and_one_byte_more_is_refused() -> None:
    most = USER_DATA_MAX_BASE64_CHARS // 4 * 3
    command = CreateInstances.model_validate({**LEAST, "user_data": "x" * most})
    taken = base64.b64encode((command.user_data or "").encode())
    assert len(taken) <= USER_DATA_MAX_BASE64_CHARS < len(taken) + 4
    assert faults(user_data="x" * (most + 1)) == ["user_data"]


def test_user_data_counts_bytes_and_not_characters() -> None:
    most = USER_DATA_MAX_BASE64_CHARS // 4 * 3
    assert faults(user_data="é" * (most // 2 + 1)) == ["user_data"]


@pytest.mark.parametrize("wrong", [{}, {"ttl": 0}, {"ttl": -1}, {"ttl": 5, "more": 1}])
def test_a_renewal_needs_a_ttl_and_nothing_else(wrong: Mapping[str, object]) -> None:
    with pytest.raises(ValidationError):
        RenewInstance.model_validate(wrong)


def test_a_value_does_not_change_later() -> None:
    command = CreateInstances.model_validate(LEAST)
    with pytest.raises(ValidationError):
        command.count = 5


def test_free_is_the_cap_less_held_and_foreign_and_never_below_zero() -> None:
    state = RegionState(
        region="alpha/One",
        state="up",
        cap=Resources(instances=20, vcpus=40, ram_mb=1000),
        held=Resources(instances=5, vcpus=10, ram_mb=900),
        foreign=Resources(instances=3, vcpus=31, ram_mb=50),
    )
    assert state.free() == Resources(instances=12, vcpus=0, ram_mb=50)
    assert state.provider == "alpha"


@pytest.mark.parametrize("state", [{"full": True}, {"state": "down"}, {"state": "drained"}])
def test_nothing_is_free_while_nothing_is_let_in(state: dict[str, Any]) -> None:
    known = {"state": "up", "cap": Resources(instances=5, vcpus=5, ram_mb=5)} | state
    assert RegionState(region="a/b", **known).free() == Resources()


def test_resources_add_up_each_for_itself() -> None:
    total = Resources(instances=1, vcpus=2, ram_mb=3) + Resources(instances=10, vcpus=20, ram_mb=30)
    assert total == Resources(instances=11, vcpus=22, ram_mb=33)


def test_an_instance_is_shown_without_its_order_and_with_times_in_rfc_3339() -> None:
    instance = Instance(
        id="i-1",
        identity=Identity(
            "o",
            "n",
            {},
            1_700_000_000_123,
            1_700_000_060_000,
            has_keypair=True,
            idempotency="a:b:1",
        ),
        status=Status.BUILD,
        region="alpha/One",
        image="d",
        flavor="f",
        attempt=1,
        order='{"user_data": "secret"}',
        tried={"beta/One": "full"},
        promised=True,
        quota=Quota(instances=1),
    )
    shown = instance.document()
    assert set(shown) == {
        "id", "name", "status", "owner", "region", "provider", "server_id", "image", "flavor",
        "addresses", "address", "cloud_status", "labels", "note", "attempt", "created_at",
        "expires_at", "error",
    }  # fmt: skip
    assert (shown["provider"], shown["status"]) == ("alpha", "BUILD")
    assert shown["created_at"] == "2023-11-14T22:13:20.123Z"
    assert shown["expires_at"] == "2023-11-14T22:14:20.000Z"


def address(text: str, kind: Any = "fixed") -> Address:
    """Return an address of a server."""
    return Address(text, 6 if ":" in text else 4, "net", kind)


@pytest.mark.parametrize(
    ("there", "best"),
    [
        ((), None),
        ((address("10.0.0.5"),), "10.0.0.5"),
        ((address("2606:4700::1"), address("8.8.8.8")), "8.8.8.8"),
        ((address("10.0.0.5"), address("2606:4700::1")), "2606:4700::1"),
        ((address("8.8.8.8"), address("10.9.9.9", "floating")), "10.9.9.9"),
        ((address("fd00::1"), address("10.0.0.5")), "10.0.0.5"),
        ((address("no address"), address("1.1.1.1")), "1.1.1.1"),
    ],
)
def test_the_address_to_use_is_floating_else_public_and_ipv4_first(
    there: tuple[Address, ...], best: str | None
) -> None:
    assert address_of(there) == best


@pytest.mark.parametrize(
    ("status", "word", "shown"),
    [
        (Status.ACTIVE, "SHUTOFF", ("ACTIVE", "SHUTOFF")),
        (Status.BUILD, "ACTIVE", ("BUILD", "ACTIVE")),
        (Status.ACTIVE, "", ("ACTIVE", None)),
        (Status.ACTIVE, "ACTIVE", ("ACTIVE", None)),
        (Status.ACTIVE, "SOFT_DELETED", ("DELETING", "SOFT_DELETED")),
        (Status.ERROR, "SOFT_DELETED", ("ERROR", "SOFT_DELETED")),
    ],
)
def test_the_clouds_own_word_is_shown_where_it_says_more(
    status: Status, word: str, shown: tuple[str, str | None]
) -> None:
    known = Instance(
        id="i-1",
        identity=Identity("o", "n", {}, 0, 1),
        status=status,
        region="a/b",
        image="d",
        flavor="f",
        attempt=1,
        cloud_status=word,
    )
    assert (known.document()["status"], known.document()["cloud_status"]) == shown


def test_an_instance_that_waits_has_no_region_yet() -> None:
    waiting = Instance(
        id="i-1",
        identity=Identity("o", "n", {}, 0, 1),
        status=Status.QUEUED,
        region="",
        image="d",
        flavor="f",
        attempt=0,
    )
    shown = waiting.document()
    assert (shown["status"], shown["region"], shown["provider"]) == ("QUEUED", None, None)


def test_two_quotas_together_allow_what_both_allow() -> None:
    file = Quota(instances=5, vcpus=8)
    token = Quota(instances=7, vcpus=4, creates_per_minute=3)
    both = Quota(instances=5, vcpus=4, creates_per_minute=3)
    assert file.within(token) == token.within(file) == both
    assert file.within(Quota()) == file
    assert file.within(Quota(instances=0)).instances == 0  # nothing is less than no bound


def test_times_are_utc_to_the_millisecond() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
