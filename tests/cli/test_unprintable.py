"""Whatever a server says, no command writes what steers a terminal or turns its text round."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from infra.local import stack

# An escape, a bell, a new title, a line turned round, a mark without width, a line of its own.
EVIL = "a\x1b[2J\x07\x1b]0;owned\x07\u202eb\u200dc\u2028d\x9b31me\rf\ng"
ID = "i-01M8AZJJ5M09YPZQ745F678Q9M"
AT = "2026-11-26T03:00:00Z"
INSTANCE: Mapping[str, Any] = {
    "id": ID, "name": EVIL, "status": "ACTIVE", "cloud_status": EVIL, "owner": EVIL,
    "region": EVIL, "provider": EVIL, "server_id": EVIL, "image": EVIL, "flavor": EVIL,
    "addresses": [{"address": EVIL, "version": 4, "network": EVIL, "kind": "fixed"}],
    "address": EVIL, "labels": {EVIL: EVIL}, "note": EVIL, "attempt": 1, "created_at": AT,
    "expires_at": AT, "error": EVIL, "queue": {"place": 1, "waiting": 2, "why": EVIL},
}  # fmt: skip
COUNTS = {"cap": 1, "held": 1, "foreign": 0, "free": 0}
REGION: Mapping[str, Any] = {
    "region": EVIL, "provider": EVIL, "state": "down", **COUNTS, "building": 0,
    "resources": {"instances": COUNTS, "vcpus": COUNTS, "ram_mb": COUNTS}, "max_building": None,
    "drained": EVIL, "resting_s": 5, "last_error": EVIL, "last_error_at": AT, "swept_at": AT,
    "strangers": {EVIL: 1},
}  # fmt: skip
SWEEP = {"region": EVIL, "outcome": "failed", "error": EVIL, "actions": {EVIL: 1}, "duration_ms": 1}
EVENT = {"at": AT, "what": EVIL, "region": EVIL, "attempt": 1, "why": EVIL}
ANSWERS: Mapping[tuple[str, str], object] = {
    ("GET", "/v1/instances"): {"instances": [INSTANCE], "next": None},
    ("GET", f"/v1/instances/{ID}"): INSTANCE,
    ("GET", f"/v1/instances/{ID}/events"): {"events": [EVENT]},
    ("PATCH", f"/v1/instances/{ID}"): INSTANCE,
    ("DELETE", f"/v1/instances/{ID}"): {"instances": [INSTANCE]},
    ("POST", "/v1/instances"): {
        "instances": [INSTANCE], "requested": 1, "placed": 1, "queued": 0,
    },
    ("GET", "/v1/regions"): {"regions": [REGION]},
    ("POST", "/v1/regions/drain"): {"regions": [REGION]},
    ("POST", "/v1/regions/open"): {"regions": [REGION]},
    ("POST", "/v1/regions/forget"): {"regions": [REGION]},
    ("POST", "/v1/regions/adopt"): {"regions": [SWEEP]},
    ("POST", "/v1/copies/destroy"): {
        "copies": [{"server": EVIL, "region": EVIL, "instance": EVIL}],
    },
    ("POST", "/v1/reap"): {"regions": [SWEEP], "expired": 1, "forgotten": 1},
}  # fmt: skip
COMMANDS = (
    ("list",), ("list", "--json"), ("show", ID), ("show", ID, "--json"),
    ("renew", ID, "--ttl", "1h"), ("destroy", ID), ("create", "--image", "i", "--size", "s"),
    ("create", "--image", "i", "--size", "s", "--wait"), ("regions",), ("drain", "a"),
    ("open", "a"), ("regions", "forget", "a", "--yes"), ("reap",),
    ("adopt", "a", "--unverified"), ("destroy", "--copy", "s-1"),
)  # fmt: skip


@pytest.fixture
def evil(stub: Any) -> Any:
    """A server all of whose answers have it in every text."""
    stub.instead |= {where: [(200, answer, {})] for where, answer in ANSWERS.items()}
    return stub


def assert_printable(shown: str) -> None:
    """Check that lines are of printable characters."""
    assert [it for it in shown.split("\n") if not it.isprintable()] == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_writes_what_is_not_printable(oms: Any, evil: Any, command: Any) -> None:
    assert evil
    done = oms(*command, code=1 if command[0] in ("reap", "adopt") else 0)
    assert done.stdout
    assert_printable(done.stdout)
    assert_printable(done.stderr)


@pytest.mark.parametrize(
    "command", [("list",), ("show", ID), ("regions",), ("reap",)], ids=" ".join
)
def test_a_terminal_gets_our_own_colours_and_no_others(oms: Any, evil: Any, command: Any) -> None:
    assert evil
    screen = oms.terminal(*command, columns=100)
    assert "\x1b[" in screen.raw
    assert_printable(re.sub(r"\x1b\[[0-9;]*m", "", screen.raw).replace("\r\n", "\n"))


def test_where_a_list_goes_on_is_printable(oms: Any, stub: Any) -> None:
    page = {"instances": [INSTANCE], "next": EVIL}
    stub.instead["GET", "/v1/instances"] = [(200, page, {})]
    done = oms("list", "--no-all-pages")
    assert "--cursor a [2J" in done.stderr
    assert_printable(done.stderr)


def test_a_refusal_is_printable_and_no_part_of_it_poses_as_another_line(
    oms: Any, stub: Any, refuse: Any
) -> None:
    more = {
        "errors": [{"pointer": EVIL, "detail": EVIL}],
        "nearest": [EVIL],
        "regions": {EVIL: EVIL},
        "request_id": EVIL,
    }
    stub.instead["GET", "/v1/regions"] = [refuse(422, "invalid", EVIL, **more)]
    done = oms("regions", code=2)
    assert_printable(done.stderr)
    assert [it[:8] for it in done.stderr.splitlines()] == [
        "oms: a [", "  a [2J ", "  did yo", "  a [2J ", "  reques",
    ]  # fmt: skip


def test_what_make_says_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    stack.say(EVIL)
    assert_printable(capsys.readouterr().out)
