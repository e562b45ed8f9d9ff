"""Regions that come and go in the files of functions that run, and are called without pause."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml

from tests.support.doors import Door
from tests.support.places import Sim

if TYPE_CHECKING:
    import httpx

# Of what is waited for, on a machine with other things to do.
PATIENCE_S = 180.0
BODY = {"image": "debian-12", "size": "m1.small"}


class Files:
    """clouds.yaml and fleet.yaml of functions that run; what is written replaces by rename."""

    def __init__(self, home: Path, clouds: Mapping[str, Any]) -> None:
        self.clouds_file, self.fleet_file = home / "clouds.yaml", home / "fleet.yaml"
        self._clouds = clouds
        self.say()

    def say(self, *providers: str, disabled: str = "") -> None:
        """Have these providers in clouds.yaml, or all; and a region disabled in fleet.yaml."""
        named = {it: self._clouds[it] for it in providers or self._clouds}
        self._replace(self.clouds_file, yaml.safe_dump({"clouds": named}))
        rules: dict[str, Any] = {"owners": {"default": {"commands_per_minute": None}}}
        if disabled:
            rules["regions"] = {disabled: {"enabled": False}}
        self._replace(self.fleet_file, yaml.safe_dump(rules))

    def _replace(self, path: Path, text: str) -> None:
        draft = path.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(path)


class Customer:
    """Creates and destroys without pause; remembers what was answered, and where things went."""

    def __init__(self, create: Door, destroy: Door, token: str) -> None:
        self._doors, self._token = (create, destroy), token
        self._over = threading.Event()
        self.answers: list[httpx.Response] = []
        self.regions: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        create, destroy = self._doors
        while not self._over.is_set():
            made = create.call("POST", "/instances", self._token, json=BODY)
            self.answers.append(made)
            for it in made.json().get("instances", ()):
                self.regions.append(it["region"])
                gone = destroy.call("DELETE", f"/instances/{it['id']}", self._token)
                self.answers.append(gone)

    def meets(self, *regions: str) -> None:
        """Wait until their instances went to each of these regions and to no other."""
        until = time.monotonic() + PATIENCE_S
        start = len(self.regions)
        while True:
            assert self.failed() == []
            lately = set(self.regions[start:][-20:])
            if lately == set(regions) and len(self.regions) >= start + 20:
                return
            assert time.monotonic() < until, Counter(self.regions[start:])
            time.sleep(0.1)

    def failed(self) -> list[str]:
        """Return what was answered to those that failed."""
        return [it.text for it in self.answers if not it.is_success]


@pytest.fixture
def sim(start_sim: Callable[..., Any], tmp_path: Path) -> Iterator[Sim]:
    """Two simulated providers of two regions each, which build at once."""
    with start_sim(tmp_path, "--providers", "2", "--regions-per-provider", "2") as sim:
        yield sim


def test_regions_come_and_go_while_functions_live_and_no_request_fails(
    sim: Sim, running: Callable[..., Any], token: str, tmp_path: Path
) -> None:
    clouds = yaml.safe_load(sim.clouds_file.read_text())["clouds"]
    first, second = clouds
    everywhere = [f"{it}/{name}" for it in clouds for name in regions_of(clouds[it])]
    of_second = [it for it in everywhere if it.startswith(f"{second}/")]
    of_first = [it for it in everywhere if it.startswith(f"{first}/")]
    home = tmp_path / "files"
    home.mkdir()
    files = Files(home, clouds)
    files.say(first)
    given = {
        "OS_CLIENT_CONFIG_FILE": files.clouds_file,
        "OMS_FLEET_FILE": files.fleet_file,
        "OMS_FLEET": "regions-change",
    }
    with (
        running("create", **given) as create,
        running("destroy", **given) as destroy,
        running("reap", **given) as reap,
    ):
        sweeps: list[httpx.Response] = []

        def sweep() -> None:
            sweeps.append(reap.call("POST", "/reap", token))

        sweep()
        over = threading.Event()

        def keep_sweeping() -> None:
            while not over.wait(0.5):
                sweep()

        schedule = threading.Thread(target=keep_sweeping)
        schedule.start()
        try:
            with Customer(create, destroy, token) as customer:
                customer.meets(*of_first)
                files.say()
                customer.meets(*everywhere)
                files.say(disabled=of_first[0])
                customer.meets(*[it for it in everywhere if it != of_first[0]])
                files.clouds_file.write_text("clouds: {")
                bad_for_some_looks(create)
                # As the documents say: what leaves takes nothing new any more before it goes.
                files.say(disabled=f"{first}/*")
                customer.meets(*of_second)
                files.say(second)
                customer.meets(*of_second)
                files.say()
                customer.meets(*everywhere)
        finally:
            over.set()
            schedule.join()
        for door in (create, destroy, reap):
            assert door.process.poll() is None
            assert "read anew" in door.out(), door.name
    assert customer.failed() + [it.text for it in sweeps if not it.is_success] == []


def regions_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the names of an entry's regions."""
    return [str(it["name"] if isinstance(it, dict) else it) for it in entry["regions"]]


def bad_for_some_looks(door: Door) -> None:
    """Wait until a function has told that its files are bad."""
    until = time.monotonic() + PATIENCE_S
    while "bad: the last good ones stay in force" not in door.out():
        assert time.monotonic() < until
        time.sleep(0.1)
