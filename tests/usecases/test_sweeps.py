"""Sweeps side by side: a sick or slow region hinders no other, and each has one sweep at a time."""

import threading
import time
from collections.abc import Callable
from typing import Any

from openmultistack.domain.cloud_errors import AccountBroken, InDoubt, Unreachable
from openmultistack.domain.models import Status
from tests.support.house import House

A, B, C = "alpha/One", "alpha/Two", "beta/One"


def test_one_sick_region_does_not_hinder_the_sweep_of_another(house: House) -> None:
    made = house.create(3)
    house.settle()
    house.clouds[A].fails(AccountBroken("401: the login is refused"))
    swept = {it["region"]: it for it in house.reaping.reap()["regions"]}
    assert (swept[A]["outcome"], swept[A]["error"]) == ("failed", "401: the login is refused")
    assert [swept[it]["outcome"] for it in (B, C)] == ["swept", "swept"]
    states = {it.region: house.get(it).status for it in made}
    assert states == {A: Status.BUILD, B: Status.ACTIVE, C: Status.ACTIVE}
    assert house.state(A).state == "down"


def test_one_slow_region_does_not_delay_the_sweep_of_another(house: House) -> None:
    slow, survey, free = house.clouds[A], house.clouds[A].survey, threading.Event()

    def waiting() -> Any:
        free.wait(10)
        return survey()

    slow.survey = waiting
    made = house.one(regions=[B])
    house.settle()
    reaping = threading.Thread(target=house.reaping.reap)
    reaping.start()
    until = time.monotonic() + 5
    while house.get(made).status != Status.ACTIVE and time.monotonic() < until:
        threading.Event().wait(0.02)
    assert house.get(made).status == Status.ACTIVE
    assert reaping.is_alive()
    free.set()
    reaping.join()


def test_one_act_that_its_cloud_refuses_does_not_stop_the_others(house: House) -> None:
    made = house.create(4, regions=[A])
    for it in made[:2]:
        house.clouds[A].fails(Unreachable("gone"), "delete")
        house.destroy(it)
    house.settle()
    house.clouds[A].fails(InDoubt("409: is locked"), "delete")
    assert house.sweep(A) == {"activated": 2}
    assert "409: is locked" in house.state(A).last_error
    assert house.state(A).state == "up"


def test_a_sweep_asks_the_ledger_as_often_about_many_as_about_one(
    house: House, round_trips: Callable[[], int]
) -> None:
    def asked(region: str, done: dict[str, int]) -> int:
        round_trips()
        assert house.sweep(region) == done
        return round_trips()

    # C first: Redis is told each script once.
    counts = {C: 1, A: 1, B: 4}
    for region, count in counts.items():
        house.create(count, regions=[region])
    house.settle()
    _, one, many = [asked(region, {"activated": n}) for region, n in counts.items()]
    assert one == many
    for region in counts:
        house.clouds[region].servers.clear()
    _, one, many = [asked(region, {"released": n}) for region, n in counts.items()]
    assert one == many


def test_two_sweeps_of_one_region_do_not_run_at_once(house: House) -> None:
    with house.ledger.sweeping(A, budget_s=10) as mine:
        assert mine
        swept = {it["region"]: it["outcome"] for it in house.reaping.reap()["regions"]}
    assert swept == {A: "busy", B: "swept", C: "swept"}
    assert house.reaping.sweep(A)["outcome"] == "swept"


def test_the_catalogue_is_read_when_it_is_old_and_not_at_each_sweep(house: House) -> None:
    house.sweep(A)
    assert house.clouds[A].calls.count("catalogue") == 1
    house.redis.hset(house.keys.region(A), "catalogue_at_ms", 1)
    house.sweep(A)
    assert house.clouds[A].calls.count("catalogue") == 2
