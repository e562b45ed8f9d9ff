"""Who gets in, who waits, who is refused: the queue, idempotency keys, owners' quotas."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime
from itertools import islice
from typing import Any

import pytest

from tests.support.doors import Books, Door
from tests.support.signer import Signer

GOOD = {"image": "debian-12", "size": "small"}
QUEUE = GOOD | {"on_full": "queue"}
REGION = "dead/RegionOne"

Create = Callable[..., Any]


@pytest.fixture
def create(doors: dict[str, Door], signer: Signer, answers: Any) -> Create:
    """Return what sends a create of an owner's, and checks the answer against openapi.json."""

    def create(body: dict[str, Any], owner: str = "alice", key: Any = None, **claims: Any) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        given = signer.token(sub=owner, **claims)
        answer = doors["create"].call("POST", "/instances", given, json=body, headers=headers)
        answers.check(answer, "POST", "/instances")
        return answer

    return create


@pytest.fixture
def show(doors: dict[str, Door], signer: Signer, answers: Any) -> Callable[..., Any]:
    """Return what shows an instance, or its story."""

    def show(instance_id: str, owner: str = "alice", more: str = "") -> Any:
        answer = doors["list"].call(
            "GET", f"/instances/{instance_id}{more}", signer.token(sub=owner)
        )
        return answers.check(answer, "GET", "/instances/{id}" + more)

    return show


def ids(answer: Any) -> list[str]:
    """Return the ids in an answer that says yes."""
    assert answer.status_code == 202, answer.text
    return [it["id"] for it in answer.json()["instances"]]


# ---------------------------------------------------------------- the queue


def test_what_finds_no_room_waits_at_its_place_until_it_is_destroyed(
    doors: dict[str, Door],
    token: str,
    books: Books,
    create: Create,
    show: Callable[..., Any],
    answers: Any,
) -> None:
    books.open(REGION, instances=0)
    answer = create(QUEUE | {"count": 2, "ttl": 60})
    document = answer.json()
    assert (document["requested"], document["placed"], document["queued"]) == (2, 0, 2)
    first, second = ids(answer)
    for it in document["instances"]:
        assert (it["status"], it["region"], it["provider"]) == ("QUEUED", None, None)
        assert (it["attempt"], it["server_id"], it["flavor"]) == (0, None, "small")
        waits = datetime.fromisoformat(it["expires_at"]) - datetime.fromisoformat(it["created_at"])
        assert waits.total_seconds() == 900, "fleet.yaml's max_wait; the ttl begins with a place"
    why = "no region that can serve it has a free slot"
    assert show(first)["queue"] == {"place": 1, "waiting": 2, "why": why}
    assert show(second)["queue"] == {"place": 2, "waiting": 2, "why": why}
    (event,) = show(first, more="/events")["events"]
    assert (event["what"], event["region"], event["attempt"]) == ("queued", None, 0)
    listed = doors["list"].call("GET", "/instances?status=QUEUED", token)
    assert len(answers.check(listed, "GET", "/instances")["instances"]) == 2
    assert "oms_queue_length 2" in doors["list"].call("GET", "/metrics").text.splitlines()
    gone = doors["destroy"].call("DELETE", f"/instances/{first}", token)
    (ended,) = answers.check(gone, "DELETE", "/instances/{id}")["instances"]
    assert ended["status"] == "DELETED"
    assert "queue" not in show(first)
    assert show(second)["queue"]["place"] == 1


def test_no_more_wait_than_may(books: Books, create: Create, answers: Any) -> None:
    books.open(REGION, instances=0)
    too_many = create(QUEUE | {"count": 4})
    told = answers.refused(too_many, 429, "owner-quota-exceeded")["detail"]
    assert told == "at most 3 of one owner's instances may wait; nothing was made"
    assert int(too_many.headers["retry-after"]) > 0
    assert len(ids(create(QUEUE | {"count": 3}))) == 3
    answers.refused(create(QUEUE), 429, "owner-quota-exceeded")
    full = create(QUEUE | {"count": 2}, "dora")
    assert "at most 4" in answers.refused(full, 503, "queue-full")["detail"]
    assert int(full.headers["retry-after"]) > 0
    assert len(ids(create(QUEUE, "dora"))) == 1
    answers.refused(create(GOOD), 503, "capacity-exhausted")


def test_who_waits_for_an_answer_leaves_the_function_to_others(
    doors: dict[str, Door], signer: Signer, books: Books, create: Create
) -> None:
    """It has eight threads: two may wait, and nobody's requests take all of them."""
    books.open(REGION, instances=0)
    (waits,) = ids(create(QUEUE, key="one"))
    token, headers = signer.token(), {"Idempotency-Key": "one", "Prefer": "wait=50"}

    def repeat() -> Any:
        return doors["create"].call("POST", "/instances", token, json=QUEUE, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(repeat) for _ in range(8)]
        answered = list(islice(as_completed(asking), 6))
        ids(create(QUEUE, "dora"))
        assert not any(it.done() for it in asking if it not in answered)
        doors["destroy"].call("DELETE", f"/instances/{waits}", token)
    assert [it.result().status_code for it in answered] == [202] * 6


def test_a_lower_priority_goes_first(
    books: Books, create: Create, show: Callable[..., Any]
) -> None:
    books.open(REGION, instances=0)
    (early,), (late,) = ids(create(QUEUE)), ids(create(QUEUE, "dora"))
    assert show(late, "dora")["queue"]["place"] == 1
    assert show(early)["queue"]["place"] == 2


def test_what_every_region_fails_waits_on(
    books: Books, create: Create, show: Callable[..., Any]
) -> None:
    assert books
    (instance_id,) = ids(create(QUEUE))
    shown = show(instance_id)
    assert (shown["status"], shown["region"], shown["queue"]["place"]) == ("QUEUED", None, 1)
    events = show(instance_id, more="/events")["events"]
    assert (events[0]["what"], events[-1]["what"]) == ("placed", "queued")
    assert "connection refused" in " ".join(it["why"] for it in events)


# ---------------------------------------------------------------- idempotency keys


def test_the_same_key_and_command_give_the_same_instances(
    books: Books, create: Create, answers: Any
) -> None:
    books.open(REGION, instances=0)
    key = "k" * 255
    made = ids(create(QUEUE | {"count": 2}, key=key))
    again = create(QUEUE | {"count": 2}, key=key)
    assert ids(again) == made
    assert again.json()["queued"] == 2
    answers.refused(create(QUEUE | {"count": 1}, key=key), 409, "idempotency-conflict")
    assert not set(ids(create(QUEUE, "dora", key=key))) & set(made), "keys are an owner's own"
    assert len(books.ledger.queue()) == 3


def test_the_key_of_a_command_that_came_to_nothing_is_free_again(
    books: Books, create: Create, answers: Any
) -> None:
    assert books
    answers.refused(create(GOOD, key="k"), 502, "no-region-worked")
    answers.refused(create(GOOD, key="k"), 503, "no-region-ready")
    assert len(ids(create(QUEUE, key="k"))) == 1


@pytest.mark.parametrize("key", ["k" * 256, b"a\x80", b"tab\tin it"])
def test_a_bad_key_is_400(books: Books, create: Create, answers: Any, key: Any) -> None:
    answer = create(QUEUE, key=key)
    assert "Idempotency-Key" in answers.refused(answer, 400, "malformed")["detail"]
    assert books.ledger.queue() == []


# ---------------------------------------------------------------- owners' quotas


def test_over_a_quota_is_429_with_it_and_what_is_used(
    books: Books, create: Create, answers: Any
) -> None:
    books.add("ann")
    answer = create(GOOD | {"count": 2}, "ann")
    problem = answers.refused(answer, 429, "owner-quota-exceeded")
    assert problem["quota"] == {"instances": 2, "vcpus": 9}
    assert problem["used"] == {"instances": 1, "vcpus": 1, "ram_mb": 512}
    assert int(answer.headers["retry-after"]) > 0
    assert books.ledger.regions()[0].held.instances == 1


def test_who_may_wait_waits_for_their_own_quota(
    books: Books, create: Create, show: Callable[..., Any]
) -> None:
    books.add("ann")
    books.add("ann")
    (waiting,) = ids(create(QUEUE, "ann"))
    why = "the quota of its owner is used up: 2 instances"
    assert show(waiting, "ann")["queue"] == {"place": 1, "waiting": 1, "why": why}


def test_creates_faster_than_allowed_are_429_and_told_when(
    books: Books, create: Create, answers: Any
) -> None:
    books.open(REGION, instances=0)
    assert len(ids(create(QUEUE | {"count": 3}, "bea"))) == 3
    answer = create(QUEUE, "bea")
    assert "at most 3" in answers.refused(answer, 429, "owner-quota-exceeded")["detail"]
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    answers.refused(create(QUEUE | {"count": 4}, "bea"), 429, "owner-quota-exceeded")


def test_an_owners_commands_are_bounded_and_repeats_are_none(
    books: Books, create: Create, answers: Any
) -> None:
    books.open(REGION, instances=0)
    made = create(QUEUE | {"count": 2}, "eli", key="one")
    assert len(ids(made)) == 2
    assert create(QUEUE, "eli", key="two").status_code == 202
    answer = create(QUEUE, "eli", key="three")
    problem = answers.refused(answer, 429, "owner-quota-exceeded")
    assert "at most 2 creates" in problem["detail"]
    assert problem["quota"] == {"commands_per_minute": 2}
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert ids(create(QUEUE | {"count": 2}, "eli", key="one")) == ids(made)
    assert create(QUEUE, "alice").status_code == 202


def test_what_never_fits_a_quota_does_not_even_wait(
    books: Books, create: Create, answers: Any
) -> None:
    answers.refused(create(QUEUE, "cleo"), 429, "owner-quota-exceeded")
    assert books.ledger.queue() == []


@pytest.mark.parametrize(("owner", "claimed", "most"), [("alice", 1, 1), ("ann", 5, 2)])
def test_of_the_tokens_quota_and_the_fleets_the_narrower_counts(
    books: Books, create: Create, answers: Any, owner: str, claimed: int, most: int
) -> None:
    assert books
    answer = create(GOOD | {"count": most + 1}, owner, quota={"instances": claimed})
    problem = answers.refused(answer, 429, "owner-quota-exceeded")
    assert problem["quota"]["instances"] == most


# ---------------------------------------------------------------- regions' bounds


def test_a_region_that_builds_as_many_as_it_may_is_full_for_now(
    doors: dict[str, Door], token: str, books: Books, create: Create, answers: Any
) -> None:
    books.open(REGION, max_building=1)
    books.add(building=True)
    problem = answers.refused(create(GOOD), 503, "capacity-exhausted")
    assert problem["regions"] == {REGION: "builds 1 already, as many as it may at once"}
    shown = doors["list"].call("GET", "/regions", token)
    (region,) = answers.check(shown, "GET", "/regions")["regions"]
    assert (region["building"], region["max_building"], region["free"]) == (1, 1, 19)
