"""Functions killed between any two steps: nothing is doubled, leaked or lost, and no slot stays.

The steps are those that the use case takes when nothing interrupts it, found by running it: a
new step is attacked without being named here.
"""

from collections.abc import Callable
from typing import Any

import pytest
from ulid import ULID

from openmultistack.domain.models import Status
from tests.support.crash import Ground

SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHqM27hkt5YJcKboq5UbnLbqWxEJC9wcFmE2qmy128hP"
HOME = "p1/RegionOne"


def each_death(
    ground: Ground, act: str, before: Callable[[], Any], given: Callable[[Any], dict[str, Any]]
) -> Any:
    """Give each step of an act at which its function then died, with what `before` made ready."""
    steps = ground.steps_of(act, given(before()))
    assert len(steps) > 2
    ground.destroy_all()
    for at, when in [(steps[0], "before"), *((it, "after") for it in steps)]:
        ready = before()
        ground.dies(act, given(ready), when=when, at=at)
        yield f"{when} {at}", ready


@pytest.mark.timeout(600)
def test_no_double_no_leak_a_create_killed_at_any_step_is_repeated_with_its_key(
    ground: Ground,
) -> None:
    """The repeat gives as many instances as were asked for, each with one server."""

    def with_key(key: str) -> dict[str, Any]:
        return {"count": 2, "key": key, "ssh_public_key": SSH_KEY}

    for where, its_key in each_death(ground, "create", lambda: str(ULID()), with_key):
        first = ground.ids_under(its_key)
        made = ground.here.create(2, key=its_key, ssh_public_key=SSH_KEY)
        assert len({it.id for it in made}) == 2, where
        assert set(first) <= {it.id for it in made}, where
        ground.two_sweeps()
        active = {it.id for it in ground.listed() if it.status == Status.ACTIVE}
        assert active == {it.id for it in made}, where
        ground.assert_agreement()
        assert len(ground.keypairs()) == 2, where
        ground.destroy_all()
        assert ground.keypairs() == set(), where


@pytest.mark.timeout(600)
def test_no_leak_a_create_killed_at_any_step_and_never_repeated_leaves_no_slot_unproven(
    ground: Ground,
) -> None:
    """Also where its first region turned out to be full, and it was moving on."""

    def full_after_all() -> None:
        ground.behave(instances=20)
        ground.here.reaping.reap()
        ground.behave(HOME, instances=0)

    by_priority = {"regions": ["p1/*"], "strategy": "priority"}
    for where, _ in each_death(ground, "create", full_after_all, lambda _: by_priority):
        ground.two_sweeps()
        ground.assert_agreement()
        assert {it.status for it in ground.listed()} <= {Status.ACTIVE, Status.ERROR}, where
        ground.destroy_all()


@pytest.mark.timeout(600)
def test_a_destroy_killed_at_any_step_and_repeated_ends_the_instance_and_serves_who_waits(
    ground: Ground,
) -> None:
    ground.behave(instances=0)
    ground.behave(HOME, instances=1)
    ground.here.reaping.reap()

    def one_runs_one_waits() -> tuple[str, str]:
        ground.destroy_all()
        (first,) = ground.here.create(ssh_public_key=SSH_KEY)
        (second,) = ground.here.create(on_full="queue")
        assert second.status == Status.QUEUED
        return first.id, second.id

    def the_first(ready: tuple[str, str]) -> dict[str, Any]:
        return {"instance_id": ready[0]}

    for where, (doomed, waiting) in each_death(ground, "destroy", one_runs_one_waits, the_first):
        if doomed in {it.id for it in ground.listed()}:
            ground.here.destroying.destroy_ids("alice", [doomed])
        ground.two_sweeps()
        ground.assert_agreement()
        (left,) = ground.listed()
        assert (left.id, left.status) == (waiting, Status.ACTIVE), where
        assert ground.keypairs() == set(), where


@pytest.mark.timeout(900)
def test_no_leak_a_sweep_killed_at_any_step_is_made_good_by_the_next_ones(ground: Ground) -> None:
    """One expires, one failed after its 202, one is not known, one waits, one is to stay."""
    ground.behave(instances=1)
    ground.behave(HOME, instances=4)
    ground.here.reaping.reap()

    def much_to_do() -> dict[str, str]:
        ground.destroy_all()
        make = ground.here.create
        ready = {"kept": make(regions=[HOME])[0].id, "expired": make(regions=[HOME], ttl=1)[0].id}
        ground.behave(HOME, spawn_fail=1)
        ready["failed"] = make(regions=["p1/*"], strategy="priority")[0].id
        ground.place.until_still()
        ground.behave(HOME, spawn_fail=0)
        ready["lost"] = make(regions=[HOME])[0].id
        ground.lose(ready["lost"])
        ground.expire(ready["expired"])
        ready["waits"] = make(regions=[HOME], on_full="queue")[0].id
        return ready

    for where, ready in each_death(ground, "reap", much_to_do, lambda _: {}):
        ground.two_sweeps()
        ground.two_sweeps()
        ground.assert_agreement()
        alive = {it.id: it.status for it in ground.listed()}
        wanted = {ready[it] for it in ("kept", "failed", "lost", "waits")}
        assert alive == dict.fromkeys(wanted, Status.ACTIVE), where
