"""Logins at a simulated cloud: revoked by all at once, refused, and of each region its own."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from ulid import ULID

from openmultistack.clouds import Attempted
from openmultistack.clouds.fake_nova import KEYRING
from openmultistack.clouds.openstack import logins as logins_module
from openmultistack.clouds.openstack import pauses
from openmultistack.clouds.openstack.clouds import OpenStackClouds
from openmultistack.domain.cloud_errors import AccountBroken
from openmultistack.domain.models import Status
from openmultistack.ledger import Ledger
from tests.support.house import House

if TYPE_CHECKING:
    from redis import Redis

NAMES = ("p1/RegionOne", "p1/RegionTwo")
SMALL = {"image": "debian-12", "size": "m1.tiny"}
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
LOGIN = "POST /v3/auth/tokens"
Opened = Callable[..., Any]


@pytest.fixture
def http(sim: Any) -> Iterator[httpx.Client]:
    """Return a client of the simulation, in which nothing has happened."""
    with httpx.Client(timeout=30, base_url=f"{sim.url}/sim") as http:
        http.post("/reset").raise_for_status()
        yield http
        http.post("/reset").raise_for_status()


@pytest.fixture
def fleet() -> str:
    """Return the name of a fleet of its own."""
    return f"t-{ULID()}"


@pytest.fixture
def opened(sim: Any, redis: "Redis[str]", fleet: str) -> Opened:
    """Return what opens the simulation's regions as a process that just started."""

    def open_(file: Path | None = None, names: Any = NAMES) -> Any:
        regions = {name: tuple(name.split("/")) for name in names}
        shelf = Ledger(redis, fleet, lease_ms=60_000)
        return OpenStackClouds(
            file or sim.clouds_file, regions, fleet=fleet, keys=lambda: KEYRING, shelf=shelf
        )

    return open_


def logins(http: httpx.Client, provider: str = "p1") -> int:
    """Return how often somebody logged in, or tried to."""
    return int(http.get("/stats").json()["providers"][provider].get(LOGIN, 0))


@pytest.mark.parametrize("commands", [1, 12])
def test_no_double_twelve_creates_at_once_with_all_tokens_revoked_are_made(
    make_house: Callable[..., House], http: httpx.Client, opened: Opened, fleet: str, commands: int
) -> None:
    clouds = opened()
    house = make_house(
        dict.fromkeys(NAMES, 0), fleet_name=fleet,
        clouds={name: clouds.region(name) for name in NAMES},
    )  # fmt: skip
    before = logins(http)
    http.delete("/tokens").raise_for_status()
    with ThreadPoolExecutor(commands) as pool:
        made = list(pool.map(lambda _: house.create(12 // commands, **SMALL), range(commands)))
    ids = [it.id for some in made for it in some]
    assert len(ids) == 12
    assert logins(http) - before == 1
    assert {it.state for it in house.ledger.regions()} == {"up"}
    until = threading.Event()
    for _ in range(100):
        house.sweep()
        if all(it.status == Status.ACTIVE for it in house.ledger.get(ids)):
            break
        until.wait(0.1)
    assert {it.status for it in house.ledger.get(ids)} == {Status.ACTIVE}
    assert sum(len(clouds.region(name).present()) for name in NAMES) == 12


def test_processes_take_over_the_token_of_the_one_that_logged_in_anew(
    http: httpx.Client, opened: Opened
) -> None:
    processes = [opened().region(NAMES[0]) for _ in range(4)]
    for it in processes:
        it.present()
    http.delete("/tokens").raise_for_status()
    before = logins(http)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda it: it.present(), processes))
    assert logins(http) - before == 1


def test_tokens_may_be_revoked_again_within_seconds(http: httpx.Client, opened: Opened) -> None:
    running = opened().region(NAMES[0])
    for _ in range(4):
        assert running.present() == frozenset()
        http.delete("/tokens").raise_for_status()
    before = logins(http)
    assert running.present() == frozenset()
    assert logins(http) - before == 1


def test_a_token_that_another_left_may_be_revoked_as_well(
    http: httpx.Client, opened: Opened
) -> None:
    old, new = (opened().region(NAMES[0]) for _ in range(2))
    for it in (old, new):
        it.present()
    http.delete("/tokens").raise_for_status()
    new.present()
    http.delete("/tokens").raise_for_status()
    before = logins(http)
    assert old.present() == frozenset()
    assert new.present() == frozenset()
    assert logins(http) - before == 1


def test_whatever_is_asked_goes_on_when_tokens_are_revoked(
    make_house: Callable[..., House], http: httpx.Client, opened: Opened, fleet: str
) -> None:
    """Each call by itself, and a create with a key of its own."""
    cloud = opened().region(NAMES[0])
    house = make_house({NAMES[0]: 0}, fleet_name=fleet, clouds={NAMES[0]: cloud})
    (made,) = house.create(1, ssh_public_key=SSH_KEY, **SMALL)
    (kept,) = house.ledger.get([made.id])
    for ask in (
        cloud.survey, cloud.present, cloud.catalogue, cloud.active,
        lambda: cloud.show(kept.server_id),
        lambda: cloud.delete(kept.server_id, Attempted("i-none", 1)),
        lambda: house.create(1, ssh_public_key=SSH_KEY, **SMALL),
    ):  # fmt: skip
        before = logins(http)
        http.delete("/tokens").raise_for_status()
        ask()
        assert logins(http) - before == 1
    assert len(cloud.present()) >= 1


def wrong_password(sim: Any, to: Path) -> Path:
    """Write the simulation's clouds.yaml with a password that is refused."""
    document = yaml.safe_load(sim.clouds_file.read_text())
    document["clouds"]["p1"]["auth"]["password"] = "wrong"
    to.write_text(yaml.safe_dump(document))
    return to


def test_bounded_a_wrong_password_is_not_tried_again_and_again_by_anybody(
    make_house: Callable[..., House],
    sim: Any,
    http: httpx.Client,
    opened: Opened,
    fleet: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pauses, "FIRST_S", 300)  # however long the sweeps below take
    file = wrong_password(sim, tmp_path / "clouds.yaml")
    houses = []
    for _ in range(3):  # as many processes
        clouds = opened(file)
        regions = {name: clouds.region(name) for name in NAMES}
        houses.append(
            make_house(dict.fromkeys(NAMES, 0), fleet_name=fleet, clouds=regions, swept=False)
        )
    for _ in range(5):
        for house in houses:
            assert {it["outcome"] for it in house.reaping.reap()["regions"]} == {"failed"}
    assert logins(http) == 1
    (state, _) = houses[0].ledger.regions()
    assert state.state == "down"
    assert state.last_error.startswith("401: the login is refused; it is tried again at ")
    # An operator who has mended it does not wait.
    houses[1].reaping.reap(now=True)
    assert logins(http) == 2
    houses[2].reaping.reap()
    assert logins(http) == 2
    # With other credentials nobody waits either.
    assert opened().region(NAMES[0]).present() == frozenset()


def test_bounded_processes_that_start_at_once_try_a_wrong_password_once(
    sim: Any,
    http: httpx.Client,
    opened: Opened,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pauses, "FIRST_S", 300)  # however long the last one takes to start
    monkeypatch.setattr(logins_module, "WAIT_S", 60.0)
    file = wrong_password(sim, tmp_path / "clouds.yaml")
    regions = [opened(file).region(NAMES[number % 2]) for number in range(10)]

    def said(region: Any) -> str:
        with pytest.raises(AccountBroken) as refused:
            region.present()
        return str(refused.value)

    with ThreadPoolExecutor(10) as pool:
        told = set(pool.map(said, regions))
    assert logins(http) == 1
    assert len(told) == 1


def test_an_entry_that_cannot_be_used_is_its_regions_failure_also_with_now(
    make_house: Callable[..., House], sim: Any, opened: Opened, fleet: str, tmp_path: Path
) -> None:
    document = yaml.safe_load(sim.clouds_file.read_text())
    del document["clouds"]["p1"]["auth"]["auth_url"]
    file = tmp_path / "clouds.yaml"
    file.write_text(yaml.safe_dump(document))
    clouds = opened(file)
    house = make_house(
        dict.fromkeys(NAMES, 0), fleet_name=fleet, swept=False,
        clouds={name: clouds.region(name) for name in NAMES},
    )  # fmt: skip
    swept = house.reaping.reap(now=True)["regions"]
    assert [it["outcome"] for it in swept] == ["failed", "failed"]


def test_each_region_may_have_its_own_way_to_log_in(
    sim: Any, opened: Opened, tmp_path: Path
) -> None:
    document = yaml.safe_load(sim.clouds_file.read_text())
    auths = {name: document["clouds"][name]["auth"] for name in ("p1", "p2")}
    both = {
        "regions": [
            {"name": "RegionOne", "values": {"auth": auths["p1"]}},
            {"name": "RegionTwo", "values": {"auth": auths["p2"]}},
        ]
    }
    file = tmp_path / "clouds.yaml"
    file.write_text(yaml.safe_dump({"clouds": {"both": both}}))
    names = ("both/RegionOne", "both/RegionTwo")
    its_own = [opened(names=[it]).region(it).place() for it in ("p1/RegionOne", "p2/RegionTwo")]
    for order in (names, names[::-1], names):  # several processes, each in its order
        clouds = opened(file, names)
        places = {name: clouds.region(name).place() for name in order}
        assert [places[it] for it in names] == its_own
