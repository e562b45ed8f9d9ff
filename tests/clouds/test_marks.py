"""Marks go into Nova's metadata and names and come out again as they were, or not at all."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from openmultistack.clouds import Attempted, Marks
from openmultistack.clouds.keyring import Keyring, MarksKey
from openmultistack.clouds.marks import (
    LAST_MS,
    Evidence,
    evidence_of,
    is_ours,
    metadata_of,
    verifies,
)
from openmultistack.clouds.names import name_of, named, pattern_of, tag_of, unsigned_keypair
from openmultistack.clouds.signing import Signing
from openmultistack.domain.bounds import LABEL_CHARS, OWNER_CHARS
from openmultistack.domain.commands import LABELS_MAX
from openmultistack.domain.identity import NOTE_CHARS, Identity

OLD, NEW, OTHER = (MarksKey(it, it.encode() * 8) for it in ("old1", "new1", "theirs1"))
FLEET_NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}", fullmatch=True)
KEY = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
VALUE = st.from_regex(r"[A-Za-z0-9._:/@+ -]{0,63}", fullmatch=True)
MS = st.integers(min_value=0, max_value=LAST_MS)
# A ULID's alphabet, as our ids have it.
ID = st.from_regex(r"i-[0-9A-HJKMNP-TV-Z]{26}", fullmatch=True)
ATTEMPT = st.integers(min_value=1, max_value=10_000)
MARKS = st.builds(
    Marks,
    fleet=FLEET_NAME,
    instance_id=ID,
    attempt=st.integers(min_value=1, max_value=99),
    identity=st.builds(
        Identity,
        owner=st.text(min_size=1, max_size=OWNER_CHARS).filter(str.isprintable),
        name=KEY,
        labels=st.dictionaries(KEY, VALUE, max_size=LABELS_MAX),
        created_at_ms=MS,
        expires_at_ms=MS,
        has_keypair=st.booleans(),
        idempotency=st.just("") | st.from_regex(r"[0-9a-f]{32}:[0-9a-f]{32}:[1-9]", fullmatch=True),
        note=st.text(max_size=NOTE_CHARS).filter(str.isprintable),
    ),
)
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # shared machine
ODD_NUMBERS = [
    "soon", "", "-1", "+1", "1e20", "1.0", "nan", "inf", "9" * 400, "1" * 16, "٣", " 3", "3\n",
    "0x3", "1_0", "\uff13", "1,000", "¹", "None", "true", "\x003",
]  # fmt: skip
ODD_IDS = ["", "..", "../os-keypairs/x", "i-1/2", "i 1", "i-1\n", "i" * 65, "í-1"]
ONE = Marks(
    fleet="f",
    instance_id="i-" + "0" * 26,
    attempt=1,
    identity=Identity("alice", "ci", {"job": "7"}, 1, 2),
)


def by(*keys: MarksKey, fleet: str = "f", place: str = "p-1") -> Signing:
    """Return what marks are signed with, and for."""
    return Signing(Keyring(keys or (NEW,)), fleet, place)


def told(metadata: dict[str, str], signing: Signing) -> Marks | None:
    """Return the marks of a server that are proven."""
    return evidence_of(metadata, "", signing).marks


# ---------------------------------------------------------------- of before

# As the functions of before wrote them, with the key new1 for p-1.
BEFORE = {
    "oms_marks": (
        "1 f i-00000000000000000000000000 2 1700000000123 4000000000456 k"
        " aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb:3 1700000000200 s-1"
    ),
    "oms_owner": "repo:müller/x, y",
    "oms_seal": "new1 yg5Hu3EeuJ9M8RIpR28rWQVcC-JEDC7NElcw-eBqeuw ci",
    "oms_label:stage": "a b",
    "oms_label:job": "7",
}
WRITTEN_BEFORE = Marks(
    fleet="f",
    instance_id="i-" + "0" * 26,
    attempt=2,
    identity=Identity(
        "repo:müller/x, y",
        "ci",
        {"stage": "a b", "job": "7"},
        1_700_000_000_123,
        4_000_000_000_456,
        has_keypair=True,
        idempotency=f"{'a' * 32}:{'b' * 32}:3",
    ),
)


def test_marks_of_before_verify() -> None:
    assert evidence_of(BEFORE, "", by(), server_id="s-1").marks == WRITTEN_BEFORE


def test_marks_are_written_as_before_so_that_functions_of_before_verify_them() -> None:
    assert metadata_of(WRITTEN_BEFORE, by(), "s-1", 1_700_000_000_200) == BEFORE


# ---------------------------------------------------------------- signed


@RELAXED
@given(MARKS)
def test_marks_come_back_as_they_were_and_fit_into_nova(marks: Marks) -> None:
    signing = by(fleet=marks.fleet)
    metadata = metadata_of(marks, signing)
    found = evidence_of(metadata, name_of(signing, marks.attempted), signing)
    assert found == (marks, "new1", None, marks.attempted, "new1", 1)
    assert len(metadata) - len(marks.identity.labels) <= 4
    assert all(len(key) <= 255 and len(value) <= 255 for key, value in metadata.items())
    assert evidence_of(metadata, "", by(fleet=marks.fleet + "x")) == Evidence()


def test_the_longest_marks_fit() -> None:
    """docs/marks.md: which field is in which item, and how long each is at most."""
    longest = Marks(
        fleet="f" * 48,
        instance_id="i-" + "0" * 26,
        attempt=10_000,
        identity=Identity(
            "o" * OWNER_CHARS,
            "n" * LABEL_CHARS,
            {str(it).rjust(LABEL_CHARS, "k"): "v" * LABEL_CHARS for it in range(LABELS_MAX)},
            LAST_MS,
            LAST_MS,
            has_keypair=True,
            idempotency=f"{'a' * 32}:{'b' * 32}:1000",
            note="ñ" * NOTE_CHARS,
        ),
    )
    signing = by(MarksKey("k" * 16, bytes(32)), fleet=longest.fleet)
    items = metadata_of(longest, signing, "0" * 36, LAST_MS)
    lengths = {key: len(it) for key, it in items.items() if not key.startswith("oms_label:")}
    assert lengths == {"oms_marks": 243, "oms_owner": 200, "oms_seal": 124, "oms_note": 255}
    assert all(len(key) <= 255 and len(it) <= 255 for key, it in items.items())
    assert evidence_of(items, "", signing, server_id="0" * 36).marks == longest
    assert len(name_of(signing, longest.attempted)) == 100


CHANGED: dict[str, Any] = {
    "fleet": "g",
    "instance_id": "i-" + "1" * 26,
    "attempt": 2,
    "owner": "bob",
    "name": "other",
    "labels": {"job": "8"},
    "created_at_ms": 0,
    "expires_at_ms": 3,
    "has_keypair": True,
    "idempotency": f"{'a' * 32}:{'b' * 32}:1",
    "note": "other",
}


@pytest.mark.parametrize("field", [*Marks._fields[:-1], *Identity._fields])
def test_each_field_is_signed(field: str) -> None:
    """A field that a new version adds must be named in CHANGED, and be signed."""
    of = ONE if field in Marks._fields else ONE.identity
    it = of._replace(**{field: CHANGED[field]})
    changed = it if isinstance(it, Marks) else ONE._replace(identity=it)
    seal = metadata_of(ONE, by())["oms_seal"].split(" ")
    forged = metadata_of(changed, by(fleet=changed.fleet))
    name = forged["oms_seal"].split(" ")[2]
    found = evidence_of({**forged, "oms_seal": f"{seal[0]} {seal[1]} {name}"}, "", by())
    assert found.marks is None
    if field != "fleet":
        assert found.claim
        assert (found.claim.marks, found.claim.how) == (changed, "unverified")


NOTED = ONE._replace(identity=ONE.identity._replace(note="for Zoë"))


@pytest.mark.parametrize("note", [None, "", "for Zoe", "n" * (NOTE_CHARS + 1), "a\nb", 5])
def test_a_note_that_somebody_changes_or_takes_away_spoils_the_signature(note: Any) -> None:
    metadata = metadata_of(NOTED, by())
    assert told(metadata, by()) == NOTED
    assert told({**metadata, "oms_note": note}, by()) is None
    del metadata["oms_note"]
    assert told(metadata, by()) is None


def test_a_note_that_somebody_adds_is_none() -> None:
    """What has no note is marked as before, for functions of before; these see no note either."""
    metadata = metadata_of(ONE, by())
    assert metadata["oms_marks"].startswith("1 ")
    assert told(metadata | {"oms_note": "call 555"}, by()) == ONE


@pytest.mark.parametrize("version", ["1", "3", ""])
def test_marks_with_a_note_are_of_no_other_version(version: str) -> None:
    metadata = metadata_of(NOTED, by())
    assert metadata["oms_marks"].startswith("2 ")
    said = version + metadata["oms_marks"].removeprefix("2")
    assert told(metadata | {"oms_marks": said}, by()) is None


def test_a_label_that_somebody_adds_or_takes_away_spoils_the_signature() -> None:
    metadata = metadata_of(ONE, by())
    assert told(metadata | {"oms_label:more": "1"}, by()) is None
    del metadata["oms_label:job"]
    assert told(metadata, by()) is None


def test_marks_prove_nothing_in_another_place() -> None:
    metadata, name = metadata_of(ONE, by()), name_of(by(), ONE.attempted)
    found = evidence_of(metadata, name, by(place="p-2"))
    assert (found.marks, found.named) == (None, None)
    assert found.claim
    assert found.claim.how == "unverified"
    assert verifies(found.claim, by(place="p-2"), "p-1")
    assert not verifies(found.claim, by(place="p-2"), "p-2")


def test_a_key_that_is_not_ours_proves_nothing_even_under_our_keys_id() -> None:
    assert told(metadata_of(ONE, by(OTHER)), by()) is None
    posing = MarksKey("new1", OTHER.sign(b""))
    assert told(metadata_of(ONE, by(posing)), by()) is None
    assert told(metadata_of(ONE, by()), Signing(Keyring(), "f", "p-1")) is None


def test_the_first_key_signs_and_all_verify() -> None:
    before = metadata_of(ONE, by(OLD))
    both = by(NEW, OLD)
    assert evidence_of(before, name_of(by(OLD), ONE.attempted), both)[1:] == (
        "old1", None, ONE.attempted, "old1", 1,
    )  # fmt: skip
    assert evidence_of(metadata_of(ONE, both), "", both).signed_by == "new1"
    assert told(before, by(NEW)) is None


def test_what_others_write_beside_our_marks_does_not_matter() -> None:
    assert told(metadata_of(ONE, by()) | {"cost-centre": "7"}, by()) == ONE
    assert evidence_of({}, "", by()) == Evidence()
    assert not is_ours("cost-centre")
    assert all(map(is_ours, metadata_of(NOTED, by())))


@pytest.mark.parametrize("key", ["oms_marks", "oms_owner", "oms_seal"])
@pytest.mark.parametrize("text", ["", " ", "x", "\n", "é" * 300, "1 " * 7, None, 7, "\ud800"])
def test_items_that_are_anything_at_all_are_no_marks(key: str, text: Any) -> None:
    found = evidence_of(metadata_of(ONE, by()) | {key: text}, "é" * 255, by())
    assert found.marks is None


@pytest.mark.parametrize("position", [3, 4, 5, 8], ids=["attempt", "created", "expires", "signed"])
@pytest.mark.parametrize("text", ODD_NUMBERS)
def test_marks_with_a_number_that_is_none_are_none(position: int, text: str) -> None:
    metadata = metadata_of(ONE, by())
    fields = metadata["oms_marks"].split(" ")
    fields[position] = text
    found = evidence_of(metadata | {"oms_marks": " ".join(fields)}, "", by())
    assert (found.marks, found.claim) == (None, None)


HOUR_MS = 3_600_000
SIGNED_MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z


@pytest.mark.parametrize(
    ("made_at", "proven"),
    [
        ("2023-11-14T22:13:25Z", True),
        ("2023-11-14T22:13:25.000000", True),
        ("2023-11-14T23:13:20Z", True),
        ("2023-11-14T23:13:21Z", False),
        ("2023-11-14T21:13:20Z", True),
        ("2023-11-14T21:13:19Z", False),
        ("2020-01-01T00:00:00Z", False),
        ("2026-01-01T00:00:00Z", False),
        # Whose hour that is nobody knows.
        ("2026-01-01T00:00:00.000000", True),
        ("", True),
    ],
)
def test_marks_that_name_no_server_are_of_one_that_was_made_as_they_were_signed(
    made_at: str, *, proven: bool
) -> None:
    """Others were written there later; nobody but the cloud says when a server was made."""
    metadata = metadata_of(ONE, by(), at_ms=SIGNED_MS)
    found = evidence_of(metadata, "", by(), server_id="s-1", made_at=made_at)
    assert (found.marks == ONE) is proven
    assert (found.claim is not None and found.claim.how == "unverified") is not proven
    assert (found.claim is not None and found.claim.off_ms > HOUR_MS) is not proven


def test_how_far_marks_are_from_their_server_is_told() -> None:
    def off_ms(server_id: str, made_at: str) -> int:
        metadata = metadata_of(ONE, by(), server_id, SIGNED_MS)
        return evidence_of(metadata, "", by(), server_id="s-1", made_at=made_at).off_ms

    assert off_ms("s-1", "2020-01-01T00:00:00Z") == 0
    assert off_ms("", "2023-11-14T22:13:21Z") == 1001
    assert off_ms("", "2023-11-14T22:13:10Z") == 10_001


@pytest.mark.parametrize("made_at", ["2023-11-14T22:13:25Z", "2020-01-01T00:00:00Z", ""])
def test_marks_that_name_a_server_are_of_that_one_whenever_it_was_made(made_at: str) -> None:
    metadata = metadata_of(ONE, by(), "s-1", SIGNED_MS)
    assert evidence_of(metadata, "", by(), server_id="s-1", made_at=made_at).marks == ONE
    assert evidence_of(metadata, "", by(), server_id="s-2", made_at=made_at).marks is None


@pytest.mark.parametrize(("position", "other"), [(8, str(SIGNED_MS + HOUR_MS)), (9, "s-2")])
def test_the_time_at_which_marks_were_signed_and_their_server_are_signed(
    position: int, other: str
) -> None:
    metadata = metadata_of(ONE, by(), "s-1", SIGNED_MS)
    fields = metadata["oms_marks"].split(" ")
    fields[position] = other
    forged = metadata | {"oms_marks": " ".join(fields)}
    assert evidence_of(forged, "", by(), server_id=fields[9]).marks is None


@pytest.mark.parametrize("text", ODD_IDS)
def test_marks_with_an_id_that_is_none_are_none(text: str) -> None:
    metadata = metadata_of(ONE, by())
    forged = metadata["oms_marks"].replace(ONE.instance_id, text)
    found = evidence_of(metadata | {"oms_marks": forged}, "", by())
    assert (found.marks, found.claim) == (None, None)


def test_a_tag_is_within_novas_sixty_characters() -> None:
    assert tag_of("default") == "oms-default"
    assert len(tag_of("f" * 48)) <= 60


# ---------------------------------------------------------------- as they were before

UNSIGNED = {
    "oms_fleet": "f",
    "oms_instance": ONE.instance_id,
    "oms_attempt": "1",
    "oms_owner": "alice",
    "oms_name": "ci",
    "oms_created_at_ms": "1",
    "oms_expires_at_ms": "2",
    "oms_keypair": "",
    "oms_idempotency": "",
    "oms_label:job": "7",
}


def test_unsigned_marks_are_a_claim_and_prove_nothing() -> None:
    found = evidence_of(UNSIGNED, "oms-i-1-1", by())
    assert found.marks is None
    assert found.claim
    assert (found.claim.marks, found.claim.how) == (ONE, "unsigned")
    assert all(map(is_ours, UNSIGNED))


def test_marks_of_a_server_from_before_keys_were_written_are_whole() -> None:
    older = {k: v for k, v in UNSIGNED.items() if k not in ("oms_idempotency", "oms_keypair")}
    assert evidence_of(older, "", by()).claim == evidence_of(UNSIGNED, "", by()).claim


@pytest.mark.parametrize("key", list(UNSIGNED)[:7])
def test_unsigned_marks_that_are_not_whole_are_none(key: str) -> None:
    assert evidence_of({k: v for k, v in UNSIGNED.items() if k != key}, "", by()).claim is None


@pytest.mark.parametrize(
    ("key", "text"),
    [(key, text) for key in list(UNSIGNED) if key.endswith("_ms") for text in ODD_NUMBERS]
    + [("oms_attempt", text) for text in ODD_NUMBERS]
    + [("oms_instance", text) for text in ODD_IDS]
    + [("oms_owner", text) for text in ("", "a\nb", "o" * 201)]
    + [("oms_name", text) for text in ("", "a b", "n" * 64, "é")]
    + [("oms_label:job", text) for text in ("é", "v" * 64, "a\nb")]
    + [("oms_label:é", "1"), ("oms_label:", "1"), ("oms_idempotency", "a:b:c")],
)
def test_unsigned_marks_of_what_no_command_may_say_are_none(key: str, text: str) -> None:
    assert evidence_of(UNSIGNED | {key: text}, "", by()).claim is None


@pytest.mark.parametrize("name", ["laptop", "oms-f-i-1-1", "oms-i-" + "0" * 26 + "-1"])
def test_a_keypair_that_unsigned_marks_name_is_theirs_only_if_they_imply_it(name: str) -> None:
    implied = f"oms-f-{ONE.instance_id}-1"
    for keypair, ours in ((name, False), (implied, True)):
        claim = evidence_of(UNSIGNED | {"oms_keypair": keypair}, "", by()).claim
        assert claim
        assert claim.marks.identity.has_keypair is ours


# ---------------------------------------------------------------- names


@RELAXED
@given(FLEET_NAME, ID, ATTEMPT)
def test_a_name_tells_whose_attempt_it_is_in_characters_that_clouds_allow(
    fleet: str, instance_id: str, attempt: int
) -> None:
    signing, attempted = by(fleet=fleet), Attempted(instance_id, attempt)
    name = name_of(signing, attempted)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", name)
    assert named(name, signing) == attempted
    assert re.search(pattern_of(fleet, attempted), name)
    assert re.search(pattern_of(fleet, attempted), f"oms-{instance_id}-{attempt}")
    assert not re.search(pattern_of(fleet, attempted._replace(attempt=attempt + 1)), name)


@RELAXED
@given(FLEET_NAME, FLEET_NAME, ID, ATTEMPT)
def test_no_other_fleets_name_is_ours(
    fleet: str, other: str, instance_id: str, attempt: int
) -> None:
    assume(fleet != other)
    attempted = Attempted(instance_id, attempt)
    for their in (other, f"{fleet}-{other}", f"{other}-{fleet}"):
        assert named(name_of(by(fleet=their), attempted), by(fleet=fleet)) is None
        assert unsigned_keypair(f"oms-{their}-{instance_id}-{attempt}", fleet) is None


def test_fleets_whose_names_look_alike_in_a_name_are_told_apart() -> None:
    name = name_of(by(fleet="a.b"), ONE.attempted)
    assert name.startswith("oms-a_b-")
    assert named(name, by(fleet="a.b")) == ONE.attempted
    assert named(name, by(fleet="a_b")) is None


def test_a_name_verifies_by_any_key_and_in_its_place_only() -> None:
    name = name_of(by(OLD), ONE.attempted)
    assert named(name, by(NEW, OLD)) == ONE.attempted
    assert evidence_of({}, name, by(NEW, OLD)).named_by == OLD.id
    assert named(name, by(NEW)) is None
    assert named(name, by(OLD, place="p-2")) is None


@pytest.mark.parametrize(
    "name",
    [
        "laptop",
        "",
        "oms-f",
        "oms-f-i-1-1",
        "oms-f-" + "i-" + "0" * 26,
        "oms-f-" + "i-" + "0" * 26 + "-",
        "oms-f-" + "i-" + "0" * 26 + "-x",
        "my-oms-f-" + "i-" + "0" * 26 + "-1",
        "oms-f-" + "i-" + "0" * 26 + "-1 (copy)",
        "oms-f-" + "i-" + "0" * 26 + "-1\n",
        "oms-f-" + "i-" + "U" * 26 + "-1",
        "oms-" + "i-" + "0" * 26 + "-1",
    ],
)
def test_what_a_person_named_is_no_keypair_of_ours(name: str) -> None:
    assert unsigned_keypair(name, "f") is None
    assert named(name, by()) is None
    assert named(f"{name}-{'A' * 12}", by()) is None
