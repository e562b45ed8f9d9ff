"""The log: which request is served, told to threads and clouds; lines short and without secrets."""

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openmultistack.logs import (
    ASKING,
    ATTEMPTS_TOLD,
    HEARD_MAX,
    ITEMS_MAX,
    TEXT_BYTES,
    Asking,
    bounded,
    in_context,
    tell,
    tell_attempt,
)

UUID = "0b2d4a3c-1111-4222-8333-123456789abc"
FORM = r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def test_an_id_that_is_a_uuid_is_told_to_clouds_as_it_is() -> None:
    assert Asking(UUID).global_id == f"req-{UUID}"


@pytest.mark.parametrize("given", ["job-4711", "01JD", UUID.upper()])
def test_any_other_id_becomes_one_that_services_take_always_the_same(given: str) -> None:
    told = Asking(given).global_id
    assert re.fullmatch(FORM, told)
    assert told == Asking(given).global_id != Asking(given + "x").global_id


def test_bounded_what_clouds_call_our_calls_is_kept_for_so_many_and_only_if_it_is_an_id() -> None:
    asking = Asking(UUID)
    for text in ["", "a b", "x" * 65, *["req-1"] * (HEARD_MAX + 5)]:
        asking.hear(text)
    assert asking.heard == ["req-1"] * HEARD_MAX


def test_other_threads_know_the_request() -> None:
    before, asking = ASKING.get(), Asking(UUID)  # a door may have been tried in this thread
    token = ASKING.set(asking)
    try:
        acts = in_context([ASKING.get] * 3)
    finally:
        ASKING.reset(token)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda act: act(), acts)) == [asking] * 3
    assert ASKING.get() is before


# ---------------------------------------------------------------- lines

SECRETS = st.text(alphabet="abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=12)
ANY = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(), inner, max_size=30),
    max_leaves=60,
)


def written(capsys: pytest.CaptureFixture[str], event: str, **fields: object) -> dict[str, Any]:
    """Return the one line that an event makes, and check that it is one, and short."""
    structlog.reset_defaults()
    tell(event, **fields)
    structlog.reset_defaults()
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text.isascii()
    found: dict[str, Any] = json.loads(text)
    assert found["event"] == event
    return found


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
    deadline=None,
)
@given(value=ANY)
def test_bounded_a_line_is_one_json_object_whatever_is_in_it(
    capsys: pytest.CaptureFixture[str], value: object
) -> None:
    assert len(json.dumps(written(capsys, "x", value=value))) < 100_000


@pytest.mark.parametrize("letter", ["x", "é", "\ud800", "\U0001f600", "\n", '"', "\\"])
def test_bounded_a_text_is_cut_by_what_it_takes_in_json(letter: str) -> None:
    for text in (letter * 100, letter * 9000):
        told = bounded(text)
        assert isinstance(told, str)
        assert len(json.dumps(told)) <= TEXT_BYTES + 2
        assert told == text or (told.endswith("…") and text.startswith(told[:-1]))
        assert len(json.dumps(told)) > 1900 or told == text, "no more is cut than must be"


def test_bounded_a_create_of_100_instances_that_50_regions_refused_is_some_kb(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = {"id": f"i-{'X' * 26}", "region": "a-provider/RegionOne", "attempt": 24, "server": UUID}
    said = {f"a-provider/Region{n}": "403: Quota exceeded; " * 50 for n in range(50)}
    ids = [f"req-{UUID}"] * HEARD_MAX
    line = written(
        capsys,
        "request",
        instances=[one] * 100,
        regions=said,
        cloud_request_ids=ids,
        detail="x" * 9999,
    )
    assert len(json.dumps(line)) < 12_000
    assert line["instances"] == [one] * ITEMS_MAX + ["80 more"]
    assert line["regions"]["more"] == 30


@settings(deadline=None)
@given(secret=SECRETS)
def test_what_is_a_secret_is_not_in_a_line_wherever_it_was_put(secret: str) -> None:
    encoded = base64.b64encode(f"#!/bin/sh {secret} {secret} {secret}".encode()).decode()
    texts = [
        f"the password: {secret}, and more",
        f'{{"auth": {{"password": "{secret}"}}}}',
        f"application_credential_secret={secret}",
        f"redis://oms:{secret}@127.0.0.1/0 does not answer",
        f"X-Auth-Token: {secret}",
        f"Bearer eyJ{secret}.{secret}.{secret} is bad",
        f"gAAAAAB{secret * 3} is no token",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{secret}\n-----END OPENSSH PRIVATE KEY-----",
        f"user_data {encoded}x9Z is too long",
    ]
    told = json.dumps(bounded({"said": texts, "more": {it: it for it in texts}, "one": texts[0]}))
    assert secret not in told
    assert encoded not in told
    plain = "alpha/One: 403: Quota exceeded for instances: Requested 1, but already used 20 of 20"
    assert bounded(plain) == plain, "what is none is told"


def fail(text: str) -> None:
    """Raise an error of this text."""
    raise ValueError(text)


def test_an_exceptions_traceback_ends_with_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    try:
        fail("x" * 20_000 + " password=hunter2hunter2 the end")
    except ValueError:
        tell("unexpected", "exception", action="create")
    structlog.reset_defaults()
    line = json.loads(capsys.readouterr().out)
    assert line["exception"].endswith("password=(secret) the end")
    assert len(line["exception"]) <= 8000


def test_a_line_tells_of_its_request_and_of_what_clouds_have_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asking = Asking(UUID)
    token = ASKING.set(asking)
    try:
        assert "global_request_id" not in written(capsys, "x"), "no cloud was called for it"
        asking.called = True
        line = written(capsys, "x")
    finally:
        ASKING.reset(token)
    assert (line["request_id"], line["global_request_id"]) == (UUID, f"req-{UUID}")


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    structlog.reset_defaults()
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        tell("x")
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
    structlog.reset_defaults()


def test_bounded_failed_attempts_have_so_many_lines_and_the_others_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    structlog.reset_defaults()
    asking = Asking(UUID)
    token = ASKING.set(asking)
    try:
        for _ in range(ATTEMPTS_TOLD + 5):
            tell_attempt(region="a/One", instance="i-1", attempt=1, outcome="in doubt")
    finally:
        ASKING.reset(token)
        structlog.reset_defaults()
    assert len(capsys.readouterr().out.splitlines()) == ATTEMPTS_TOLD
    assert asking.failed == ATTEMPTS_TOLD + 5
