"""What goes wrong: a sentence, an exit code, and never a traceback or a token."""

import base64
import socket
import time

import pytest

from openmultistack.cli import values
from openmultistack.cli.app import app
from openmultistack.cli.failures import CommandError

COMMANDS = (
    "create", "list", "show", "destroy", "renew", "regions", "drain", "open", "reap", "token",
    "doctor",
)  # fmt: skip
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZXYifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("status", "slug", "code"),
    [
        (400, "malformed", 2),
        (401, "unauthenticated", 3),
        (403, "insufficient-scope", 3),
        (404, "not-found", 4),
        (409, "idempotency-conflict", 2),
        (410, "instances-ended", 7),
        (413, "too-large", 2),
        (422, "invalid", 2),
        (429, "owner-quota-exceeded", 5),
        (500, "internal", 1),
        (502, "no-region-worked", 1),
        (503, "capacity-exhausted", 5),
        (503, "queue-full", 5),
        (503, "ledger-unavailable", 6),
        (503, "unavailable", 6),
        (504, "timeout", 6),
    ],
)
def test_each_refusal_is_a_sentence_and_an_exit_code(oms, stub, refuse, status, slug, code):
    stub.instead["GET", "/v1/regions"] = [refuse(status, slug, "it cannot be")]
    done = oms("regions", code=code)
    assert done.stderr == "oms: it cannot be\n"
    assert done.stdout == ""


def test_with_json_a_refusal_is_a_sentence_on_stderr_too(oms, stub, refuse):
    stub.instead["GET", "/v1/regions"] = [refuse(403, "insufficient-scope", "it cannot be")]
    done = oms("regions", "--json", code=3)
    assert (done.stdout, done.stderr) == ("", "oms: it cannot be\n")


def test_a_token_that_is_over_is_told_as_such_with_what_to_do(oms, stub, refuse):
    claims = base64.urlsafe_b64encode(b'{"sub": "dev", "exp": 1000000000}').decode().strip("=")
    for token, told in (
        (f"eyJhbGciOiJFUzI1NiJ9.{claims}.c2lnbmF0dXJl",
         "oms: the token ended at 2001-09-09 01:46:40 UTC: take a new one, as of `oms token`\n"),
        (JWT, "oms: it cannot be\n"),
        ("no-token-at-all", "oms: it cannot be\n"),
    ):  # fmt: skip
        stub.instead["GET", "/v1/regions"] = [refuse(401, "unauthenticated", "it cannot be")]
        assert oms("regions", "--token", token, code=3).stderr == told


def test_where_in_an_order_a_fault_is_reads_as_the_option_does(oms, stub, refuse):
    errors = [{"pointer": "/regions/0", "detail": "no"}, {"pointer": "/size", "detail": "too big"}]
    stub.instead["GET", "/v1/regions"] = [refuse(422, "invalid", "/regions/0: no", errors=errors)]
    assert oms("regions", code=2).stderr == "oms: regions: no\n  size: too big\n"


def test_a_quota_is_told_with_what_is_used_of_it(oms, stub, refuse):
    said = "3 more would be over the owner's quota; nothing was made"
    quota = {"instances": 10, "ram_mb": 8192, "creates_per_minute": 30}
    used = {"instances": 9, "vcpus": 9, "ram_mb": 4096}
    stub.instead["POST", "/v1/instances"] = [
        refuse(429, "owner-quota-exceeded", said, quota=quota, used=used, retry_after=15)
    ]
    done = oms("create", "--image", "i", "--size", "s", "--count", "3", code=5)
    assert done.stderr.splitlines() == [
        f"oms: {said}",
        "  the quota: 9 of 10 instances, 4096 of 8192 MB of RAM, 30 creates a minute",
        "  worth another try in 15 s",
    ]
    assert len(stub.asked) == 1


def test_every_fault_of_bad_input_is_told_once_with_near_names(oms, stub, refuse):
    errors = [
        {"pointer": "/image", "detail": "no region has an image 'debain-12'"},
        {"pointer": "/count", "detail": "expected at most 100"},
    ]
    detail = "/image: no region has an image 'debain-12'"
    stub.instead["POST", "/v1/instances"] = [
        refuse(422, "invalid", detail, errors=errors, nearest=["debian-12", "debian-11"])
    ]
    done = oms("create", "--image", "debain-12", "--size", "s", "--count", "101", code=2)
    assert done.stderr.splitlines() == [
        "oms: image: no region has an image 'debain-12'",
        "  count: expected at most 100",
        "  did you mean: debian-12, debian-11",
    ]


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"[1]", b'{"type": 3, "errors": [7]}'])
def test_a_refusal_without_a_document_has_its_exit_code_all_the_same(oms, stub, body):
    stub.instead["GET", "/v1/regions"] = [(403, body, {})]
    assert "the server answered 403" in oms("regions", code=3).stderr


@pytest.mark.parametrize("body", [b"", b"<html>hello</html>", b"[]"])
def test_something_else_that_answers_is_told(oms, stub, body):
    stub.instead["GET", "/v1/regions"] = [(200, body, {})]
    assert "not as OpenMultiStack does" in oms("regions", code=1).stderr


def test_a_document_that_lacks_what_it_should_have_is_no_traceback(oms, stub):
    stub.instead["GET", "/v1/regions"] = [(200, {"areas": []}, {})]
    assert "unexpected KeyError" in oms("regions", code=1).stderr


def test_nobody_there_is_told_at_once(oms):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        done = oms("list", OMS_URL=url, code=6)
    assert time.monotonic() - began < 60
    assert f"{url} cannot be reached" in done.stderr
    assert "refused" in done.stderr


def test_a_connection_that_breaks_off_is_told(oms, stub):
    stub.instead["GET", "/v1/regions"] = ["hang up"]
    assert "broke the connection off" in oms("regions", code=6).stderr


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://x", "http://", "nonsense"])
def test_what_is_no_url_is_told(oms, url):
    assert "is no http(s)://HOST URL" in oms("list", "--url", url, code=2).stderr


def test_without_a_gateway_or_a_token_it_says_where_they_come_from(oms):
    assert "OMS_URL" in oms("list", OMS_URL=None, code=2).stderr
    assert "OMS_TOKEN" in oms("list", OMS_TOKEN=None, code=3).stderr
    assert "OMS_TOKEN" in oms("list", OMS_TOKEN="two words", code=3).stderr


def test_url_and_token_can_be_given_as_options(oms, stub):
    token = oms.environment["OMS_TOKEN"]
    oms("list", "--url", f"{stub.url}/v1/", "--token", token, OMS_URL=None, OMS_TOKEN=None)
    oms("list", OMS_TOKEN=f"{token}\n")
    assert stub.asked[0].path == "/v1/instances"


def test_a_password_in_the_url_neither_shows_nor_replaces_the_token(oms, stub):
    url = stub.url.replace("http://", "http://me:my-password@")
    oms("list", "--url", url)
    stub.instead["GET", "/v1/instances"] = ["hang up"]
    assert "my-password" not in oms("list", "--url", url, code=6).stderr


@pytest.mark.parametrize("arguments", [("list", "--tokn", JWT), ("list", JWT), ("shwo", JWT)])
def test_a_misplaced_token_is_not_repeated(oms, arguments):
    assert JWT not in oms(*arguments, code=2).stderr


def test_a_server_that_repeats_the_token_is_not_repeated(oms, stub, refuse):
    token = oms.environment["OMS_TOKEN"]
    said = f"Bearer {token} and {JWT} \x1b[2Jare bad"
    stub.instead["GET", "/v1/regions"] = [refuse(401, "unauthenticated", said)]
    done = oms("regions", code=3)
    assert done.stderr == "oms: Bearer (token) and (token)  [2Jare bad\n"


def test_a_wrong_command_is_told_with_a_near_one(oms):
    assert '"list"' in oms("lst", code=2).stderr


def test_help_and_version_need_nothing(oms):
    shown = oms("--help", OMS_URL=None, OMS_TOKEN=None).stdout
    for command in COMMANDS:
        assert f" {command} " in shown
    assert oms("--version").stdout.strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_in_json(command, capsys):
    app(f"{command} --help", result_action="return_value")
    assert "--json" in capsys.readouterr().out


def test_help_starts_without_what_only_commands_need(oms):
    import subprocess  # noqa: PLC0415  a look inside a process, only here
    import sys  # noqa: PLC0415  same

    code = (
        "import sys; sys.argv = ['oms', '--help']\n"
        "from openmultistack.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'httpx', 'openstack', 'pydantic', 'jose', 'rich.progress', 'flask', 'redis'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=oms.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1d2h", 93600)],
)
def test_times_are_seconds(text, expected):
    assert values.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0m", "-5", "h", "1w", "1.5h", "30m1h", "٣", "1 h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(CommandError):
        values.seconds(text)


def test_a_command_has_one_request_id_and_tells_the_one_of_a_refusal(oms, stub, refuse):
    stub.add(3)
    stub.page_max = 2
    oms("list")
    sent = {it.headers["X-Request-Id"] for it in stub.asked}
    assert len(stub.asked) > 1
    assert len(sent) == 1
    stub.instead["GET", "/v1/regions"] = [
        refuse(403, "insufficient-scope", "no", request_id="01JD")
    ]
    assert "request 01JD" in oms("regions", code=3).stderr


@pytest.mark.parametrize("said", ["hang up", (502, "<html>bad gateway</html>", {}), (200, [], {})])
def test_an_error_tells_the_requests_id_although_the_answer_does_not(oms, stub, said):
    stub.instead["GET", "/v1/regions"] = [said]
    shown = oms("regions", code=6 if said == "hang up" else 1).stderr
    assert f"  request {stub.asked[-1].headers['X-Request-Id']}\n" in shown


def test_what_a_region_said_has_the_id_by_which_its_operators_find_it(oms, stub, refuse):
    said = {"alpha/RegionOne": "500: no", "beta/RegionOne": "connection refused"}
    ids = {"alpha/RegionOne": "req-7"}
    stub.instead["GET", "/v1/regions"] = [
        refuse(502, "no-region-worked", "none worked", regions=said, cloud_request_ids=ids)
    ]
    shown = oms("regions", code=1).stderr.splitlines()
    assert shown[1] == "  alpha/RegionOne: 500: no (there: req-7)"
    assert shown[2] == "  beta/RegionOne: connection refused"


def test_a_repeat_of_what_has_ended_has_an_exit_code_of_its_own(oms, stub, refuse):
    stub.instead["POST", "/v1/instances"] = [refuse(410, "instances-ended", "all has ended")]
    said = oms("create", "--image", "debian-12", "--size", "small", code=7).stderr
    assert "all has ended" in said
