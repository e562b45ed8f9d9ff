"""Kinds of orders: whom a refusal concerns, and whom it does not."""

from typing import Any

import pytest

from openmultistack.clouds import Marks
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.marks import metadata_of
from openmultistack.clouds.meanings import meaning_of
from openmultistack.clouds.signing import Signing
from openmultistack.domain.commands import CreateInstances
from openmultistack.domain.identity import MARKS_ITEMS, Identity
from openmultistack.domain.kinds import PROPERTIES, Asked, kind_of, why_unsuited
from openmultistack.domain.models import ALL_OF_IT, Flavor, Image, Network, Offer

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hQ"
OFFER = Offer(
    region="alpha/One",
    flavor=Flavor(id="f", name="small", vcpus=1, ram_mb=512, disk_gb=1),
    image=Image(id="i", name="debian"),
    network=Network(id="n", name="net"),
    security_groups=("ssh",),
)


def asked(owner: str = "alice", offer: Offer = OFFER, **more: Any) -> Asked:
    """Return an order."""
    wanted = {"image": "debian", "size": "small"} | more
    command = CreateInstances.model_validate(wanted)
    return Asked(offer, command, command.identity(owner))


WITH = {
    "flavor": asked(offer=OFFER._replace(flavor=OFFER.flavor._replace(id="g"))),
    "image": asked(offer=OFFER._replace(image=OFFER.image._replace(id="j"))),
    "network": asked(offer=OFFER._replace(network=OFFER.network._replace(id="m"))),
    "groups": asked(offer=OFFER._replace(security_groups=("ssh", "web"))),
    "keyed": asked(ssh_public_key=KEY),
    "key": asked(ssh_public_key=OTHER_KEY),
    "metadata": asked(labels={"a": "1"}),
    "content": asked(user_data="#!/bin/sh\n"),
}


@pytest.mark.parametrize("about", PROPERTIES)
def test_a_refusal_concerns_orders_alike_in_what_it_is_about_and_no_others(about: str) -> None:
    refused = {kind_of((about,), WITH[about]): "403: no"}
    assert why_unsuited(refused, WITH[about]) == "403: no"
    assert why_unsuited(refused, asked()) is None


def test_every_property_is_tried_above() -> None:
    assert WITH.keys() == PROPERTIES.keys()


def test_what_a_client_wrote_is_of_no_other_owners_order() -> None:
    refused = {kind_of(ALL_OF_IT, asked("alice")): "403: who knows"}
    assert why_unsuited(refused, asked("alice"))
    assert why_unsuited(refused, asked("bob")) is None
    assert why_unsuited(refused, asked("alice", name="other")) is None


def test_what_regions_refused_before_is_known() -> None:
    """The ledger keeps kinds: they are the same after an upgrade."""
    order = asked(name="ci", labels={"b": "1", "a": "2"}, user_data="x")
    kinds = [kind_of(about, order) for about in (ALL_OF_IT, ("metadata",), ("content",))]
    assert kinds == [
        "flavor+image+network+groups+content:91da4902ff2039d7", "metadata:5",
        "content:f63a82b62888d347",
    ]  # fmt: skip


def test_too_many_metadata_items_concern_those_with_more_as_well() -> None:
    refused = {kind_of(("metadata",), asked(labels={"a": "1", "b": "2"})): "403: too many"}
    for labels, hit in ((0, False), (1, False), (2, True), (3, True)):
        order = asked(labels={f"k{it}": "" for it in range(labels)})
        assert bool(why_unsuited(refused, order)) is hit


def test_a_note_is_an_item_more_and_part_of_what_a_client_wrote() -> None:
    refused = {kind_of(("metadata",), asked(labels={"a": "1"})): "403: too many"}
    assert why_unsuited(refused, asked(note="mine"))
    refused = {kind_of(("content",), asked(note="mine")): "403: who knows"}
    assert why_unsuited(refused, asked(note="mine"))
    assert why_unsuited(refused, asked(note="other")) is why_unsuited(refused, asked()) is None


def test_marks_take_as_many_items_as_is_said() -> None:
    for more in ({}, {"note": "mine"}, {"note": "mine", "labels": {"a": "1"}}):
        identity = Identity("alice", "ci", {}, 0, 1)._replace(**more)
        items = metadata_of(Marks("f", "i-1", 1, identity), Signing(KEYRING, "f", "p-1"))
        assert len(items) == identity.count_metadata() == MARKS_ITEMS + len(more)


def test_who_has_too_many_labels_is_told_how_many_items_are_ours() -> None:
    marks = Marks("f", "i-1", 1, Identity("alice", "ci", {}, 0, 1))
    ours = len(metadata_of(marks, Signing(KEYRING, "f", "p-1")))
    told = str(meaning_of(403, "Maximum number of metadata items exceeds 5"))
    assert f"oms itself needs {ours} items" in told
