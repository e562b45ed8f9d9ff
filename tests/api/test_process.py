"""A function as a process: what it refuses to start with, what it opens, how it ends."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from redis import Redis

from openmultistack.wiring.doors import DOORS
from tests.support.doors import Books, House

ROOT = Path(__file__).parent.parent.parent
PASSWORD = "a-password-that-nobody-may-see"  # as in the clouds.yaml of conftest
GOOD = {"image": "debian-12", "size": "small"}
CLOUD = f'{{auth: {{auth_url: "http://x/v3", password: {PASSWORD}}}, regions: [One]}}'

CLOUDS, FLEET, ISSUERS = "OS_CLIENT_CONFIG_FILE", "OMS_FLEET_FILE", "OMS_ISSUERS_FILE"
ISSUER = "issuer: a, audience: b, jwks_file: jwks.json"

BAD_FILES = [
    # (function, variable, what the file says, key, what is said of it)
    ("create", CLOUDS, None, "", "cannot be read"),
    ("create", CLOUDS, f"clouds: [{PASSWORD}", "line", "YAML"),
    ("create", CLOUDS, f"- {PASSWORD}", "", "mapping"),
    ("create", CLOUDS, f"cloud: {{a: {CLOUD}}}", "clouds", "required"),
    ("destroy", CLOUDS, "clouds: {}", "clouds", "at least 1"),
    ("reap", CLOUDS, f"clouds: {{a: {{auth: {{password: {PASSWORD}}}}}}}", "clouds.a", "regions"),
    ("create", CLOUDS, f"clouds: {{a: {{regions: {PASSWORD}}}}}", "clouds.a.regions", "list"),
    ("renew", FLEET, None, "", "cannot be read"),
    ("renew", FLEET, "regoins: {}", "regoins", "did you mean regions"),
    ("renew", FLEET, "owners: {a: {max_ttl: soon}}", "owners.a.max_ttl", "a whole number"),
    ("renew", FLEET, "owners: {a: {default_ttl: 9, max_ttl: 8}}", "owners.a", "at most"),
    ("create", FLEET, "regions: {dead/*: {cap: {instances: -1}}}", "cap.instances", "at least 0"),
    ("reap", FLEET, "regions: {daed/*: {priority: 1}}", "regions.daed/*", "dead/RegionOne"),
    ("create", FLEET, "owners: {a: {quota: {instances: -1}}}", "quota.instances", "at least 0"),
    ("create", FLEET, "owners: {a: {quota: {servers: 1}}}", "quota.servers", "is no key here"),
    ("create", FLEET, "queue: {max: 10001}", "queue.max", "at most 10000"),
    ("reap", FLEET, "regions: {dead/*: {max_building: 0}}", "max_building", "at least 1"),
    ("list", ISSUERS, None, "", "cannot be read"),
    ("list", ISSUERS, "issuer: me", "issuers", "list"),
    ("list", ISSUERS, f"issuers: [{{{ISSUER}, algorithms: [HS256]}}]", "algorithms", "ES256"),
    ("list", ISSUERS, f"issuers: [{{{ISSUER}, algorithms: []}}]", "algorithms", "at least 1"),
]


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def imported(zygote: Callable[..., Any]) -> Any:
    """Starts what has the library imported already, and nothing opened."""
    return zygote("openmultistack.wiring.app")


@pytest.fixture
def run_door(house: House, imported: Any) -> Run:
    """Import a function as its platform does, and end."""

    def run(name: str, **environment: object) -> subprocess.CompletedProcess[str]:
        changed = house.environment | environment
        given = {key: str(value) for key, value in changed.items() if value is not None}
        return imported.run(str(ROOT / "functions" / f"{name}.py"), environment=given)

    return run


def assert_refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """It ended, with one sentence that says this."""
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("refused to start: ")
    for text in said:
        assert text in line
    assert PASSWORD not in done.stderr + done.stdout


@pytest.mark.parametrize(("name", "variable", "text", "key", "expected"), BAD_FILES)
def test_bad_configuration_is_refused_at_start_naming_file_key_and_expectation(
    run_door: Run,
    tmp_path: Path,
    name: str,
    variable: str,
    text: str | None,
    key: str,
    expected: str,
) -> None:
    file = tmp_path / "bad.yaml"
    if text is not None:
        file.write_text(text)
    assert_refused(run_door(name, **{variable: file}), str(file), key, expected)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("OMS_REDIS_URL", f"http://:{PASSWORD}@x", "redis://"),
        ("OMS_LEASE_S", "5", "45"),
        ("OMS_LEASE_S", "long", "seconds"),
        ("OMS_FLEET", "a fleet", "letters"),
        ("OS_CLIENT_CONFIG_FILE", None, "expected a path"),
        ("OMS_MARKS_KEYS_FILE", None, "python -m openmultistack.clouds.keyring FILE"),
    ],
)
def test_a_bad_variable_is_refused_at_start(
    run_door: Run, variable: str, value: str | None, expected: str
) -> None:
    assert_refused(run_door("create", **{variable: value}), variable, expected)


def test_an_issuers_key_file_that_cannot_be_used_is_refused_at_start(
    run_door: Run, tmp_path: Path
) -> None:
    (tmp_path / "jwks.json").write_text('{"keys": [{"kid": "x"}]}')
    file = tmp_path / "issuers.yaml"
    file.write_text(
        "issuers: [{issuer: a, audience: b, algorithms: [ES256], jwks_file: jwks.json}]"
    )
    done = run_door("list", OMS_ISSUERS_FILE=file)
    assert_refused(done, str(tmp_path / "jwks.json"), "key 'x'", "expected EC or RSA")


def test_the_real_process_ends_as_well_when_it_is_refused(
    house: House, free_port: Callable[[], int], tmp_path: Path
) -> None:
    bad = tmp_path / "fleet.yaml"
    bad.write_text("regoins: {}")
    door = house.start("create", free_port(), OMS_FLEET_FILE=bad)
    assert door.wait() not in (0, -signal.SIGKILL)
    assert door.err().splitlines()[-1].startswith(f"refused to start: {bad}: regoins (line 1): ")
    assert "Traceback" not in door.err()


# ---------------------------------------------------------------- what it opens

WATCHED_IMPORT = """
import runpy, sys
def watch(event, _):
    if event in ("socket.connect", "socket.getaddrinfo"):
        sys.exit(f"{event} at import")
sys.addaudithook(watch)
runpy.run_path(sys.argv[1])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("name", DOORS)
def test_importing_a_function_opens_nothing_and_does_not_pay_for_openstack(
    house: House, free_port: Callable[[], int], name: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED_IMPORT, str(ROOT / "functions" / f"{name}.py")],
        env=house.environment | {"OMS_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    assert "openmultistack" in modules
    assert not modules & {"openstack", "keystoneauth1", "requests"}


HEAVY = "openmultistack,openstack,keystoneauth1"
REFUSED = """
import runpy, sys, flask
handle = runpy.run_path(sys.argv[1])["handle"]
asked = {"method": sys.argv[2], "data": sys.argv[4], "headers": {"Authorization": sys.argv[5]}}
with flask.Flask("one").test_request_context(sys.argv[3], **asked):
    answer = handle(flask.request)
loaded = {name.partition(".")[0] for name in sys.modules}
print(answer.status_code, *sorted(loaded & set(sys.argv[6].split(","))))
"""


@pytest.mark.parametrize(
    ("name", "method", "path", "body", "status"),
    [
        ("destroy", "DELETE", "/v1/instances/i-x", "", 404),
        ("destroy", "DELETE", "/v1/instances?label=a:b", "", 202),
        ("create", "POST", "/v1/instances", '{"size": "small"}', 422),
    ],
)
def test_a_request_that_calls_no_cloud_does_not_pay_for_openstack(
    house: House, token: str, name: str, method: str, path: str, body: str, status: int
) -> None:
    door = str(ROOT / "functions" / f"{name}.py")
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, door, method, path, body, f"Bearer {token}", HEAVY],
        env=house.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == [f"{status} openmultistack"], done.stderr


@pytest.mark.parametrize(
    ("name", "method", "path", "status"),
    [
        ("list", "GET", "/v1/instances", 200),
        ("list", "GET", "/v1/regions", 200),
        ("destroy", "DELETE", "/v1/instances/i-x", 404),
    ],
)
def test_a_function_that_takes_no_body_answers_before_it_pays_for_pydantic_or_the_log(
    house: House, token: str, name: str, method: str, path: str, status: int
) -> None:
    door = str(ROOT / "functions" / f"{name}.py")
    heavy = f"{HEAVY},pydantic,structlog"
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, door, method, path, "", f"Bearer {token}", heavy],
        env=house.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == [f"{status} openmultistack"], done.stderr


@pytest.mark.parametrize("name", [name for name, it in DOORS.items() if not it.calls_clouds])
def test_functions_that_call_no_cloud_need_no_secrets_of_clouds(run_door: Run, name: str) -> None:
    done = run_door(name, OS_CLIENT_CONFIG_FILE=None)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- the ledger is gone


@pytest.mark.parametrize(
    ("name", "method", "path", "body"),
    [
        ("create", "POST", "/instances", GOOD),
        ("destroy", "DELETE", "/instances/i-1", None),
        ("reap", "POST", "/reap", None),
        ("list", "GET", "/healthz", None),
    ],
)
def test_without_the_ledger_it_is_503_and_no_cloud_is_asked(
    running: Any,
    stub_module: ModuleType,
    free_port: Callable[[], int],
    tmp_path: Path,
    token: str,
    name: str,
    method: str,
    path: str,
    body: Any,
) -> None:
    stub = stub_module.Stub()
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(stub.clouds_yaml("dead"))
    gone = f"redis://127.0.0.1:{free_port()}/0"
    try:
        with running(name, OMS_REDIS_URL=gone, OS_CLIENT_CONFIG_FILE=clouds) as door:
            answer = door.call(method, path, token, json=body)
    finally:
        stub.close()
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:openmultistack:problem:ledger-unavailable"
    assert int(answer.headers["retry-after"]) > 0
    assert stub.requests == []


# ---------------------------------------------------------------- how it ends


def test_sigterm_lets_a_request_in_flight_end(
    house: House,
    books: Books,
    valkey_port: int,
    stub_module: ModuleType,
    free_port: Callable[[], int],
    tmp_path: Path,
    token: str,
) -> None:
    """A create whose Nova takes its time is answered, and its instance kept, after SIGTERM."""
    stub = stub_module.Stub()
    accepted = json.dumps({"server": {"id": "server-1"}})
    stub.answers["POST /v2.1/servers"] = stub_module.Answer(202, accepted, delay_s=2.5)
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(stub.clouds_yaml())
    fleet = f"{books.fleet}-term"
    with Redis(port=valkey_port, decode_responses=True) as redis:
        own = type(books)(redis, fleet)
        own.open("stub/RegionOne")
        door = house.start("create", free_port(), OMS_FLEET=fleet, OS_CLIENT_CONFIG_FILE=clouds)
        answers: list[Any] = []
        try:
            door.until_up()
            client = threading.Thread(
                target=lambda: answers.append(door.call("POST", "/instances", token, json=GOOD))
            )
            client.start()
            until = time.monotonic() + 20
            while not stub.posts("/v2.1/servers"):
                assert time.monotonic() < until, door.out() + door.err()
                time.sleep(0.02)
            code = door.stop()
            client.join()
        finally:
            door.process.kill()
            stub.close()
        assert code == 0
        (answer,) = answers
        assert answer.status_code == 202, answer.text
        (made,) = answer.json()["instances"]
        assert (made["server_id"], made["region"]) == ("server-1", "stub/RegionOne")
        assert answer.headers["location"] == f"/v1/instances/{made['id']}"
        assert own.ledger.get([made["id"]])[0].server_id == "server-1"
    assert door.log(answer.headers["x-request-id"])["status"] == 202
    assert stub.posts("/v2.1/servers") == 1
