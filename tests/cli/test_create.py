"""`oms create`: what it sends, what it shows, and how it waits."""

import json
import re
import signal
import subprocess
import time
import uuid

import pytest

BASIC = ("create", "--image", "debian-12", "--size", "small")


def test_only_image_and_size_are_sent_when_only_they_are_said(oms, stub):
    oms(*BASIC)
    (asked,) = stub.asked
    assert (asked.method, asked.path) == ("POST", "/v1/instances")
    assert asked.body == {"image": "debian-12", "size": "small", "count": 1}


def test_every_option_reaches_the_server_in_the_apis_words(oms, stub, tmp_path):
    key, script = tmp_path / "id.pub", tmp_path / "init"
    key.write_text("ssh-ed25519 AAAA me\n")
    script.write_bytes(b"#!/bin/sh\r\necho \xc3\xa4\n")
    oms(
        "create", "--image", "debian-12", "--size", "vcpus=2,ram=2048,disk=10", "--count", "3",
        "--ttl", "1h30m", "--name", "ci", "--label", "run=7", "--label", "stage=a=b",
        "--note", "für Zoë", "--region", "alpha/*", "--region", "beta/RegionOne",
        "--strategy", "pack",
        "--ssh-key", str(key), "--user-data", str(script), "--partial", "--on-full", "queue",
    )  # fmt: skip
    assert stub.asked[0].body == {
        "image": "debian-12",
        "size": {"vcpus": 2, "ram_mb": 2048, "disk_gb": 10},
        "count": 3,
        "ttl": 5400,
        "name": "ci",
        "labels": {"run": "7", "stage": "a=b"},
        "note": "für Zoë",
        "regions": ["alpha/*", "beta/RegionOne"],
        "strategy": "pack",
        "ssh_public_key": "ssh-ed25519 AAAA me",
        "user_data": "#!/bin/sh\r\necho ä\n",
        "partial": True,
        "on_full": "queue",
    }


def test_each_create_has_an_idempotency_key_of_its_own(oms, stub):
    oms(*BASIC)
    oms(*BASIC)
    keys = [it.headers["Idempotency-Key"] for it in stub.asked]
    assert len({uuid.UUID(it) for it in keys}) == 2


def test_a_key_of_ones_own_makes_the_same_instances_again(oms, stub):
    key = "run-7 of 'ci'"
    first = oms.json(*BASIC, "--count", "2", "--idempotency-key", key)
    again = oms.json(*BASIC, "--count", "2", "--idempotency-key", key)
    assert [it["id"] for it in again["instances"]] == [it["id"] for it in first["instances"]]
    assert [it.headers["Idempotency-Key"] for it in stub.asked] == [key, key]


def test_a_lost_answer_is_asked_for_again_and_nothing_is_made_twice(oms, stub, refuse):
    lost = refuse(502, "unavailable", "the function gave no answer; it may have acted")
    nobody = refuse(503, "unavailable", "no function takes this request now", retry_after=5)
    stub.instead["POST", "/v1/instances"] = ["act and hang up", lost, nobody, None]
    (made,) = oms.json(*BASIC)["instances"]
    assert list(stub.instances) == [made["id"]]
    assert len({it.headers["Idempotency-Key"] for it in stub.asked}) == 1
    assert len(stub.asked) == 4


def test_what_nobody_took_or_what_was_refused_is_not_asked_again(oms, stub, refuse):
    for problem, code in (
        (refuse(503, "unavailable", "no function takes this request now"), 6),
        (refuse(502, "no-region-worked", "none worked"), 1),
        (refuse(500, "internal", "something went wrong"), 1),
    ):
        stub.asked.clear()
        stub.instead["POST", "/v1/instances"] = [problem]
        assert "may have been made" not in oms(*BASIC, code=code).stderr
        assert len(stub.asked) == 1


def test_a_refusal_after_a_lost_answer_is_the_answer(oms, stub, refuse):
    stub.instead["POST", "/v1/instances"] = ["hang up", refuse(422, "invalid", "no such image")]
    assert oms(*BASIC, code=2).stderr == "oms: no such image\n"


def test_json_is_the_apis_answer(oms):
    document = oms.json(*BASIC, "--count", "2")
    assert document.keys() == {"instances", "requested", "placed", "queued"}
    assert [it["status"] for it in document["instances"]] == ["BUILD", "BUILD"]


def test_waiting_ends_when_all_are_active_with_a_line_for_each(oms, stub):
    stub.life = ["BUILD", "BUILD", "ACTIVE"]
    done = oms(*BASIC, "--count", "3", "--wait")
    lines = [it.split() for it in done.stdout.splitlines()[1:]]
    assert [it[:4] for it in lines] == [
        ["i-01JD0000000000000000000001", "ACTIVE", "alpha/RegionTwo", "10.0.0.1"],
        ["i-01JD0000000000000000000002", "ACTIVE", "beta/RegionOne", "10.0.0.2"],
        ["i-01JD0000000000000000000003", "ACTIVE", "alpha/RegionOne", "10.0.0.3"],
    ]
    assert done.stderr.splitlines() == ["0/3 ACTIVE (3 BUILD)", "3/3 ACTIVE"]


def test_one_that_waits_is_said_to_wait(oms, stub):
    stub.room = 0
    done = oms(*BASIC, "--on-full", "queue")
    assert done.stdout.splitlines()[1].split()[:4] == [
        "i-01JD0000000000000000000001", "QUEUED", "-", "-",
    ]  # fmt: skip
    assert done.stderr == "oms: 1 waits in the queue; `oms show ID` tells at which place\n"
    assert stub.asked[0].body["on_full"] == "queue"


def test_waiting_goes_on_through_the_queue_and_tells_the_place(oms, stub):
    stub.room = 0
    done = oms(*BASIC, "--on-full", "queue", "--wait")
    assert done.stdout.splitlines()[1].split()[1:4] == ["ACTIVE", "alpha/RegionTwo", "10.0.0.1"]
    assert done.stderr.splitlines() == [
        "0/1 ACTIVE (1 QUEUED)",
        "0/1 ACTIVE (1 QUEUED; place 3 of 5 in the queue)",
        "0/1 ACTIVE (1 QUEUED; place 2 of 4 in the queue)",
        "0/1 ACTIVE (1 BUILD)",
        "1/1 ACTIVE",
    ]


def test_the_place_of_the_first_of_many_is_told(oms, stub):
    stub.room, stub.queued_for = 2, 4
    done = oms(*BASIC, "--count", "6", "--on-full", "queue", "--wait")
    assert "0/6 ACTIVE (2 BUILD, 4 QUEUED)" in done.stderr
    assert "2/6 ACTIVE (4 QUEUED; place 3 of 5 in the queue)" in done.stderr
    assert "found room" not in done.stderr, "all have by now"


def test_one_that_still_waits_when_the_time_is_over_says_for_what(oms, stub):
    stub.room, stub.life = 1, ["QUEUED"]
    done = oms(*BASIC, "--on-full", "queue", "--wait", "--timeout", "1s", code=1)
    said = "is QUEUED: place 2 of 4, no region that can serve it has a free slot"
    assert f"oms: i-01JD0000000000000000000001 {said}" in done.stderr
    assert "1 not ACTIVE after 1s" in done.stderr


def test_a_terminal_sees_the_place_in_the_queue(oms, stub):
    stub.room = 0
    screen = oms.terminal(*BASIC, "--on-full", "queue", "--wait")
    assert "1 QUEUED; place 3 of 5 in the queue" in screen.text
    assert max(map(len, re.split(r"[\r\n]", screen.text))) <= 80


def test_waiting_with_json_gives_final_states_and_says_nothing_else(oms, stub):
    stub.room = 1
    done = oms(*BASIC, "--count", "2", "--on-full", "queue", "--wait", "--json")
    document = json.loads(done.stdout)
    assert {it["status"] for it in document["instances"]} == {"ACTIVE"}
    assert (document["requested"], document["placed"], document["queued"]) == (2, 2, 0)
    assert done.stderr == ""


def test_many_are_found_over_all_pages_among_others(oms, stub):
    stub.page_max = 4
    stub.add(7)
    document = oms.json(*BASIC, "--count", "9", "--wait")
    assert [it["status"] for it in document["instances"]] == ["ACTIVE"] * 9
    assert len(stub.paths("GET")) < 9, "many are looked up in the list, not one by one"


def test_waiting_ends_non_zero_when_one_ends_in_error(oms, stub):
    stub.life, stub.error = ["BUILD", "ERROR"], "no valid host was found"
    done = oms(*BASIC, "--wait", code=1)
    assert "i-01JD0000000000000000000001" in done.stdout
    assert "oms: i-01JD0000000000000000000001 is ERROR: no valid host was found" in done.stderr


def test_waiting_is_bounded(oms, stub):
    stub.life = ["BUILD"]
    began = time.monotonic()
    done = oms(*BASIC, "--wait", "--timeout", "2s", code=1)
    assert time.monotonic() - began < 60
    assert "1 not ACTIVE after 2s" in done.stderr
    assert "i-01JD0000000000000000000001" in done.stdout


def test_one_destroyed_meanwhile_is_not_waited_for(oms, stub):
    stub.life = ["BUILD", "DELETED"]
    done = oms(*BASIC, "--wait", code=1)
    assert "is DELETED; `oms show i-01JD0000000000000000000001` tells why" in done.stderr


def test_what_passes_does_not_end_the_waiting(oms, stub, refuse):
    path = "/v1/instances/i-01JD0000000000000000000001"
    failures = [refuse(503, "ledger-unavailable", "no ledger"), "hang up", None]
    stub.instead["GET", path] = failures
    document = oms.json(*BASIC, "--wait")
    assert document["instances"][0]["status"] == "ACTIVE"


def test_a_token_that_ends_meanwhile_still_leaves_the_ids(oms, stub, refuse):
    path = "/v1/instances/i-01JD0000000000000000000001"
    stub.instead["GET", path] = [refuse(401, "unauthenticated", "the token is over")]
    done = oms(*BASIC, "--wait", "--json", code=3)
    assert json.loads(done.stdout)["instances"][0]["status"] == "BUILD"
    assert "oms: the token is over" in done.stderr


def test_less_than_wanted_is_said(oms, stub):
    stub.instead["POST", "/v1/instances"] = [
        (202, {"instances": [], "requested": 5, "placed": 2, "queued": 3}, {})
    ]
    done = oms(*BASIC, "--count", "5", "--partial")
    assert "2 of 5 found room, 3 wait in the queue" in done.stderr


def test_a_full_fleet_has_an_exit_code_of_its_own(oms, stub, refuse):
    said = {"alpha/RegionOne": "0 free of 20", "beta/RegionOne": "is down"}
    stub.instead["POST", "/v1/instances"] = [
        refuse(503, "capacity-exhausted", "no room for 3", regions=said, retry_after=15)
    ]
    done = oms(*BASIC, "--count", "3", code=5)
    assert done.stderr.splitlines() == [
        "oms: no room for 3",
        "  alpha/RegionOne: 0 free of 20",
        "  beta/RegionOne: is down",
        "  worth another try in 15 s",
        "  --on-full queue has it wait for room, --partial takes what there is",
    ]
    assert done.stdout == ""


def test_an_answer_that_never_came_is_told_as_doubt(oms, stub):
    stub.instead["POST", "/v1/instances"] = ["hang up"]
    done = oms(*BASIC, code=6)
    assert "may have been made: `oms list`" in done.stderr
    (key,) = {it.headers["Idempotency-Key"] for it in stub.asked}
    assert f"--idempotency-key {key} makes none twice" in done.stderr
    assert len(stub.asked) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--ttl", "soon"), "'soon' is no time"),
        (("--ttl", "0"), "'0' is no time"),
        (("--size", "vcpus=many"), "'vcpus=many' is no size"),
        (("--size", "vcpus=1,vcpus=2"), "is no size"),
        (("--size", "cores=1"), "is no size"),
        (("--label", "run"), "'run' is no label"),
        (("--label", "a=1", "--label", "a=2"), "label a is given with two values"),
        (("--count", "some"), "--count"),
        (("--on-full", "explode"), "--on-full"),
        (("--user-data", "/no/such/file"), "/no/such/file cannot be read"),
        (("--timeout", "x", "--wait"), "'x' is no time"),
        (("--idempotency-key", ""), "'' is no idempotency key"),
        (("--idempotency-key", "ä"), "'ä' is no idempotency key"),
        (("--idempotency-key", "a\nb"), "is no idempotency key"),
        (("--idempotency-key", "x" * 256), "1 to 255 printable"),
        (("--imge", "x"), "--imge"),
    ],
)
def test_bad_input_is_refused_before_anything_is_asked(oms, stub, options, said):
    basic = BASIC[:3] if options[0] == "--size" else BASIC
    done = oms(*basic, *options, code=2)
    assert said in done.stderr
    assert done.stderr.startswith("oms: ")
    assert stub.asked == []


def test_a_private_key_is_never_sent(oms, stub, tmp_path):
    key = tmp_path / "id"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n")
    assert ".pub" in oms(*BASIC, "--ssh-key", str(key), code=2).stderr
    assert stub.asked == []


def test_a_terminal_sees_a_bar_that_moves_and_then_the_instances(oms, stub):
    stub.life = ["BUILD", "BUILD", "ACTIVE"]
    screen = oms.terminal(*BASIC, "--count", "6", "--wait")
    assert screen.code == 0
    assert "0/6 ACTIVE" in screen.text
    assert "6 BUILD" in screen.text
    assert screen.text.count("10.0.0.") == 6
    assert "6 instances" in screen.text
    assert "\x1b[32mACTIVE" in screen.raw


@pytest.fixture
def interruptible():
    """Processes started now obey SIGINT, though we may have been started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_says_that_the_instances_go_on(oms, stub):
    stub.life = ["BUILD"]
    process = subprocess.Popen(
        [*oms.command, *BASIC, "--count", "2", "--label", "run=a b", "--wait"],
        env=oms.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 60
        while len(stub.asked) < 3:
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "the 2 instances go on: see `oms list --label 'run=a b'`" in said


def test_what_came_to_nothing_is_told_with_the_id_by_which_the_log_tells_why(oms, stub):
    stub.life = ["BUILD", "ERROR"]
    said = oms(*BASIC, "--wait", code=1).stderr
    assert f"request {stub.asked[0].headers['X-Request-Id']}\n" in said
