"""Operators drain regions and open them again."""

import re
from typing import Any

import pytest

from tests.support.doors import Books, Door

GOOD = {"image": "debian-12", "size": "small"}
REGION = "dead/RegionOne"


@pytest.mark.parametrize("pattern", [REGION, "dead/*", "dead"])
def test_a_drained_region_takes_nothing_new_keeps_what_it_has_and_is_opened_again(
    doors: dict[str, Door], token: str, books: Books, answers: Any, pattern: str
) -> None:
    kept = books.add()

    def ask(act: str, **body: Any) -> Any:
        answer = doors["reap"].call("POST", f"/regions/{act}", token, json=body)
        (region,) = answers.check(answer, "POST", f"/regions/{act}")["regions"]
        return region["region"], region["state"], region["drained"]

    for why in ("repairs", "still repairs"):  # repeating it tells the newer reason
        assert ask("drain", regions=[pattern], why=why) == (REGION, "drained", why)
    answer = doors["create"].call("POST", "/instances", token, json=GOOD)
    assert answers.refused(answer, 503, "no-region-ready")["regions"] == {
        REGION: "is drained: still repairs"
    }
    metrics = doors["list"].call("GET", "/metrics").text
    assert f'oms_region_up{{region="{REGION}"}} 0' in metrics
    (age,) = re.findall(rf'oms_region_swept_age_seconds{{region="{REGION}"}} (\d+)', metrics)
    assert int(age) < 600
    assert books.ledger.get([kept])[0].status == "ACTIVE"
    for _ in range(2):
        assert ask("open", regions=[pattern]) == (REGION, "up", None)
    assert ask("drain", regions=[pattern])[2] == "drained by its operator"


def test_a_sweep_does_not_open_what_is_drained(
    doors: dict[str, Door], token: str, books: Books, answers: Any
) -> None:
    books.ledger.drain(REGION, "repairs")
    answers.check(doors["reap"].call("POST", "/reap", token), "POST", "/reap")
    shown = doors["list"].call("GET", "/regions", token)
    (region,) = answers.check(shown, "GET", "/regions")["regions"]
    assert (region["state"], region["drained"]) == ("drained", "repairs")
    assert region["last_error"] == "connection refused"


def test_who_waits_is_tried_where_it_is_open_again(
    doors: dict[str, Door], token: str, books: Books, answers: Any
) -> None:
    books.ledger.drain(REGION, "repairs")
    answer = doors["create"].call("POST", "/instances", token, json=GOOD | {"on_full": "queue"})
    (waiting,) = answers.check(answer, "POST", "/instances")["instances"]
    opened = doors["reap"].call("POST", "/regions/open", token, json={"regions": [REGION]})
    (region,) = answers.check(opened, "POST", "/regions/open")["regions"]
    assert (region["state"], region["last_error"]) == ("down", "connection refused")
    told = [it["what"] for it in books.ledger.events(waiting["id"])]
    assert told[:2] == ["queued", "placed"]
    assert books.ledger.get([waiting["id"]])[0].status == "QUEUED"


@pytest.mark.parametrize("act", ["drain", "open"])
def test_an_unknown_region_is_422_with_near_ones_and_nothing_is_done(
    doors: dict[str, Door], token: str, books: Books, answers: Any, act: str
) -> None:
    body = {"regions": ["dead/*", "daed/RegionOne"]}
    answer = doors["reap"].call("POST", f"/regions/{act}", token, json=body)
    problem = answers.check(answer, "POST", f"/regions/{act}")
    assert answers.refused(answer, 422, "invalid") == problem
    assert answers.pointers(problem) == {"/regions/1"}
    assert problem["nearest"] == [REGION]
    assert books.ledger.regions()[0].drained is None


@pytest.mark.parametrize(
    ("act", "body", "pointer"),
    [
        ("drain", {}, "/regions"),
        ("drain", {"regions": []}, "/regions"),
        ("drain", {"regions": "dead"}, "/regions"),
        ("drain", {"regions": ["dead", ""]}, "/regions/1"),
        ("drain", {"regions": ["dead"], "why": "x" * 201}, "/why"),
        ("drain", {"regions": ["dead"], "until": "Monday"}, "/until"),
        ("open", {}, "/regions"),
        ("open", {"regions": ["dead"], "why": "done"}, "/why"),
    ],
)
def test_bad_input_is_422_with_a_pointer(
    doors: dict[str, Door], token: str, answers: Any, act: str, body: Any, pointer: str
) -> None:
    answer = doors["reap"].call("POST", f"/regions/{act}", token, json=body)
    assert answers.pointers(answers.check(answer, "POST", f"/regions/{act}")) == {pointer}


@pytest.mark.parametrize("act", ["drain", "open"])
def test_what_is_no_json_is_400(doors: dict[str, Door], token: str, answers: Any, act: str) -> None:
    answer = doors["reap"].call("POST", f"/regions/{act}", token, content=b"dead")
    answers.refused(answer, 400, "malformed")
    answers.check(answer, "POST", f"/regions/{act}")
