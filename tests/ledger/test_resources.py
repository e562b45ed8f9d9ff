"""What is counted is a vector: scripts and library agree on what fits, whatever it is of."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openmultistack.domain.bounds import UNLIMITED
from openmultistack.domain.commands import Cap, OwnerQuota
from openmultistack.domain.identity import Identity
from openmultistack.domain.models import Instance, Quota, Resources, Status
from openmultistack.domain.resources import AMOUNTS, LEAST, UNBOUNDED, say, word_of
from openmultistack.ledger.scripts import WORDS
from tests.support.desk import Desk

A, B = "alpha/One", "beta/One"
LEDGER = Path(__file__).parents[2] / "shared" / "openmultistack" / "ledger"
MOST = 40

# A need of 0 of anything but instances, as a flavor of a cloud may have.
needs = st.builds(Resources, st.just(1), *(st.integers(0, 4) for _ in AMOUNTS))
caps = st.builds(Resources, st.integers(0, 9), *(st.integers(0, 30) for _ in AMOUNTS))
missing = st.sets(st.sampled_from(AMOUNTS))
often = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def found(region: str, owner: str = "alice") -> Instance:
    """Return what a server tells that a sweep meets."""
    return Instance(
        id="i-found", identity=Identity(owner, "n", {}, 1, 4_000_000_000_000), status=Status.BUILD,
        region=region, server_id="srv", image="i", flavor="f", attempt=1,
    )  # fmt: skip


@often
@given(cap=caps, foreign=needs, there=needs, need=needs, missing=missing)
def test_scripts_and_library_agree_on_what_fits_in_a_region(
    desk: Desk, cap: Resources, foreign: Resources, there: Resources, need: Resources,
    missing: set[str],
) -> None:  # fmt: skip
    desk.redis.flushdb()
    desk.ledger.survey(A, cap=cap, foreign=foreign, catalogue=None)
    if missing:
        desk.redis.hdel(desk.keys.region(A), *(f"cap_{it}" for it in missing))
    desk.ledger.hold(found(A), there)
    free = Resources(*(
        UNLIMITED if what in missing else max(0, one - other - held)
        for what, one, other, held in zip(Resources._fields, cap, foreign, there, strict=True)
    ))  # fmt: skip
    fits = min(MOST, *(have // one for have, one in zip(free, need, strict=True) if one), MOST)
    state = desk.state(A)
    assert min(MOST, state.free().fits(need)) == fits
    assert state.held == there
    admitted = desk.place(desk.offer(A, *need[1:]), count=MOST, partial=True)
    assert len(admitted.attempts) == fits
    desk.check(A)


@often
@given(
    bounds=st.lists(st.none() | st.integers(0, 9), min_size=len(LEAST), max_size=len(LEAST)),
    there=needs,
    need=needs,
)
@example(
    bounds=[None, 1, *(None for _ in LEAST[2:])],
    there=LEAST._replace(vcpus=4),
    need=LEAST._replace(vcpus=0),
)
def test_scripts_and_library_agree_on_what_an_owner_may_have(
    desk: Desk, bounds: list[int | None], there: Resources, need: Resources
) -> None:
    desk.redis.flushdb()
    desk.ledger.survey(A, cap=UNBOUNDED, foreign=Resources(), catalogue=None)
    quota = Quota(**dict(zip(Resources._fields, bounds, strict=True)))
    admitted = desk.place(desk.offer(A, *need[1:]), owner="bob", quota=quota)
    assert bool(admitted.attempts) == quota.allows(need)
    desk.ledger.hold(found(A), there)
    both = zip(bounds, there, strict=True)
    left = Resources(*(UNLIMITED if it is None else max(0, it - held) for it, held in both))
    admitted = desk.place(desk.offer(A, *need[1:]), count=MOST, partial=True, quota=quota)
    assert len(admitted.attempts) == min(MOST, left.fits(need))
    desk.check(A)


def test_a_region_that_was_never_swept_has_no_cap_and_not_no_bound(desk: Desk) -> None:
    desk.ledger.report(B, "said something", "")
    desk.redis.hset(desk.keys.region(B), "state", "up")
    assert desk.state(B).cap == Resources()
    assert desk.place(B).attempts == ()
    desk.queued(B)
    assert desk.served(B) == []


@pytest.mark.parametrize("what", AMOUNTS)
def test_a_cap_that_is_no_number_lets_nothing_in(desk: Desk, what: str) -> None:
    for text in ("many", "nan", ""):
        desk.open(A)
        desk.redis.hset(desk.keys.region(A), f"cap_{what}", text)
        assert desk.place(desk.offer(A, *(1 for _ in AMOUNTS))).attempts == ()


def test_what_is_in_redis_keeps_its_form(desk: Desk) -> None:
    """Functions of the version before run beside those of this one for a while."""
    desk.open(A, vcpus=40, ram_mb=5000)
    (attempt,) = desk.place(desk.offer(A, 2, 512)).attempts
    told = json.loads(desk.redis.hget(desk.keys.slots(A), f"{attempt.instance_id}/1"))
    assert set(told) == {"owner", "vcpus", "ram_mb", "since_ms", "lease_until_ms", "building"}
    assert (told["vcpus"], told["ram_mb"]) == (2, 512)
    region = desk.redis.hgetall(desk.keys.region(A))
    assert {it: region[it] for it in region if it.startswith("held_")} == {
        "held_vcpus": "2", "held_ram_mb": "512",
    }  # fmt: skip
    assert (region["cap_instances"], region["cap_vcpus"], region["cap_ram_mb"]) == (
        "20", "40", "5000",
    )  # fmt: skip
    usage = desk.redis.hgetall(desk.keys.usage("alice"))
    assert usage == {"instances": "1", "vcpus": "2", "ram_mb": "512"}


def test_a_quota_of_a_version_to_come_is_read_as_far_as_it_is_known(desk: Desk) -> None:
    desk.open(A)
    made = desk.active(A, quota=Quota(instances=3))
    desk.redis.hset(desk.keys.record(made.instance_id), "quota", '{"instances": 3, "moons": 1}')
    assert desk.get(made).quota == Quota(instances=3)


@pytest.mark.parametrize("what", Resources._fields)
def test_each_resource_can_be_bounded_by_operator_and_token(what: str) -> None:
    assert what in Quota._fields
    assert what in Cap.model_fields
    assert getattr(OwnerQuota(**{what: 3}).quota(), what) == 3


def test_people_are_told_of_each_resource_by_a_word() -> None:
    assert say(Resources(2, 3, 4), Resources._fields[:3]) == "2 instances, 3 vCPUs and 4 MB of RAM"
    assert word_of("floating_ips") == "floating ips"


def test_those_that_every_server_takes_come_first() -> None:
    """Scripts go over so many (IN_ALL) of them, from the first."""
    assert list(LEAST) == sorted(LEAST, reverse=True)
    assert Resources._fields[0] == "instances"
    assert LEAST.instances == 1


def test_no_script_names_a_resource_but_instances() -> None:
    named = [
        f"{it.name}: {what}"
        for it in sorted(LEDGER.glob("*.lua"))
        for what in AMOUNTS
        if what in it.read_text()
    ]
    assert named == []


def test_a_word_that_stands_for_a_list_stands_for_nothing_else() -> None:
    for it in LEDGER.glob("*.lua"):
        assert not any(f"local {word}" in it.read_text() for word in WORDS), it.name


# ------------------------------------------------------------------ one that joins

# All that the ledger needs to count something more.
JOINS = {
    "models.py": [
        ("    ram_mb: int | None = None\n", "    volumes: int | None = None\n"),
        ("    ram_mb: int = 0\n", "    volumes: int = 0\n"),
    ],
    "commands.py": [
        (
            "    ram_mb: int | None = Field(default=None, ge=0)\n",
            "    volumes: int | None = Field(default=None, ge=0)\n",
        )
    ],
}


@pytest.fixture(scope="module")
def with_volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the library in which volumes are counted, too."""
    copy = tmp_path_factory.mktemp("shared")
    library = LEDGER.parent
    shutil.copytree(library, copy / library.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, lines in JOINS.items():
        module = copy / library.name / "domain" / name
        text = module.read_text()
        for after, line in lines:
            assert text.count(after) == 1, after
            text = text.replace(after, after + line)
        module.write_text(text)
    return copy


def test_a_resource_joins_by_its_name(with_volumes: Path) -> None:
    """Nothing but its name is added; these tests take it in, and are red where it is forgotten."""
    here = Path(__file__).parent
    tests = [str(here / it) for it in ("one_that_joins.py", "test_machine.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        env=os.environ | {"PYTHONPATH": str(with_volumes)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
