"""page and get: owners list their own instances, whatever they are called."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openmultistack.ledger.keys import Keys
from tests.support.desk import Desk

A = "alpha/One"

NASTY = [
    "alice", "ALICE", "alice:job", "alice:job:7", "alice%3Ajob", "alice%253Ajob", "alice/", "*",
    "al?ce", "[a-z]", "{oms:test}", "}:", "a b", "\u00e9", "e\u0301", "😀", "\\", '"', "alice\t",
]  # fmt: skip


def walk(desk: Desk, owner: str, limit: int, **more: object) -> list[str]:
    """Return all ids of a list, page after page."""
    found: list[str] = []
    after = None
    while True:
        settings = {"label": None, "gone": False} | more
        page = desk.ledger.page(owner, after=after, limit=limit, **settings)
        assert len(page) <= limit
        found += page
        if len(page) < limit:
            return found
        after = page[-1]


@pytest.fixture
def many(desk: Desk) -> list[str]:
    """Place 250 instances of one owner, every fifth with a label."""
    desk.open(A, instances=500)
    ids = desk.new_ids(250)
    for start in range(0, 250, 50):
        part = ids[start : start + 50]
        desk.place(A, ids=part[:10], labels={"job": "7", "os": "x"})
        desk.place(A, ids=part[10:])
    return ids


@pytest.mark.parametrize("limit", [1, 7, 50, 100, 249, 250, 251, 1000])
def test_a_walk_by_cursor_meets_every_instance_once_newest_first(
    desk: Desk, many: list[str], limit: int
) -> None:
    assert walk(desk, "alice", limit) == many[::-1]


def test_a_walk_by_label_meets_only_those_that_have_it(desk: Desk, many: list[str]) -> None:
    labelled = [it for at in range(0, 250, 50) for it in many[at : at + 10]]
    assert walk(desk, "alice", 7, label=("job", "7")) == labelled[::-1]
    assert walk(desk, "alice", 7, label=("os", "x")) == labelled[::-1]
    for other in (("job", "8"), ("os", "7"), ("job", ""), ("", "")):
        assert walk(desk, "alice", 7, label=other) == []


@pytest.mark.usefixtures("many")
def test_of_several_labels_the_one_that_fewest_have_is_told(desk: Desk) -> None:
    desk.placed(A, labels={"a": "1", "job": "7"})
    assert desk.ledger.rarest("alice", {"job": "7", "a": "1"}) == ("a", "1")
    assert desk.ledger.rarest("alice", {"job": "7", "nobody": "has"}) == ("nobody", "has")
    assert desk.ledger.rarest("bob", {"job": "7", "a": "1"}) in (("a", "1"), ("job", "7"))
    assert desk.ledger.rarest("alice", {"job": "7"}) == ("job", "7")
    assert desk.ledger.rarest("alice", {}) is None


def test_a_cursor_survives_the_end_of_the_instance_it_names(desk: Desk, many: list[str]) -> None:
    page = desk.ledger.page("alice", label=None, gone=False, after=None, limit=10)
    for instance in desk.ledger.get(page):
        desk.end(type(desk.placed(A))(instance.id, 1, A))
    rest = desk.ledger.page("alice", label=None, gone=False, after=page[-1], limit=10)
    assert rest == many[::-1][10:20]


def test_ended_instances_are_listed_apart(desk: Desk) -> None:
    desk.open(A)
    kept, over = desk.placed(A, labels={"a": "b"}), desk.placed(A, labels={"a": "b"})
    desk.end(over)
    assert walk(desk, "alice", 10) == [kept.instance_id]
    assert walk(desk, "alice", 10, label=("a", "b")) == [kept.instance_id]
    assert walk(desk, "alice", 10, gone=True) == [over.instance_id]


def test_owners_see_only_their_own_however_they_are_called(desk: Desk) -> None:
    desk.open(A, instances=1000)
    placed = {
        owner: desk.placed(A, owner=owner, labels={"job": "7"}).instance_id for owner in NASTY
    }
    for owner, instance_id in placed.items():
        assert walk(desk, owner, 10) == [instance_id]
        assert walk(desk, owner, 10, label=("job", "7")) == [instance_id]
        assert walk(desk, owner, 10, gone=True) == []
        assert desk.get(instance_id).identity.owner == owner
    assert walk(desk, "somebody", 10) == []


def test_the_end_of_one_owners_instance_is_not_seen_by_another(desk: Desk) -> None:
    desk.open(A)
    mine, theirs = desk.placed(A, owner="alice"), desk.placed(A, owner="alice:job")
    desk.end(mine)
    assert walk(desk, "alice:job", 10) == [theirs.instance_id]
    assert walk(desk, "alice:job", 10, gone=True) == []


def test_get_returns_what_is_known_in_the_order_asked(desk: Desk) -> None:
    desk.open(A)
    first, second = desk.placed(A), desk.placed(A)
    asked = [second.instance_id, "i-unknown", first.instance_id]
    assert [it.id for it in desk.ledger.get(asked)] == [second.instance_id, first.instance_id]
    assert desk.ledger.get([]) == []
    assert desk.ledger.events("i-unknown") == []


names = st.text(max_size=12) | st.sampled_from(NASTY)
parts = st.tuples(names, names, names)


@given(one=parts, other=parts)
@example(one=("alice:job", "7", "x"), other=("alice", "job:7", "x"))
@example(one=("alice", "job", "7:x"), other=("alice", "job:7", "x"))
@example(one=("a%3Ab", "", ""), other=("a:b", "", ""))
def test_no_two_owners_or_labels_share_an_index(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    keys = Keys("test")
    assert (keys.labelled(*one) == keys.labelled(*other)) == (one == other)
    assert (keys.live(one[0]) == keys.live(other[0])) == (one[0] == other[0])
    assert (keys.gone(one[0]) == keys.gone(other[0])) == (one[0] == other[0])


@given(fleets=st.tuples(names, names), part=names)
def test_keys_of_different_kinds_and_fleets_never_meet_and_share_one_hash_tag(
    fleets: tuple[str, str], part: str
) -> None:
    first, second = (every_key(Keys(fleet), part) for fleet in fleets)
    assert len(first) == 11
    tags = {key[: key.index("}") + 1] for key in first}
    assert len(tags) == 1
    assert all(key.startswith("{oms:") and key.count("}") == 1 for key in first)
    assert fleets[0] == fleets[1] or not first & second


def every_key(keys: Keys, part: str) -> set[str]:
    """Return a key of every kind."""
    named = (
        keys.region, keys.slots, keys.catalogue, keys.sweep_lock, keys.record, keys.events,
        keys.live, keys.gone,
    )  # fmt: skip
    fixed = {keys.regions, keys.due, keys.labelled(part, part, part)}
    return fixed | {name(part) for name in named}
