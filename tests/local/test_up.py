"""`up` again: what changed starts anew and nothing else, and what is no good ends nothing."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from jose import jwt

from infra.local import gateway_admin, processes
from infra.local.layout import stack_at
from infra.local.ports import HOST
from openmultistack.auth.own_issuer import LOCAL_AUDIENCE, make_signing_key
from openmultistack.auth.principal import SCOPES
from openmultistack.wiring.doors import DOORS

CI = "https://ci.example"
# Longer than `up` takes to get to the functions, shorter than they may take to end.
BOOT_S = 25
TAKEN_OVER = "issuers or their keys changed: the gateway takes them over as it runs"

# A variable that no program puts a value in for, in a file that is right otherwise.
UNSET = """
clouds:
  p1:
    auth: {auth_url: "http://127.0.0.1:9/v3", username: u, password: "${P1}", project_name: p}
    regions: [RegionOne]
"""


def given(secret: str) -> list[str]:
    """Return which functions have a secret of stack.yml's."""
    return [name for name, it in DOORS.items() if secret in it.secrets]


def token_of(issuer: str, folder: Path) -> str:
    """Return a token of an issuer whose keys are made in a folder."""
    make_signing_key(folder)
    kid = json.loads((folder / "jwks.json").read_text())["keys"][0]["kid"]
    claims = {
        "iss": issuer, "aud": LOCAL_AUDIENCE, "sub": "job", "exp": int(time.time()) + 900,
        "scope": " ".join(SCOPES),
    }  # fmt: skip
    key = (folder / "signing.pem").read_text()
    return str(jwt.encode(claims, key, "ES256", headers={"kid": kid}))


def believe_another(local) -> None:
    """Have a second issuer believed, whose keys are there."""
    issuers_file = local.home / "issuers.yaml"
    (own,) = yaml.safe_load(issuers_file.read_text())["issuers"]
    more = own | {"issuer": CI, "jwks_file": "ci/jwks.json", "owner_prefix": "ci:"}
    issuers = [own | {"owner_prefix": "own:"}, more]
    issuers_file.write_text(yaml.safe_dump({"issuers": issuers}))


def within_30_s(holds: Callable[[], bool]) -> None:
    """Wait until something holds, no longer than what the operator was told."""
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


def listen_by_other_rules(local) -> None:
    """Have the gateway run with a listener as an older version of OMS may have had it."""
    stack = stack_at({"OMS_HOME": str(local.home)})
    path = local.home / "run" / "listeners.json"
    older = path.read_text().replace('"idle_timeout": "60s"', '"idle_timeout": "59s"')
    found = json.loads(older) | {"version_info": "older"}
    assert older != path.read_text()
    path.with_suffix(".draft").write_text(json.dumps(found))
    path.with_suffix(".draft").replace(path)
    taken = "listener_manager.lds.version_text"
    local.until(lambda: gateway_admin.stats(stack, taken).get(taken) == '"older"')


def pids(local) -> dict[str, int]:
    """Return the pid of each process of a stack."""
    stack = stack_at({"OMS_HOME": str(local.home)})
    return {name: process.pid for name, process in processes.running(stack).items()}


def anew(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Return which functions are other processes, all replicas of them."""
    other = {name for name in before if after.get(name) != before[name]}
    return {name.rpartition("-")[0] or name for name in other}


@contextmanager
def calling_all_the_while(local) -> Iterator[list[int]]:
    """List and create without a pause; give the answers' status codes."""
    codes, stop = [], threading.Event()
    order = {"image": "debian-12", "size": "tiny", "ttl": 60}

    def go_on() -> None:
        while not stop.is_set():
            codes.append(local.call("GET", "/instances").status_code)
            codes.append(local.call("POST", "/instances", json=order).status_code)

    caller = threading.Thread(target=go_on)
    caller.start()
    try:
        yield codes
    finally:
        stop.set()
        caller.join()


@pytest.fixture
def local(new_local):
    """A stack of two replicas, up."""
    it = new_local()
    it.first_up(REPLICAS="2")
    return it


@pytest.mark.timeout(1800)
def test_each_changed_file_starts_anew_what_reads_it_while_requests_go_on(local) -> None:
    """Variables are remembered meanwhile; with two replicas nobody is refused."""
    with calling_all_the_while(local) as codes:
        before = pids(local)
        assert "everything runs already" in local.up()
        assert pids(local) == before

        clouds = yaml.safe_load(local.clouds_file.read_text())
        del clouds["clouds"]["p2"]
        local.clouds_file.write_text(yaml.safe_dump(clouds))
        said = local.up()
        assert f"clouds.yaml changed: {', '.join(given('clouds'))} start anew" in said
        assert "p1/RegionOne is up" in said
        assert "p2/" not in said
        assert anew(before, after := pids(local)) == set(given("clouds"))

        with local.fleet_file.open("a") as fleet:
            fleet.write("owners: {default: {default_ttl: 60, max_ttl: 500}}\n")
        said = local.up()
        assert f"fleet.yaml changed: {', '.join(given('fleet'))} start anew" in said
        assert anew(after, after := pids(local)) == set(given("fleet"))
        refused = local.call("POST", "/instances", json={"image": "i", "size": "s", "ttl": 501})
        assert refused.status_code == 422
    assert set(codes) <= {200, 202, 503}, codes
    assert codes.count(202) > 5
    problems = [it for it in codes if it == 503]
    assert len(problems) < len(codes) / 2  # all forty slots are taken sooner or later


@pytest.mark.timeout(1800)
def test_what_issuers_say_is_in_force_at_once_and_no_gateway_starts_anew_for_it(local) -> None:
    """Gateway and functions see to it by themselves; `up` tells of it and starts functions anew."""
    before, token = pids(local), token_of(CI, local.home / "ci")
    headers = {"Authorization": f"Bearer {token}"}

    def status() -> int:
        return local.http.get("/v1/instances", headers=headers).status_code

    assert status() == 401
    alone = (local.home / "issuers.yaml").read_text()
    believe_another(local)
    within_30_s(lambda: status() == 200)
    # The own issuer has another prefix: the functions follow, be it later than the gateway.
    within_30_s(lambda: local.call("GET", "/instances").status_code == 200)
    assert pids(local) == before

    said = local.up()
    assert f"issuers.yaml changed: {', '.join(DOORS)} start anew" in said
    assert TAKEN_OVER in said
    assert status() == 200
    after = pids(local)
    kept = {name for name in before if before[name] == after[name]}
    assert kept == {"valkey", "gatekeeper", "envoy", "timer", "circusd"}

    assert TAKEN_OVER not in local.up()
    (local.home / "issuers.yaml").write_text(alone)
    local.up()
    refused = local.http.get("/v1/instances", headers=headers)
    assert refused.status_code == 401
    assert "with a token of a known issuer" in refused.json()["detail"], "the gateway says it so"


@pytest.mark.timeout(1800)
def test_what_only_functions_know_of_issuers_is_not_said_of_the_gateway(local) -> None:
    issuers = yaml.safe_load((local.home / "issuers.yaml").read_text())
    issuers["issuers"][0]["revoked"] = ["some-jti"]
    (local.home / "issuers.yaml").write_text(yaml.safe_dump(issuers))
    said = local.up()
    assert f"issuers.yaml changed: {', '.join(DOORS)} start anew" in said
    assert "the gateway" not in said


@pytest.mark.timeout(1800)
def test_a_request_in_flight_is_answered_though_issuers_and_the_gateways_rules_are_others(
    local, sim
) -> None:
    """The function that has it ends after it, and the gateway's old listener stays until then.

    It waits no longer: who waits is answered with what there is when a function is to end.
    """
    slow = f"{sim.url}/sim/regions/p1/RegionOne"
    httpx.patch(slow, json={"boot_s": BOOT_S}).raise_for_status()
    order = {"image": "debian-12", "size": "tiny", "regions": ["p1/RegionOne"], "ttl": 600}
    before = pids(local)
    listen_by_other_rules(local)
    with ThreadPoolExecutor(1) as pool:
        wait = {"Prefer": "wait=60"}
        flying = pool.submit(local.call, "POST", "/instances", json=order, headers=wait)
        local.until(lambda: local.call("GET", "/instances").json()["instances"])
        token_of(CI, local.home / "ci")
        believe_another(local)
        said = local.up()
        assert TAKEN_OVER in said
        assert "the gateway's rules changed: the gateway takes them over as it runs" in said
        answer = flying.result()
    httpx.patch(slow, json={"boot_s": 0.2}).raise_for_status()
    assert answer.status_code == 202, answer.text
    assert [it["status"] for it in answer.json()["instances"]] == ["BUILD"]
    assert anew(before, pids(local)) == set(DOORS)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("clouds.yaml", "clouds: {p1: 3}", "clouds.p1: expected a mapping"),
        ("clouds.yaml", UNSET, "clouds.p1.auth.password: is a variable that nobody puts a value"),
        ("fleet.yaml", "owners: {default: {max_ttl: no}}", "owners.default.max_ttl"),
        (".oms/issuers.yaml", "issuers: 3", "issuers"),
    ],
)
def test_a_bad_file_is_refused_by_its_name_and_what_runs_goes_on(local, file, content, said):
    """Nothing is ended for it, and mended it is as if it never was."""
    path, before = local.home.parent / file, pids(local)
    good = path.read_text()
    path.write_text(content)
    code, heard = local.run("up")
    assert code == 1
    assert heard.startswith(f"make up: {path}: ")
    assert said in heard
    assert "Traceback" not in heard
    assert pids(local) == before
    assert local.call("GET", "/regions").status_code == 200
    path.write_text(good)
    assert "everything runs already" in local.up()
    assert pids(local) == before


@pytest.mark.timeout(1800)
def test_variables_are_remembered_changed_and_told(local) -> None:
    """By `up` and `status`; ports that somebody else has are refused by name, before all else."""
    assert "starting create-2" not in local.up()
    said = local.up(REPLICAS="1", LEASE_S="90")
    assert "REPLICAS is 1 from now on (it was 2)" in said
    assert "LEASE_S is 90 from now on (it was 120)" in said
    assert not [name for name in pids(local) if name.endswith("-2")]
    one = psutil.Process(pids(local)["create-1"]).environ()
    assert (one["OMS_LEASE_S"], one["OMS_FLEET_FILE"]) == ("90", str(local.fleet_file))
    code, status = local.run("status")
    assert code == 0, status
    assert "create-1" in status
    assert "create-2" not in status
    told = json.loads((local.home / "run" / "variables.json").read_text())
    assert told["CLOUDS"] == str(local.clouds_file)


@pytest.mark.timeout(1800)
def test_ports_of_another_stack_are_refused_with_its_home(local, new_local) -> None:
    other = new_local("two", local.port_base)
    code, said = other.run("up", PORT_BASE=str(local.port_base), CLOUDS=str(other.clouds_file))
    assert code == 1
    assert f"port {local.port_base} for envoy is taken by the stack in {local.home};" in said
    assert "choose another PORT_BASE, such as PORT_BASE=2" in said
    assert local.call("GET", "/regions").status_code == 200


@pytest.mark.timeout(1800)
def test_a_region_that_cannot_be_reached_is_named_with_its_reason(new_local, free_port) -> None:
    """It was looked at: the rest is READY."""
    it = new_local()
    clouds = yaml.safe_load(it.clouds_file.read_text())
    clouds["clouds"]["p2"]["auth"]["auth_url"] = f"http://{HOST}:{free_port()}/v3"
    it.clouds_file.write_text(yaml.safe_dump(clouds))
    said = it.first_up()
    assert "p1/RegionOne is up" in said
    assert "p2/RegionOne is down: " in said
    assert "run `oms doctor`" in said


@pytest.mark.timeout(1800)
def test_down_lets_a_create_in_flight_be_answered(new_local, sim) -> None:
    """Though its server takes its time: it is ACTIVE, as the client asked, before anything ends.

    Nobody else is let in to be refused meanwhile.
    """
    it = new_local()
    it.first_up()
    slow = f"{sim.url}/sim/regions/p1/RegionOne"
    httpx.patch(slow, json={"boot_s": BOOT_S}).raise_for_status()
    order = {"image": "debian-12", "size": "tiny", "regions": ["p1/RegionOne"], "ttl": 600}
    with ThreadPoolExecutor(2) as pool:
        wait = {"Prefer": "wait=60"}
        flying = pool.submit(it.call, "POST", "/instances", json=order, headers=wait)
        it.until(lambda: it.call("GET", "/instances").json()["instances"])
        ending = pool.submit(it.run, "down")
        it.until(lambda: not processes.listens(it.port_base))
        assert not flying.done()
        answer = flying.result()
        code, said = ending.result()
    assert code == 0, said
    assert answer.status_code == 202, answer.text
    assert [made["status"] for made in answer.json()["instances"]] == ["ACTIVE"]
    with pytest.raises(httpx.ConnectError):
        it.call("GET", "/instances")
    assert not pids(it)
