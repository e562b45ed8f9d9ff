"""Logins and discovery are shared by all processes of a fleet, sealed, and renewed by one of them.

A process is a set of clouds of its own here; the shelf is a ledger on a real Valkey.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from openstack.config import vendors
from redis import Redis

from openmultistack.clouds.openstack import logins, pauses
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.domain.cloud_errors import (
    AccountBroken,
    CloudError,
    NoSuchRegion,
    RateLimited,
    Unreachable,
)
from openmultistack.domain.errors import LedgerUnavailable
from openmultistack.ledger import Ledger

REGION = "stub/RegionOne"
TOKENS = "/v3/auth/tokens"
LOGIN = f"POST {TOKENS}"
DISCOVERIES = ("GET /v3", "GET /v2.1", "GET /v2.1/")
Process = Callable[..., Any]


@pytest.fixture
def redis(valkey_port: int) -> "Iterator[Redis[str]]":
    """Return an empty Valkey's client."""
    with Redis(port=valkey_port, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def shelf(redis: "Redis[str]") -> Ledger:
    """Return where the processes leave things."""
    return Ledger(redis, "shared", lease_ms=60_000)


@pytest.fixture
def process(stub: Any, shelf: Ledger, tmp_path: Path) -> Process:
    """Return what starts a process: the stub's region as a function sees it that just started."""

    def start(clouds_yaml: str = "", shelf: Any = shelf, fleet: str = "f") -> Any:
        file = tmp_path / f"{time.monotonic_ns()}.yaml"
        file.write_text(clouds_yaml or stub.clouds_yaml())
        clouds = OpenStackClouds(file, {REGION: ("stub", "RegionOne")}, fleet=fleet, shelf=shelf)
        return clouds.region(REGION)

    return start


def gives(stub: Any, *, age: timedelta = timedelta(0), life: timedelta) -> None:
    """Have Keystone give numbered tokens that were issued a while ago and live so long."""
    usual = stub.answers.pop(LOGIN, None) or stub._usual(LOGIN)  # noqa: SLF001
    number = iter(range(1, 100))

    def answer() -> Any:
        document, issued = json.loads(usual.body), datetime.now(UTC) - age
        for name, at in (("issued_at", issued), ("expires_at", issued + life)):
            document["token"][name] = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        token = {"X-Subject-Token": f"token-{next(number)}"}
        return usual._replace(body=json.dumps(document), headers=token)

    stub.answers[LOGIN] = answer


def asked(stub: Any, *what: str) -> int:
    """Return how often something was asked of the stub."""
    return sum(stub.requests.count(it) for it in what)


def test_a_second_process_neither_logs_in_nor_asks_what_there_is(
    stub: Any, process: Process
) -> None:
    process().present()
    assert asked(stub, LOGIN) == 1
    before = asked(stub, *DISCOVERIES)
    assert before > 0
    second = process()
    second.present()
    second.survey()
    assert (asked(stub, LOGIN), asked(stub, *DISCOVERIES)) == (1, before)


def test_an_endpoint_that_moved_is_found_with_the_next_login(stub: Any, process: Process) -> None:
    region = process(shelf=None)
    region.survey()
    old = "GET /v2.1/servers/detail"
    stub.answers[old] = stub._usual(old)._replace(status=401)  # noqa: SLF001
    stub.compute_url = f"{stub.url}/moved/v2.1"
    for path in ("", "/", "/servers/detail", "/os-keypairs", "/limits"):
        stub.answers[f"GET /moved/v2.1{path}"] = stub._usual(f"GET /v2.1{path}")  # noqa: SLF001
    with pytest.raises(AccountBroken):
        region.survey()
    region.survey()
    assert asked(stub, "GET /moved/v2.1/servers/detail") == 1
    assert asked(stub, LOGIN) == 2


def test_without_a_shelf_each_process_logs_in(stub: Any, process: Process) -> None:
    for _ in range(2):
        process(shelf=None).present()
    assert asked(stub, LOGIN) == 2


def test_what_lies_on_the_shelf_is_sealed(stub: Any, process: Process, redis: Any) -> None:
    gives(stub, life=timedelta(hours=1))
    process().present()
    kept = {key: redis.get(key) for key in redis.keys("*")}
    assert any(key.endswith("login") for key in kept)
    assert not any("token-1" in text or "catalog" in text for text in kept.values())
    assert all(0 < redis.pttl(key) <= 3_600_000 for key in kept)


def test_who_has_other_credentials_neither_reads_nor_overwrites_it(
    stub: Any, process: Process
) -> None:
    process().present()
    others = stub.clouds_yaml().replace(
        json.loads(stub.clouds_yaml())["clouds"]["stub"]["auth"]["password"], "another"
    )
    process(others).present()
    assert asked(stub, LOGIN) == 2
    process().present()
    process(others).present()
    assert asked(stub, LOGIN) == 2


def test_rubbish_on_the_shelf_is_nothing(stub: Any, process: Process, redis: Any) -> None:
    process().present()
    for key in redis.keys("*"):
        redis.set(key, "rubbish", px=60_000)
    process().present()
    assert asked(stub, LOGIN) == 2


class OthersTurn:
    """A shelf where it is always somebody else's turn."""

    def __init__(self, shelf: Ledger) -> None:
        self.recall, self.leave = shelf.recall, shelf.leave

    def turn(self, _: str, **__: object) -> bool:
        """Return that it is not ours."""
        return False


class Broken:
    """A shelf whose ledger does not answer."""

    def __getattr__(self, _: str) -> Any:
        def refuse(*_: object, **__: object) -> None:
            raise LedgerUnavailable("away")

        return refuse


def test_a_shelf_that_does_not_answer_hinders_nobody(stub: Any, process: Process) -> None:
    assert process(shelf=Broken()).present() == frozenset()
    assert asked(stub, LOGIN) == 1


def test_a_token_in_the_last_fifth_of_its_life_is_renewed_by_one_alone(
    stub: Any, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "UNUSED_MS", 0)
    gives(stub, life=timedelta(seconds=5))
    running = [process() for _ in range(4)]
    for it in running:
        it.present()
    assert asked(stub, LOGIN) == 1
    time.sleep(4.1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda it: it.present(), running))
    assert asked(stub, LOGIN) == 2
    process().present()
    assert asked(stub, LOGIN) == 2


def test_a_renewal_that_fails_leaves_the_old_token_in_use(
    stub: Any, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "RENEWED_AT", 1.0)
    gives(stub, life=timedelta(hours=1))
    running = process()
    running.present()
    stub.answers[LOGIN] = stub.answers[LOGIN]()._replace(status=503)
    assert running.present() == frozenset()
    assert asked(stub, LOGIN) == 2


def test_a_token_that_is_over_is_not_used_even_if_another_was_to_renew_it(
    stub: Any, shelf: Ledger, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "UNUSED_MS", 0)
    monkeypatch.setattr(logins, "WAIT_S", 0.2)
    gives(stub, life=timedelta(seconds=1))
    running = process(shelf=OthersTurn(shelf))
    running.present()
    time.sleep(1.1)
    running.present()
    assert asked(stub, LOGIN) == 2


@pytest.mark.parametrize(
    "ahead", [timedelta(hours=2), timedelta(hours=-2)], ids=["ahead", "behind"]
)
def test_a_clock_that_is_off_costs_no_logins(stub: Any, process: Process, ahead: Any) -> None:
    """As the functions' clock is two hours off Keystone's, every token looks old, or from later."""
    gives(stub, age=ahead, life=timedelta(hours=1))
    for running in (process(), process()):
        for _ in range(3):
            running.present()
    assert asked(stub, LOGIN) == 1


def test_who_meets_a_revoked_token_logs_in_and_those_who_come_later_have_the_new_one(
    stub: Any, process: Process
) -> None:
    gives(stub, life=timedelta(hours=1))
    first = process()
    first.present()
    usual = stub._usual("GET /v2.1/servers")  # noqa: SLF001
    refused = iter([usual._replace(status=401)])
    stub.answers["GET /v2.1/servers"] = lambda: next(refused, usual)
    assert first.present() == frozenset()
    assert stub.tokens[-1] == "token-2"
    process().present()
    assert stub.tokens[-1] == "token-2"
    assert asked(stub, LOGIN) == 2


def test_who_waited_for_a_login_that_failed_does_not_try_again_at_once(
    stub: Any, process: Process
) -> None:
    usual = stub._usual(LOGIN)  # noqa: SLF001
    stub.answers[LOGIN] = usual._replace(status=401, delay_s=0.5)
    running, refused = process(), []

    def ask() -> None:
        try:
            running.present()
        except CloudError as error:
            refused.append(type(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for it in threads:
        it.start()
    for it in threads:
        it.join()
    assert refused == [AccountBroken] * 4
    assert asked(stub, LOGIN) == 1
    del stub.answers[LOGIN]
    with pytest.raises(AccountBroken, match=r"it is tried again at \d\d:\d\d:\d\d UTC"):
        running.present()
    running.forgive()
    assert running.present() == frozenset()


@pytest.mark.parametrize("beside", [False, True])
def test_an_application_credential_needs_no_auth_type_and_may_be_in_secure_yaml(
    tmp_path: Path, *, beside: bool
) -> None:
    secret = {"application_credential_id": "i", "application_credential_secret": "s"}
    auth = {"auth_url": "http://127.0.0.1:9/v3"} | ({} if beside else secret)
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {"c": {"auth": auth, "regions": ["One"]}}}))
    if beside:
        secure = {"clouds": {"c": {"auth": secret}}}
        (tmp_path / "secure.yaml").write_text(json.dumps(secure))
    clouds = OpenStackClouds(file, {"c/One": ("c", "One")}, fleet="f")
    config = clouds._config.get_one("c", region_name="One")  # noqa: SLF001  what the sdk is told
    assert config.config["auth_type"] == "v3applicationcredential"
    assert config.get_auth_args()["application_credential_secret"] == "s"


SECRETS = {"application_credential_id": "i", "application_credential_secret": "s"}
URL = {"auth_url": "http://127.0.0.1:9/v3"}
PASSWORD = {"username": "u", "password": "p"}


@pytest.mark.parametrize(
    ("entry", "values", "meant"),
    [
        ({"auth": URL | PASSWORD}, {}, "password"),
        ({"auth": URL}, {"auth": SECRETS}, "v3applicationcredential"),
        # What names a type is heard: the entry, its profile, the region's own values.
        ({"auth": URL | SECRETS, "auth_type": "v3token"}, {}, "v3token"),
        ({"auth": URL | SECRETS, "auth_plugin": "v3token"}, {}, "v3token"),
        ({"auth": URL | SECRETS}, {"auth_type": "v3token"}, "v3token"),
        ({"auth": URL | SECRETS, "profile": "of-tokens"}, {}, "v3token"),
        ({"auth": SECRETS, "profile": "plain"}, {}, "v3applicationcredential"),
    ],
)
def test_the_way_to_log_in_is_inferred_only_where_nothing_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Any, values: Any, meant: str
) -> None:
    profiles = {"of-tokens": {"auth_type": "v3token"}, "plain": {"auth": URL}}
    for name, told in profiles.items():
        monkeypatch.setitem(vendors._get_vendor_defaults(), name, told)  # noqa: SLF001  the sdk's
    file = tmp_path / "clouds.yaml"
    regions = [{"name": "One", "values": values}]
    file.write_text(json.dumps({"clouds": {"c": entry | {"regions": regions}}}))
    clouds = OpenStackClouds(file, {"c/One": ("c", "One")}, fleet="f")
    config = clouds._config.get_one("c", region_name="One", validate=False)  # noqa: SLF001
    assert config.config["auth_type"] == meant


def test_a_region_that_the_catalogue_has_not_is_told_with_those_that_it_has(
    stub: Any, tmp_path: Path
) -> None:
    """The login works, so that it is neither the password nor the network."""
    document = json.loads(stub.clouds_yaml())
    document["clouds"]["stub"]["regions"] = ["RegionTwo"]
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps(document))
    clouds = OpenStackClouds(file, {"stub/RegionTwo": ("stub", "RegionTwo")}, fleet="f")
    for ask in (clouds.region("stub/RegionTwo").survey, clouds.region("stub/RegionTwo").place):
        with pytest.raises(NoSuchRegion) as raised:
            ask()
        assert raised.value.offered == ("RegionOne",)
        said = "the service catalog has no compute service for region RegionTwo; it has: RegionOne"
        assert str(raised.value) == said


def test_without_a_shelf_a_process_tries_a_refused_login_once_for_all_its_regions(
    stub: Any, tmp_path: Path
) -> None:
    """So does `oms doctor`; it says nothing of a next time, as there is none."""
    stub.answers[LOGIN] = stub._usual(LOGIN)._replace(status=401)  # noqa: SLF001
    document = json.loads(stub.clouds_yaml())
    document["clouds"]["stub"]["regions"] = ["One", "Two", "Three"]
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps(document))
    regions = {f"stub/{it}": ("stub", it) for it in ("One", "Two", "Three")}
    clouds = OpenStackClouds(file, regions, fleet="doctor")
    for name in regions:
        with pytest.raises(AccountBroken, match=r"^401: the login is refused$"):
            clouds.region(name).survey()
    assert asked(stub, LOGIN) == 1


def test_a_refused_login_is_tried_again_after_twice_as_long_each_time(
    stub: Any, process: Process, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "FIRST_S", 0.2)
    monkeypatch.setattr(pauses, "LONGEST_S", 0.5)
    stub.answers[LOGIN] = stub._usual(LOGIN)._replace(status=401)  # noqa: SLF001
    tried = [time.monotonic()]
    while len(tried) < 5:
        with pytest.raises(AccountBroken):
            process().present()
        if asked(stub, LOGIN) == len(tried):
            tried.append(time.monotonic())
        assert asked(stub, LOGIN) <= len(tried)
        time.sleep(0.01)
    between = [later - one for one, later in itertools.pairwise(tried)][1:]
    assert all(it >= least for it, least in zip(between, (0.2, 0.4, 0.5), strict=True))
    del stub.answers[LOGIN]
    while True:
        with suppress(AccountBroken):
            assert process().present() == frozenset()
            break
    assert asked(stub, LOGIN) == 5
    # The next one that is refused begins anew.
    stub.answers[LOGIN] = stub._usual(LOGIN)._replace(status=401)  # noqa: SLF001
    redis.delete(*(it for it in redis.keys("*") if it.endswith("login")))
    with pytest.raises(AccountBroken):
        process().present()
    (kept,) = (it for it in redis.keys("*") if it.endswith("pause"))
    assert redis.pttl(kept) - pauses.KNOWN_MS <= 200


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [(429, {"Retry-After": "50"}, 50), (429, {}, 30), (413, {"Retry-After": "7"}, 7),
     (503, {"Retry-After": "9"}, 9)],
)  # fmt: skip
def test_a_keystone_that_asks_for_a_pause_gets_it_from_all(
    stub: Any, process: Process, status: int, headers: dict[str, str], wait_s: int
) -> None:
    usual = stub._usual(LOGIN)  # noqa: SLF001
    stub.answers[LOGIN] = usual._replace(status=status, headers=headers)
    for _ in range(3):
        region = process()
        region.forgive()  # it was asked for: also by who says `--now`
        with pytest.raises(RateLimited) as paused:
            region.present()
        assert wait_s - 3 <= paused.value.retry_after_s <= wait_s
    assert asked(stub, LOGIN) == 1


def test_a_keystone_that_is_gone_is_no_broken_account_and_tried_again_at_once(
    stub: Any, process: Process
) -> None:
    usual = stub._usual(LOGIN)  # noqa: SLF001
    stub.answers[LOGIN] = usual._replace(status=503)
    for _ in range(2):
        with pytest.raises(Unreachable):
            process().present()
    assert asked(stub, LOGIN) == 2


def test_a_token_refused_between_two_pages_is_replaced_and_the_list_is_whole(
    stub: Any, process: Process
) -> None:
    usual = stub._usual("GET /v2.1/servers")  # noqa: SLF001
    link = {"rel": "next", "href": f"{stub.compute_url}/servers?marker=a"}
    pages = iter(
        [
            usual._replace(body=json.dumps({"servers": [{"id": "a"}], "servers_links": [link]})),
            usual._replace(status=401),
            usual._replace(body=json.dumps({"servers": [{"id": "b"}]})),
        ]
    )
    stub.answers["GET /v2.1/servers"] = lambda: next(pages)
    assert process().present() == {"a", "b"}
    assert asked(stub, LOGIN) == 2


def test_an_endpoint_that_refuses_every_token_costs_few_logins(stub: Any, process: Process) -> None:
    stub.answers["GET /v2.1/servers"] = stub._usual("GET /v2.1/servers")._replace(status=401)  # noqa: SLF001
    running = process()
    for _ in range(10):
        with pytest.raises(AccountBroken):
            running.present()
    assert asked(stub, LOGIN) == 2


def test_names_in_the_ledger_tell_nothing_of_the_credentials(
    stub: Any, process: Process, redis: Any
) -> None:
    """They are made by scrypt as well, with the fleet's name: guessing is dear, for each fleet."""
    process().present()
    mine = set(redis.keys("*"))
    process(fleet="another").present()
    theirs = set(redis.keys("*")) - mine
    assert len(theirs) == len(mine)
    assert asked(stub, LOGIN) == 2
